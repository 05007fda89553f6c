//! Work for the programs in sandboxes: an execution gets a place in a sandbox of its application, waits there until the program
//! takes it, and is brought back by it.

mod desk;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_model::{ExecutionId, OperationName};
use nexus_workflow::WorkflowError;
use serde_json::Value;

pub(crate) use desk::{Desk, Standing};

use crate::{durable::Run, registry::Application};

/// An execution for a sandbox.
pub(crate) struct Work {
    pub(crate) execution: ExecutionId,
    /// As it served when the execution began.
    pub(crate) application: Arc<Application>,
    pub(crate) operation: OperationName,
    /// What the program is told by the definition.
    pub(crate) definition: Arc<Value>,
    pub(crate) input: Value,
    /// When nobody waits for an answer any more.
    pub(crate) until: Instant,
    /// The execution of a workflow that it is, if it is one.
    pub(crate) run: Option<Arc<Run>>,
}

/// What a program brings back.
pub(crate) enum Brought {
    /// The output.
    Output(Value),
    /// The error with which a workflow ended.
    Problem(Box<WorkflowError>),
}

/// Why an execution has no answer of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// No sandbox has a free place.
    #[error("no sandbox of the application has a free place")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The sandbox has no answer by the end of the time.
    #[error("the sandbox did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The sandbox ended.
    #[error("the sandbox that had it ended: {0}")]
    Lost(String),
    /// The program says that it failed.
    #[error("the program in the sandbox says: {0}")]
    Failed(String),
    /// There are no sandboxes, and why.
    #[error("the application has no sandbox: {0}")]
    NoSandbox(String),
}
