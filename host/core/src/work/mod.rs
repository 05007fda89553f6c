//! Work for the programs in sandboxes: executions wait at the [`WorkDesk`] of their application until a sandbox takes them, and
//! it brings back what came of them.
//!
//! What is at the desk is bounded by the concurrency of the application: whoever waits for an answer has a place there, and
//! leaves it when he stops waiting.

mod desk;

use std::time::{Duration, SystemTime};

use nexus_model::{AppName, ExecutionId, OperationName};
use serde_json::Value;

pub(crate) use desk::{Claimed, Leave, WorkDesk};

/// An execution for a sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) execution: ExecutionId,
    pub(crate) app: AppName,
    pub(crate) operation: OperationName,
    /// What the program is told by the definition.
    pub(crate) definition: std::sync::Arc<Value>,
    pub(crate) input: Value,
    /// When nobody waits for an answer any more.
    pub(crate) until: SystemTime,
}

/// Why an execution has no answer of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// No sandbox took it in time.
    #[error("no sandbox of the application was free within {} ms", .0.as_millis())]
    NotTaken(Duration),
    /// The sandbox has no answer by the end of the time.
    #[error("the sandbox did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The sandbox ended.
    #[error("the sandbox that had it ended")]
    Lost,
    /// The program says that it failed.
    #[error("the program in the sandbox says: {0}")]
    Failed(String),
    /// Somebody cancelled it.
    #[error("it was cancelled")]
    Cancelled,
    /// There are no sandboxes, and why.
    #[error("the application has no sandbox: {0}")]
    NoSandbox(String),
}

/// What a program did meanwhile.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Step {
    pub(crate) message: Option<String>,
}
