//! What the calls of a workflow do.

use std::{sync::Arc, time::Instant};

use nexus_definitions::violations;
use nexus_model::{
    CatalogueError, CloudEvent, ComponentFault, ExecutionId, ModelErrorKind, Parent, SilentCaller, ToolAnswered,
    ToolContent,
};
use nexus_workflow::{Call, Effect, ErrorType, Failure, NexusFunction, WorkflowError};
use serde_json::{Value, json};

use super::{
    BeginError, New, child_id,
    drive::runtime,
    news::StepSink,
    perform::{BegunExecution, Had},
    record::Record,
    run::{Details, Run},
    workflow_of,
};
use crate::{
    Core,
    catalogue::arguments,
    registry::{Application, OperationEntry},
    router::{CallError, CallErrorKind, StepCall},
    tools::{ToolScope, is_allowed},
    work::WorkError,
};

/// Executions that begin each other.
const MAX_DEPTH: u32 = 16;

/// One call of an execution.
pub(super) struct Calling<'a> {
    pub(super) core: &'a Core,
    pub(super) run: &'a Arc<Run>,
    pub(super) record: &'a Record,
    /// By which whoever has the effect knows it.
    pub(super) key: String,
}

impl Calling<'_> {
    /// Has an effect.
    pub(super) async fn have(&self, effect: Effect) -> Had {
        match effect {
            Effect::Emit(event) => Had::of(self.emit(event).await),
            Effect::Call(Call::Http(request)) => Had::of(self.http(request).await),
            Effect::Call(Call::Openapi { document, operation_id, parameters, authentication, .. }) => {
                Had::of(self.openapi(&document, &operation_id, parameters, authentication).await)
            }
            Effect::Call(Call::Mcp { method, parameters, transport, .. }) => {
                Had::of(self.mcp(&method, parameters, &transport).await)
            }
            Effect::Call(Call::AgentStart { with }) => Had::of(self.agent_start(&with).await),
            Effect::Call(Call::AgentTurn(turn)) => self.agent_turn(turn).await,
            Effect::Call(Call::Function { function: NexusFunction::Prompt, with }) => self.prompt(&with).await,
            Effect::Call(Call::Function { function: NexusFunction::Tool, with }) => Had::of(self.tool(&with).await),
            Effect::Call(Call::Function { .. } | Call::Process { .. })
            | Effect::Wait(_)
            | Effect::Listen(_)
            | Effect::Workflow(_) => Had::of(Err(configuration("this is nothing that the host does"))),
        }
    }

    fn app(&self) -> &nexus_model::AppName {
        &self.run.application.app.name
    }

    /// An operation made of the step: the oracle may put code in front of its model.
    async fn prompt(&self, with: &Value) -> Had {
        let entry = self.run.workflow.prompts.get(&self.record.pointer);
        let entry = entry.and_then(|name| self.run.application.operations.get(name));
        let Some(entry) = entry else { return Had::of(Err(configuration("the step has no prompt"))) };
        self.step(entry, with.get("input").cloned().unwrap_or(Value::Null)).await
    }

    async fn step(&self, entry: &Arc<OperationEntry>, input: Value) -> Had {
        let id = child_id(self.run.id, self.record.begun, &self.record.step);
        let mut sink = StepSink { news: &self.run.news, step: &self.record.step };
        let call = StepCall {
            application: &self.run.application,
            entry,
            input,
            id,
            parent: self.parent(),
            spent: self.run.spent(),
            sink: Some(&mut sink),
        };
        match Box::pin(self.core.router.execute_step(call)).await {
            Ok(answer) => {
                let details =
                    Details { usage: answer.usage, execution: Some(id), path: Some(answer.path), ..Details::default() };
                let value = serde_json::from_str(&answer.output);
                Had::of(value.map_err(|error| runtime(format!("the answer is no JSON: {error}")))).with(details)
            }
            Err(error) => {
                let details = Details { usage: used(&error.kind), execution: error.execution, ..Details::default() };
                Had::of(Err(of_call(&error))).with(details)
            }
        }
    }

    fn parent(&self) -> Parent {
        let depth = self.run.begun.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
        Parent { execution: self.run.id, step: self.record.step.clone(), depth }
    }

    async fn tool(&self, with: &Value) -> Result<Value, WorkflowError> {
        let tool = with["tool"].as_str().ok_or_else(|| configuration("`tool` is no text"))?;
        let arguments = with.get("arguments").cloned().unwrap_or_else(|| json!({}));
        self.use_tool(tool, arguments).await
    }

    pub(super) async fn use_tool(&self, tool: &str, arguments: Value) -> Result<Value, WorkflowError> {
        let scope = ToolScope {
            core: self.core.clone(),
            application: Arc::clone(&self.run.application),
            execution: self.run.id,
            until: Instant::now() + self.run.application.app.limits.timeout,
            depth: 1,
            caller: Arc::new(SilentCaller),
        };
        of_tool(scope.call_once(tool, arguments, &self.key).await)
    }

    async fn emit(&self, event: Value) -> Result<Value, WorkflowError> {
        let told = event.clone();
        let event = CloudEvent::from_json(event).map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            WorkflowError::new(ErrorType::Validation, faults.join("; "))
        })?;
        let published = self.core.events.publish(self.app().as_str(), vec![event]).await;
        published.map(|_| told).map_err(|error| WorkflowError::new(ErrorType::Communication, error.to_string()))
    }

    /// Begins an execution of a workflow, or calls an operation that has none.
    pub(super) async fn begin_execution(&self, id: ExecutionId, effect: Effect) -> Result<BegunExecution, Had> {
        let refuse = |error| Had::of(Err(error));
        let application = &self.run.application;
        let (entry, input, awaited) = match effect {
            Effect::Workflow(other) => {
                let app = &application.app;
                let found = nexus_definitions::workflow_operation(app, &other.namespace, &other.name, &other.version);
                let found = found.and_then(|name| application.operations.get(name));
                let none = || {
                    let why = format!("there is no workflow {}/{} {}", other.namespace, other.name, other.version);
                    refuse(configuration(why))
                };
                let entry = found.cloned().ok_or_else(none)?;
                (entry, other.input, other.awaited)
            }
            Effect::Call(Call::Function { function: NexusFunction::Operation, with }) => {
                let name = with["operation"].as_str().unwrap_or_default();
                let entry = name.parse().ok().and_then(|name| application.operations.get(&name)).cloned();
                let entry = entry.ok_or_else(|| refuse(configuration(format!("there is no operation `{name}`"))))?;
                (entry, with.get("input").cloned().unwrap_or(Value::Null), true)
            }
            _ => return Err(refuse(configuration("this begins no execution"))),
        };
        let wrong = violations(&entry.input, &input);
        if let Some(first) = wrong.first() {
            let why = format!("the input of `{}` at `{}`: {}", entry.reference.operation, first.path, first.message);
            return Err(refuse(WorkflowError::new(ErrorType::Validation, why)));
        }
        if workflow_of(&entry).is_none() {
            let Had { result, details } = self.step(&entry, input).await;
            return Ok(BegunExecution { status: None, had: result, path: details.path, usage: details.usage });
        }
        let parent = self.parent();
        if parent.depth > MAX_DEPTH {
            let why = format!("executions have begun each other {MAX_DEPTH} deep");
            return Err(refuse(runtime(why).with_status(508)));
        }
        let new = New {
            id,
            application: Arc::clone(application),
            entry,
            input,
            cause: None,
            parent: awaited.then(|| parent.clone()),
            replay: None,
        };
        let new = if awaited { new } else { New { parent: Some(parent), ..new } };
        let status = self.core.durable().begin(new).await.map_err(|error| refuse(of_begin(&error)))?;
        Ok(BegunExecution { status: awaited.then_some(status), had: Ok(Value::Null), path: None, usage: None })
    }
}

