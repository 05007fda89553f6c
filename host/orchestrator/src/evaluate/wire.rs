//! What is said over the pipes of a child: one line of JSON each way.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of the longest line to a child. A value is a few megabytes at the most; an expression can use several.
pub(super) const LONGEST: usize = 32 << 20;

/// An evaluation, as it is written.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) text: &'a str,
    pub(super) names: &'a [String],
    pub(super) input: &'a Value,
    pub(super) values: &'a [Value],
    pub(super) bytes: usize,
}

/// An evaluation, as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) text: String,
    pub(super) names: Vec<String>,
    pub(super) input: Value,
    pub(super) values: Vec<Value>,
    pub(super) bytes: usize,
}

/// What comes of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The output.
    Output(Value),
    /// Why there is none.
    Problem(String),
}
