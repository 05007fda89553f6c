//! What a stand-in has done since it started.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests for an answer that were read and allowed.
    pub requests: u64,
    /// Those that had a recording, faults on purpose included.
    pub answered: u64,
    /// Those that had none.
    pub without_recording: u64,
    /// Those of a coder whose prompt is not the one that was recorded.
    pub other_prompt: u64,
    /// Faults on purpose, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Requests that had a recording, by operation; a coder's by `app/operation (coder)`, an agent's by
    /// `app/operation (agent)`.
    pub operations: BTreeMap<String, u64>,
}