/// A tool that is an operation with a workflow begins an execution, once, as `call: operation` does. Whatever else is asked for, and
/// what the application does not allow, stays as it is.
pub(super) fn as_execution(application: &Application, effect: Effect) -> Effect {
    let Effect::Call(Call::Function { function: NexusFunction::Tool, with }) = &effect else { return effect };
    let tool = with["tool"].as_str().filter(|tool| is_allowed(application, tool));
    let name = tool.and_then(|tool| tool.parse().ok());
    let entry = name.and_then(|name| application.offered(&name)).filter(|entry| workflow_of(entry).is_some());
    let Some(entry) = entry else { return effect };
    let arguments = with.get("arguments").cloned().unwrap_or_else(|| json!({}));
    let Some(input) = arguments::input(&entry.operation.input, arguments) else { return effect };
    let with = json!({ "operation": entry.operation.name, "input": input });
    Effect::Call(Call::Function { function: NexusFunction::Operation, with })
}

pub(super) fn configuration(why: impl Into<String>) -> WorkflowError {
    WorkflowError::new(ErrorType::Configuration, why)
}

fn of_begin(error: &BeginError) -> WorkflowError {
    runtime(error.to_string()).with_status(503)
}

/// What a tool answered, as a workflow sees it.
pub(super) fn of_tool(answered: Result<ToolAnswered, CatalogueError>) -> Result<Value, WorkflowError> {
    match answered {
        Ok(ToolAnswered::Result(value)) => Ok(value),
        Ok(ToolAnswered::Content(content)) => {
            let failed = content.failed;
            let value = value_of(content);
            if failed { Err(runtime(text_of(&value)).with_status(502)) } else { Ok(value) }
        }
        Ok(ToolAnswered::Refused(why)) => Err(refused(&why)),
        Err(CatalogueError::Unknown(why)) => Err(configuration(why).with_status(404)),
        Err(error) => Err(WorkflowError::new(ErrorType::Communication, error.to_string()).with_status(503)),
    }
}

