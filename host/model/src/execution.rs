//! What happened.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{AnsweredBy, AppName, ExecutionId, OperationName, OperationRef, Revision, Usage, VersionHash};

/// The `tracing` target of the spans that a collector gets. What is said on other targets goes to the log alone.
pub const SPANS: &str = "nexus::span";
/// The name of the span of one request to a model's provider; its fields are named by `OpenTelemetry`'s conventions for
/// generative AI.
pub const MODEL_SPAN: &str = "model";

/// Which path answered a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServedBy {
    /// A Wasm component.
    Component,
    /// A language model, or a program in a sandbox, which models steer.
    Model,
}

impl ServedBy {
    /// The word used in headers, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Model => "model",
        }
    }
}

/// Why the component did not answer and the model did, within the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackReason {
    /// It said that it will not answer this input.
    Abstain,
    /// It said that it failed.
    Failure,
    /// It trapped.
    Trap,
    /// It ran out of time or fuel.
    Deadline,
    /// It ran into a limit of memory, stack or host resources, or no instance was free.
    Limit,
    /// Its answer does not satisfy the output schema.
    OutputSchema,
}

impl FallbackReason {
    /// All reasons, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Abstain, Self::Failure, Self::Trap, Self::Deadline, Self::Limit, Self::OutputSchema];

    /// The word used in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abstain => "abstain",
            Self::Failure => "failure",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Limit => "limit",
            Self::OutputSchema => "output_schema",
        }
    }
}

/// What called an operation where no caller did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The trigger.
    pub trigger: OperationName,
    /// The application that emitted its event, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emitter: Option<AppName>,
    /// The source of its event.
    pub event_source: String,
    /// The id of its event.
    pub event_id: String,
    /// The same for every delivery of this event to this trigger, and for no other: what has an effect outside takes it
    /// to have it once.
    pub idempotency_key: String,
    /// Which delivery of the event this is, from 1.
    pub delivery: u64,
}

/// One call of an operation, finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// Its id, also in the header `x-nexus-execution`.
    pub id: ExecutionId,
    /// What was called.
    #[serde(flatten)]
    pub operation: OperationRef,
    /// The application's definition at that time.
    pub revision: Revision,
    /// The operation's version at that time.
    pub version: VersionHash,
    /// When the call arrived.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// From arrival to answer, in microseconds.
    pub duration_us: u64,
    /// Which path answered, or failed last.
    pub path: ServedBy,
    /// Why a component that was asked first did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackReason>,
    /// What the model used; nothing for a component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The model that answered, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<AnsweredBy>,
    /// What called, where no caller did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The step of another execution that called, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The input.
    pub input: Value,
    /// The answer, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// A stable word for what went wrong, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What went wrong, where a workflow says so: problem details (RFC 9457).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Value>,
}

/// A step of an execution that began another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The execution.
    pub execution: ExecutionId,
    /// The step.
    pub step: String,
    /// How many executions have begun each other.
    pub depth: u32,
}

/// Who gave the answer of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The model answered the call.
    Call,
    /// The model was asked again in the background, after a component had answered.
    Audit,
}

/// An input and the model's answer to it: what the oracle learns from. One per distinct input of a version; the first
/// answer stays. The model is the one that the version names, never a fall-back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The input.
    pub input: Value,
    /// The model's answer.
    pub output: Value,
    /// Who asked.
    pub origin: Origin,
    /// What the answer cost.
    pub usage: Usage,
    /// How long the model took, in microseconds.
    pub latency_us: u64,
}
