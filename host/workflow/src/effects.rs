//! The port: everything that an execution does to the world, and everything that the world says to it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use nexus_model::{ChatMessage, ModelParameters, ModelTool, NanoUsd};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    document::{NexusFunction, ProcessKind, SecretReference},
    error::WorkflowError,
    moment::Moment,
    step::StepId,
};

/// What an execution is connected to the world by.
///
/// To make executions durable, write down each [`Outcome`] and [`Decision`] under its [`StepId`] before giving it, and
/// give what is written down when the same is asked again. Then an execution that is run again, with the same document, input and
/// [`crate::Start`], goes the same way to where the journal ends, and on from there. No other state is needed.
#[async_trait]
pub trait Effects: Send + Sync {
    /// Has an effect and says how it ended and when.
    ///
    /// If the journal has an outcome for `at`, that is it, and nothing is done. Otherwise, if `deadline` is over, the
    /// outcome is [`Failure::Deadline`] at the deadline, and nothing is begun. Otherwise the effect is begun under
    /// [`StepId::idempotency_key`]; when the deadline comes first, the effect is cancelled and the outcome is
    /// [`Failure::Deadline`]. If the future is dropped, the effect is cancelled and nothing is written down.
    async fn perform(&self, at: &StepId, effect: Effect, deadline: Option<Moment>) -> Outcome;

    /// The decision that is written down for a `fork`, if there is one.
    async fn recall(&self, at: &StepId) -> Option<Decision>;

    /// Writes down how a `fork` was decided. The first decision stays: the answer is what is written down.
    async fn decide(&self, at: &StepId, decision: Decision) -> Decision;

    /// Hears of each step that begins or ends. A replay tells of the same steps again, in an order that can differ
    /// only between the branches of a `fork`.
    fn step(&self, at: &StepId, progress: Progress);
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", content = "of", rename_all = "snake_case")]
pub enum Effect {
    /// Call something; the outcome is what it answers.
    Call(Call),
    /// Wait; the outcome, `null`, is due at this moment and has it as its time.
    Wait(Moment),
    /// Publish a `CloudEvent` (in the JSON format, with `specversion`, `id`, `source`, `type` and `time`); the outcome is
    /// the event as it was published.
    Emit(Value),
    /// Wait for the next event that has any of these patterns and was not given to an earlier step `event/N` of the same
    /// task; the outcome is the event in the JSON format. Events that fit none may be given too: they are judged again.
    Listen(Vec<EventPattern>),
    /// Run another workflow; the outcome is its output, or `null` at once if it is not awaited.
    Workflow(WorkflowReference),
}

/// A call, with everything that the document says about it resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// A request over HTTP. The outcome is an [`HttpAnswer`], whatever its status.
    Http(HttpCall),
    /// An operation of an `OpenAPI` document. The outcome is an [`HttpAnswer`], whatever its status.
    Openapi {
        /// Where the document is.
        document: Resource,
        /// Which operation.
        operation_id: String,
        /// Its parameters, by name.
        parameters: BTreeMap<String, Value>,
        /// What the operation is asked with.
        authentication: Option<Credentials>,
        /// Whether to leave redirections to the answer: true if they count as answers.
        redirect: bool,
    },
    /// A request to an MCP server. The outcome is the result of the JSON-RPC answer.
    Mcp {
        /// The revision to speak, if the document names one.
        protocol_version: Option<String>,
        /// Such as `tools/call`.
        method: String,
        /// Its parameters.
        parameters: Value,
        /// How the server is reached.
        transport: McpTransport,
        /// Name and version under which to speak.
        client: Option<Value>,
    },
    /// A function of Nexus. The outcome is its answer.
    Function {
        /// Which one.
        function: NexusFunction,
        /// Its arguments.
        with: Value,
    },
    /// What an agent begins with: its arguments made complete. The outcome is an [`AgentStart`]. No document says this: whoever
    /// runs an agent ([`NexusFunction::Agent`]) asks it at the step `agent/0`.
    AgentStart {
        /// The arguments of `call: agent`.
        with: Value,
    },
    /// A model goes on with an agent's conversation. The outcome is a [`nexus_model::Reply`]. No document says this: whoever runs
    /// an agent asks it at the steps `turn/N`, and has the tools used at `turn/N/tool/M`.
    AgentTurn(AgentTurn),
    /// A container, script or shell command, which is only read where it is granted. The outcome is an object with
    /// `code`, `stdout` and `stderr`.
    Process {
        /// Which of them.
        process: ProcessKind,
        /// Its fields, as the language has them.
        settings: Value,
        /// Whether to wait for its end; if not, the outcome is `null` at once.
        awaited: bool,
    },
}

/// What an agent begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStart {
    /// The alias of its model.
    pub model: String,
    /// Instructions, the application's memory, and the prompt, rendered.
    pub messages: Vec<ChatMessage>,
    /// The tools that it may use, as the model is told of them, by their names in Nexus.
    pub tools: BTreeMap<String, ModelTool>,
    /// Sampling settings.
    pub parameters: ModelParameters,
    /// JSON Schema 2020-12 of its answer; any text if `None`.
    pub output: Option<Value>,
    /// When it has to stop.
    pub limits: AgentLimits,
    /// Tokens that the conversation may have before its beginning is summarised.
    pub context_tokens: u64,
}

