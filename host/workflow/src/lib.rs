//! The workflow language: CNCF Serverless Workflow DSL 1.0, as a library that does nothing by itself.
//!
//! [`Workflow::read`] reads a document and refuses, with the place and by name, whatever is wrong in it or cannot be
//! done here; nothing is ever left out silently. [`run()`] walks it. Everything that has an effect goes through the port
//! [`Effects`], every evaluation of an expression through the port [`Evaluate`], so that an execution is a function of
//! its document, its input and the answers of these two: asked again with the same answers it goes the same way.
//!
//! # Where the specification leaves a choice
//!
//! - The context begins as the workflow's transformed input, as the picture of the data flow has it.
//! - An expression has one output: none is `null`, several are an error. A condition holds unless it is `false` or `null`.
//! - A text that must be an expression (`if`, `when`, `as`, …) needs no `${ }`; any other text is one only inside of them, or
//!   in loose mode if it parses.
//! - `exit` ends the list that the task is in: of a `for`, the iteration.
//! - A `try` first tries again, by its `retry`; when that ends, its `catch.do` handles the error; without one the error goes
//!   on. A `catch` with neither swallows the error and passes its input on. `limit.attempt.count` counts the attempts after the first.
//! - Linear back-off multiplies the delay by the number of the attempt, exponential doubles it; jitter is added, and is the same
//!   in each replay.
//! - A `fork` that joins ends with the first branch that fails; one that competes with the first that succeeds. Branches export to
//!   contexts of their own, which are put together field by field.
//! - A time-out is an error of the task that has it: no `catch` inside of that task catches it.
//! - The former spelling of the standard error types (`…/dsl/errors/types/…`) is the same as the present one.
//! - Time is what the outcomes of effects say: between two effects no time passes.
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
    AgentLimits, AgentStart, AgentTurn, Call, Credentials, Decision, Effect, Effects, EventPattern, Failure,
    HttpAnswer, HttpCall, McpTransport, Outcome, Progress, ProgressPhase, Resource, Sealed, WorkflowReference,
};
pub use error::{ErrorType, WorkflowError};
pub use expression::{DirectEvaluator, Evaluate, Evaluation, Expression, ExpressionProblem, Library, Template};
pub use fault::{Fault, FaultKind};
pub use limits::Limits;
pub use moment::Moment;
pub use run::{Finished, Start, backoff_delay, run};
pub use step::StepId;
