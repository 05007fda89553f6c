//! A stand-in for a language model that replays recorded answers.
//!
//! It is no model and never pretends to be one: an HTTP server in the shape of `OpenAI`'s chat completions, Anthropic's
//! messages and Ollama's chat that answers exactly what was recorded, finds an answer by the rendered messages, and has an
//! error of its own for everything else. A changed prompt renders to other messages, so it has no recordings.
//!
//! Conversations with tools are found turn by turn, see [`AgentKey`]: no script could know beforehand what tools answer.

mod anthropic;
pub mod cli;
mod coder;
mod conversation;
mod faults;
mod handler;
mod latency;
mod library;
mod loading;
mod missing;
mod ollama;
mod openai;
mod random;
mod recording;
mod router;
mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

pub use faults::{FaultKind, Faults, InvalidFaults};
pub use latency::{InvalidLatency, Latency};
pub use library::{OperationSummary, Replay, ReplayError, Summary};
pub(crate) use recording::parse;
pub use recording::{AgentKey, CoderKey, InputKey, Origin, RecordedCall, Recording, RecordingFault, Tokens};
pub use router::{Options, router};
pub use stats::Stats;

use nexus_model::{ChatMessage, canonical_json, sha256_hex};
use serde::Serialize;

/// What it is, wherever it says so.
pub const WHAT: &str = "a stand-in for a language model that replays recorded answers";

/// SHA-256 of the canonical form of messages: `prompt_sha256` of a coder's recording.
pub fn prompt_sha256<M: Serialize>(messages: &[M]) -> String {
    sha256_hex(canonical_json(&serde_json::json!(messages)))
}

/// SHA-256 of what an answer is found by: the model and the messages.
fn request_sha256(model: &str, messages: &[ChatMessage]) -> String {
    sha256_hex(canonical_json(&serde_json::json!({ "model": model, "messages": messages })))
}
