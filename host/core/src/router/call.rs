//! What the router is asked and what it answers.

use std::{sync::Arc, time::Duration};

use nexus_definitions::Violation;
use nexus_model::{
    AnsweredBy, ComponentFault, ExecutionId, FallbackReason, ModelError, Parent, ServedBy, StoreError, TokenSink, Usage,
};
use nexus_workflow::WorkflowError;
use serde_json::Value;

use crate::{
    budget::{BudgetExceeded, SpendError},
    registry::{Application, OperationEntry},
    work::WorkError,
};

/// One call of an operation.
pub struct Call<'a> {
    /// The application's name, as the caller wrote it.
    pub app: &'a str,
    /// The operation's name, as the caller wrote it.
    pub operation: &'a str,
    /// The input: JSON, not looked at yet.
    pub body: &'a [u8],
    /// Sees a model's answer as it comes.
    pub sink: Option<&'a mut dyn TokenSink>,
}

/// A call that a step of an execution makes.
pub(crate) struct StepCall<'a> {
    pub(crate) application: &'a Arc<Application>,
    pub(crate) entry: &'a Arc<OperationEntry>,
    pub(crate) input: Value,
    pub(crate) id: ExecutionId,
    pub(crate) parent: Parent,
    /// What the execution has used before.
    pub(crate) spent: Usage,
    pub(crate) sink: Option<&'a mut dyn TokenSink>,
}

/// An answer that satisfies the operation's output schema.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The execution.
    pub execution: ExecutionId,
    /// Which path answered.
    pub path: ServedBy,
    /// Why code that was asked first did not.
    pub fallback: Option<FallbackReason>,
    /// The answer as JSON text.
    pub output: String,
    /// What the model used, if it was asked.
    pub usage: Option<Usage>,
    /// The model that answered, if one did.
    pub model: Option<AnsweredBy>,
    /// From the call's arrival to its answer.
    pub duration: Duration,
}

/// A call without an answer.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct CallError {
    /// The execution, once there is one.
    pub execution: Option<ExecutionId>,
    /// What went wrong.
    #[source]
    pub kind: CallErrorKind,
}

impl From<CallErrorKind> for CallError {
    fn from(kind: CallErrorKind) -> Self {
        Self { execution: None, kind }
    }
}

/// What went wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum CallErrorKind {
    /// No such application.
    #[error("there is no application `{name}`")]
    UnknownApp {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// The application was taken out of service.
    #[error("the application `{app}` is inactive: {reason}")]
    Inactive {
        /// The application.
        app: String,
        /// Who did it, when and why.
        reason: String,
    },
    /// No such operation.
    #[error("the application `{app}` has no operation `{name}`")]
    UnknownOperation {
        /// The application.
        app: String,
        /// What was asked for.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// The body is not JSON.
    #[error("the body is not JSON: {detail}")]
    InvalidJson {
        /// Where it stops being JSON.
        detail: String,
    },
    /// The input fails the operation's input schema.
    #[error("the input does not satisfy the operation's input schema")]
    InvalidInput {
        /// How.
        violations: Vec<Violation>,
    },
    /// The application has all the calls it may have at one time.
    #[error("the application is busy")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The prompt could not be rendered with this input.
    #[error("the prompt could not be rendered: {0}")]
    Render(String),
    /// The model gave no usable answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The answer might have cost more than is left of the application's budget.
    #[error(transparent)]
    Budget(BudgetExceeded),
    /// The budget could not be looked at.
    #[error(transparent)]
    Store(StoreError),
    /// A component written by hand was stopped.
    #[error(transparent)]
    Component(#[from] ComponentFault),
    /// A component written by hand abstained or failed; there is nobody else to ask.
    #[error("the component did not answer: {reason}")]
    ComponentRefused {
        /// What it said.
        reason: String,
    },
    /// Somebody cancelled it.
    #[error("the execution was cancelled")]
    Cancelled,
    /// No program in a sandbox answered.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// A workflow ended with an error that nothing in it caught.
    #[error("{0}")]
    Workflow(Box<WorkflowError>),
    /// The execution goes on, but nobody waits for it any longer.
    #[error("the execution has not ended after {} ms; it goes on", .waited.as_millis())]
    StillRunning {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The answer of a component written by hand, or of a program in a sandbox, fails the operation's output schema.
    #[error("the answer does not satisfy the operation's output schema")]
    OutputInvalid {
        /// How.
        violations: Vec<Violation>,
    },
}

impl From<SpendError> for CallErrorKind {
    fn from(error: SpendError) -> Self {
        match error {
            SpendError::Exceeded(exceeded) => Self::Budget(exceeded),
            SpendError::Store(error) => Self::Store(error),
            SpendError::Model(error) => Self::Model(error),
        }
    }
}

impl CallErrorKind {
    /// A stable word for metrics, problem details and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownApp { .. } => "unknown_app",
            Self::UnknownOperation { .. } => "unknown_operation",
            Self::Inactive { .. } => "app_inactive",
            Self::InvalidJson { .. } => "invalid_json",
            Self::InvalidInput { .. } => "invalid_input",
            Self::Busy { .. } => "busy",
            Self::Render(_) => "render",
            Self::Model(error) => error.kind.code(),
            Self::Budget(_) => "budget_exceeded",
            Self::Store(_) => "store_unavailable",
            Self::Component(ComponentFault::Deadline(_)) => "component_deadline",
            Self::Component(_) => "component_fault",
            Self::ComponentRefused { .. } => "component_refused",
            Self::Cancelled => "cancelled",
            Self::Work(WorkError::Busy { .. }) => "sandbox_busy",
            Self::Work(WorkError::Late(_)) => "sandbox_deadline",
            Self::Work(WorkError::Lost(_)) => "sandbox_lost",
            Self::Work(WorkError::Failed(_)) => "sandbox_failed",
            Self::Work(WorkError::NoSandbox(_)) => "sandbox_unavailable",
            Self::Workflow(error) => crate::durable::code(error),
            Self::StillRunning { .. } => "still_running",
            Self::OutputInvalid { .. } => "output_invalid",
        }
    }
}