/// Content as one value: what it says as a value, or else its text.
fn value_of(content: ToolContent) -> Value {
    if let Some(structured) = content.structured {
        return structured;
    }
    let texts: Option<Vec<&str>> = content.blocks.iter().map(|block| block["text"].as_str()).collect();
    match texts {
        Some(texts) => {
            let text = texts.join("\n");
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        None => Value::Array(content.blocks),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Refusals of tools begin with a word.
fn refused(why: &str) -> WorkflowError {
    let word = why.split(':').next().unwrap_or_default();
    let (kind, status) = match word {
        "forbidden" => (ErrorType::Authorization, 403),
        "invalid_arguments" | "invalid_input" => (ErrorType::Validation, 400),
        "unknown_tool" => (ErrorType::Configuration, 404),
        "deadline" | "timeout" => (ErrorType::Timeout, 408),
        "no_answer" => (ErrorType::Communication, 502),
        "budget_exceeded" => (ErrorType::Runtime, 402),
        "busy" => (ErrorType::Runtime, 503),
        _ => (ErrorType::Runtime, 500),
    };
    WorkflowError::new(kind, why).with_status(status)
}

/// Why an operation has no answer, as a workflow sees it.
fn of_call(error: &CallError) -> WorkflowError {
    let (kind, status) = match &error.kind {
        CallErrorKind::InvalidInput { .. } | CallErrorKind::InvalidJson { .. } => (ErrorType::Validation, 400),
        CallErrorKind::OutputInvalid { .. } => (ErrorType::Validation, 502),
        CallErrorKind::Budget(_) => (ErrorType::Runtime, 402),
        CallErrorKind::Model(error) => return of_model(&error.kind, error.to_string()),
        CallErrorKind::Busy { .. } | CallErrorKind::Store(_) | CallErrorKind::Work(WorkError::Busy { .. }) => {
            (ErrorType::Runtime, 503)
        }
        CallErrorKind::Component(ComponentFault::Deadline(_)) | CallErrorKind::Work(WorkError::Late(_)) => {
            (ErrorType::Timeout, 408)
        }
        CallErrorKind::UnknownApp { .. } | CallErrorKind::UnknownOperation { .. } => (ErrorType::Configuration, 404),
        _ => (ErrorType::Runtime, 502),
    };
    WorkflowError::new(kind, error.kind.to_string()).with_status(status)
}

/// Why a model has no answer, as a workflow sees it.
pub(super) fn of_model(kind: &ModelErrorKind, why: String) -> WorkflowError {
    let (of, status) = match kind {
        ModelErrorKind::RateLimited { .. } => (ErrorType::Communication, 429),
        ModelErrorKind::Timeout => (ErrorType::Timeout, 504),
        ModelErrorKind::Unreachable | ModelErrorKind::ProviderFailed { .. } | ModelErrorKind::Truncated => {
            (ErrorType::Communication, 503)
        }
        ModelErrorKind::UnknownModel | ModelErrorKind::MissingKey => (ErrorType::Configuration, 500),
        _ => (ErrorType::Communication, 502),
    };
    WorkflowError::new(of, why).with_status(status)
}

fn used(kind: &CallErrorKind) -> Option<nexus_model::Usage> {
    match kind {
        CallErrorKind::Model(error) => Some(error.usage),
        _ => None,
    }
}

impl From<WorkflowError> for Had {
    fn from(error: WorkflowError) -> Self {
        Self { result: Err(Failure::Error(error)), details: Details::default() }
    }
}
