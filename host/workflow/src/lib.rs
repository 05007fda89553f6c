//! The workflow language: CNCF Serverless Workflow DSL 1.0, as a library that does nothing by itself.
//!
//! [`Workflow::read`] reads a document and refuses, with the place and by name, whatever is wrong in it or cannot be
//! done here; nothing is ever left out silently. [`run()`] walks it. Everything that has an effect goes through the port
//! [`Effects`], every evaluation of an expression through the port [`Evaluate`], so that an execution is a function of
//! its document, its input and the answers of these two: asked again with the same answers it goes the same way.
//!
//! No I/O, no clock, no randomness, no runtime: cancelling an execution is dropping its future.

mod document;
mod effects;
mod error;
mod expression;
mod fault;
mod limits;
mod moment;
mod run;
mod step;

pub use document::{
    Authentication, Backoff, CallKind, Case, Catch, CatchErrors, Components, Correlation, DocumentInfo, Duration,
    Endpoint, ErrorTemplate, EventFilter, Flow, ForEach, Grants, HttpOutput, Listening, Matching, NexusFunction, Part,
    ProcessKind, ReadEvents, Retry, Running, Schedule, Schema, Sealing, SecretReference, Strategy, SurfaceField, Task,
    TaskKind, TaskList, Transform, Transport, Until, Url, Workflow, surface,
};
pub use effects::{
    Call, Credentials, Decision, Effect, Effects, EventPattern, Failure, HttpAnswer, HttpCall, McpTransport, Outcome,
    Progress, ProgressPhase, Resource, Sealed, WorkflowReference,
};
pub use error::{ErrorType, WorkflowError};
pub use expression::{DirectEvaluator, Evaluate, Evaluation, Expression, ExpressionProblem, Template};
pub use fault::{Fault, FaultKind};
pub use limits::Limits;
pub use moment::Moment;
pub use run::{Finished, Start, backoff_delay, run};
pub use step::StepId;