/// When an agent has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimits {
    /// Turns of the model.
    pub steps: u32,
    /// Tokens of all prompts and answers.
    pub tokens: Option<u64>,
    /// What they may cost, in 10⁻⁹ US dollars.
    pub cost: Option<NanoUsd>,
    /// Milliseconds from its beginning.
    pub time_ms: Option<u64>,
    /// Tools that are used at one time.
    pub parallel: u32,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self { steps: 20, tokens: None, cost: None, time_ms: None, parallel: 8 }
    }
}

/// A model is to go on with an agent's conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentTurn {
    /// The alias of the model.
    pub model: String,
    /// What was said so far.
    pub messages: Vec<ChatMessage>,
    /// The tools that it may want to be used.
    pub tools: Vec<ModelTool>,
    /// Sampling settings.
    pub parameters: ModelParameters,
    /// JSON Schema 2020-12 of an answer that wants no tool; any text if `None`.
    pub output: Option<Value>,
}

/// A request over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpCall {
    /// The method, in capital letters.
    pub method: String,
    /// The URL, without what is in `query`.
    pub url: String,
    /// Headers. Their values may be secrets.
    pub headers: BTreeMap<String, Sealed>,
    /// Parameters to add to the URL's query.
    pub query: Vec<(String, String)>,
    /// The body, if there is one: JSON, unless the headers name another type and it is a string.
    pub body: Option<Value>,
    /// What the request is made with.
    pub authentication: Option<Credentials>,
    /// Whether an answer that redirects counts as an answer.
    pub redirect: bool,
}

/// Something outside that a document refers to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Where.
    pub url: String,
    /// What it is asked for with.
    pub authentication: Option<Credentials>,
}

/// How an MCP server is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transport", rename_all = "snake_case")]
pub enum McpTransport {
    /// Over streamable HTTP.
    Http {
        /// Where, and what it is asked with.
        endpoint: Resource,
        /// Headers of each request.
        headers: BTreeMap<String, Sealed>,
        /// Further options, as the document has them.
        options: Value,
    },
    /// On the standard streams of a program.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Its environment.
        environment: BTreeMap<String, Sealed>,
        /// Further options, as the document has them.
        options: Value,
    },
}

/// Something that may have a secret in it, which only the host can open. Data of an execution is always inside
/// [`Sealed::Plain`], so none can pass for a reference to a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sealed {
    /// No secret.
    Plain(Value),
    /// A secret.
    Secret(SecretReference),
    /// A list.
    List(Vec<Sealed>),
    /// Fields.
    Map(BTreeMap<String, Sealed>),
}

/// What a request is made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Credentials {
    /// `basic`, `bearer`, `digest`, `oauth2` or `oidc`.
    pub scheme: String,
    /// The fields of the policy, or one secret that has them all.
    pub settings: Sealed,
}

/// What an event must be like: each attribute is equal to the text, or matched by it, as a regular expression, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventPattern {
    /// Attributes. None: every event.
    pub attributes: BTreeMap<String, String>,
}

impl EventPattern {
    /// Whether an event, in the JSON format, is like this. A text that is no regular expression matches what it is equal to.
    pub fn matches(&self, event: &Value) -> bool {
        self.attributes.iter().all(|(name, wanted)| {
            let Some(value) = event.get(name) else { return false };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            value == *wanted || crate::document::whole(wanted).is_some_and(|pattern| pattern.is_match(&value))
        })
    }
}

/// Another workflow, and what to run it with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowReference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version, or `latest`.
    pub version: String,
    /// Its input.
    pub input: Value,
    /// Whether to wait for its end.
    pub awaited: bool,
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAnswer {
    /// The method that was asked with.
    pub method: String,
    /// The URL that was asked.
    pub url: String,
    /// The status.
    pub status: u16,
    /// The headers, with names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body in Base64.
    pub body: String,
}

/// How an effect ended, and when. Times of later outcomes are not earlier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// When it ended.
    pub at: Moment,
    /// How.
    pub result: Result<Value, Failure>,
}

/// Why an effect has no answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It failed. The workflow may catch this.
    Error(WorkflowError),
    /// The deadline came first.
    Deadline,
}

/// How a `fork` was decided: by which branch, counted from 0, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It came first where branches compete.
    Won(usize),
    /// It failed where all must succeed.
    Failed(usize),
    /// It ended the workflow.
    Ended(usize),
}

impl Decision {
    pub(crate) fn branch(self) -> usize {
        let (Self::Won(branch) | Self::Failed(branch) | Self::Ended(branch)) = self;
        branch
    }
}

/// What a step has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The task's name.
    pub task: String,
    /// When, by the last outcome.
    pub at: Moment,
    /// Begun, or ended and how.
    pub phase: ProgressPhase,
}

/// What a step has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressPhase {
    /// It begins.
    Started,
    /// It ended well.
    Completed,
    /// Its condition did not hold.
    Skipped,
    /// It failed.
    Faulted,
    /// It is tried again.
    Retried,
}
