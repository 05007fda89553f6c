//! Calls of tools whoever provides them: a plugin, an MCP server, the host, or an operation of the application.

use std::{sync::Arc, time::Instant};

use nexus_model::{
    AppName, CatalogueCall, CatalogueError, CatalogueTool, ExecutionId, ToolAnswered, ToolCaller, ToolCatalogue,
    ToolContent, ToolOutcome,
};
use serde_json::Value;
use tracing::{Instrument as _, Span};

use super::{MAX_DEPTH, MAX_RESULT_BYTES, Running, find, matches, once, size};
use crate::{
    Core, HostCatalogue, Principal,
    audit_log::Denial,
    catalogue::{
        arguments, content,
        host::{described, found, takes_app},
        refusal,
    },
    registry::Application,
    router::Call,
    servers,
};

/// What a tool answered, or what its caller is told instead.
type Answered = Result<ToolAnswered, CatalogueError>;

/// What an execution may use of tools, and on whose account. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct ToolScope {
    pub(crate) core: Core,
    pub(crate) application: Arc<Application>,
    pub(crate) execution: ExecutionId,
    /// When the time of the execution is over.
    pub(crate) until: Instant,
    /// How many tools have called each other so far.
    pub(crate) depth: usize,
    /// Whom a tool can tell and ask.
    pub(crate) caller: Arc<dyn ToolCaller>,
}

impl ToolScope {
    /// A call of somebody from outside, who may call the application.
    pub(crate) fn of_client(core: &Core, application: &Arc<Application>, caller: Arc<dyn ToolCaller>) -> Self {
        Self::of(Running::new(core, application, Instant::now(), caller))
    }

    /// What a plugin's call goes on with.
    pub(super) fn of(running: Running) -> Self {
        let Running { core, application, execution, until, depth, caller } = running;
        Self { core, application, execution, until, depth, caller }
    }

    /// Calls a tool that the application allows; others are denied, and the audit log is told. With a `key`, a call that was
    /// answered is not made again: its answer is told again.
    pub(crate) async fn call(&self, tool: &str, arguments: Value, key: Option<&str>) -> Answered {
        if let Some(refused) = self.denied(tool) {
            return Ok(refused);
        }
        let Some(key) = key else { return self.run(tool, arguments, None).await };
        once::call(&self.core, &self.application.app.name, key, (tool, &arguments), self.until, || {
            self.run(tool, arguments.clone(), Some(key))
        })
        .await
    }

    /// Calls a tool that the application allows, as [`ToolScope::call`] does, for somebody who keeps the answer himself: the `key`
    /// only goes along to whoever takes one.
    pub(crate) async fn call_once(&self, tool: &str, arguments: Value, key: &str) -> Answered {
        match self.denied(tool) {
            Some(refused) => Ok(refused),
            None => self.run(tool, arguments, Some(key)).await,
        }
    }

    /// The refusal of a tool that the application does not allow; the audit log is told.
    fn denied(&self, tool: &str) -> Option<ToolAnswered> {
        if is_allowed(&self.application, tool) {
            return None;
        }
        let request = format!("tool {} for execution {}", super::short(tool), self.execution);
        let key_id = Some(self.principal().key_id.to_string());
        self.core.audit_log.deny(Denial { status: 403, key_id, request });
        Some(refused("forbidden", &format!("`{}` is not in `tools.allow`", super::short(tool))))
    }

    /// Calls a tool, allowed or not: what is allowed was decided before. Within the time of the execution, and with a result
    /// of bounded size.
    pub(crate) async fn run(&self, tool: &str, arguments: Value, key: Option<&str>) -> Answered {
        if self.depth > MAX_DEPTH {
            return Ok(refused("too_deep", &format!("tools have called each other {MAX_DEPTH} deep")));
        }
        let begun = Instant::now();
        let until = tokio::time::Instant::from_std(self.until);
        // Tools of plugins count themselves, and have spans of their own.
        let of_plugin = find(&self.application, tool).is_ok();
        let span = if of_plugin { Span::none() } else { super::span(self.app(), self.execution, tool) };
        let dispatched = self.dispatch(tool, arguments, key).instrument(span.clone());
        let answered = tokio::time::timeout_at(until, dispatched).await;
        let answered = answered.unwrap_or_else(|_| Ok(refused("deadline", "the time of the execution is over")));
        let answered = answered.map(capped);
        let error = match &answered {
            Ok(ToolAnswered::Result(_)) => None,
            Ok(ToolAnswered::Content(content)) => content.failed.then_some("tool_error"),
            Ok(ToolAnswered::Refused(_)) => Some("refused"),
            Err(_) => Some("unavailable"),
        };
        if let Some(error) = error {
            span.record("error.type", error);
            span.record("otel.status_code", "ERROR");
        }
        if !of_plugin {
            let metrics = self.core.tools.parts.metrics.host().tool(self.app().as_str(), tool);
            metrics.record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), error);
        }
        answered
    }

    async fn dispatch(&self, tool: &str, arguments: Value, key: Option<&str>) -> Answered {
        match tool.split_once('.') {
            Some(("core", "tools.search" | "tools.describe")) => Ok(self.look_up(&arguments)),
            Some(("core", _)) => self.call_host(tool, arguments).await,
            Some((namespace, name)) => match servers::find(&self.application, namespace) {
                Some(server) => self.core.servers().call(self, &server, name, arguments, key).await,
                None => self.call_plugin(tool, &arguments).await,
            },
            None => self.call_operation(tool, arguments).await,
        }
    }

    /// The host's tools, for the application alone.
    fn host(&self) -> HostCatalogue {
        HostCatalogue::new(self.core.clone(), self.principal())
    }

    fn principal(&self) -> Principal {
        Principal::of_app(self.app())
    }

    fn app(&self) -> &AppName {
        &self.application.app.name
    }

    /// What an execution finds of tools is what it may use.
    fn look_up(&self, arguments: &Value) -> ToolAnswered {
        let text = |name: &str| arguments.get(name).and_then(Value::as_str);
        let mut tools = allowed(&self.core, &self.application).into_iter();
        match (text("query"), text("tool")) {
            (Some(query), None) => ToolAnswered::Result(found(query, tools.map(|tool| (self.app().clone(), tool)))),
            (None, Some(name)) => match tools.find(|tool| tool.name == name) {
                Some(tool) => ToolAnswered::Result(described(&tool)),
                None => refused("unknown_tool", "there is no such tool that may be used"),
            },
            _ => refused("invalid_arguments", "a search has a `query`, a description a `tool`"),
        }
    }

    async fn call_host(&self, tool: &str, mut arguments: Value) -> Answered {
        let host = self.host();
        if host.takes_app(tool)
            && let Some(arguments) = arguments.as_object_mut()
        {
            arguments.insert(APP.to_owned(), self.app().as_str().into());
        }
        let call = CatalogueCall {
            tool: tool.to_owned(),
            arguments,
            meta: serde_json::Map::new(),
            caller: Arc::clone(&self.caller),
        };
        host.call(call).await
    }

    async fn call_plugin(&self, tool: &str, arguments: &Value) -> Answered {
        let found = find(&self.application, tool);
        let running = Running {
            core: self.core.clone(),
            application: Arc::clone(&self.application),
            execution: self.execution,
            until: self.until,
            depth: self.depth,
            caller: Arc::clone(&self.caller),
        };
        let (entry, signature) = match found {
            Ok(found) => found,
            Err(kind) => return refusal::of_tool(&kind).map(ToolAnswered::Refused),
        };
        match self.core.tools.run(running, &entry, &signature.name, arguments).await {
            Ok(ToolOutcome::Value(value)) if signature.content => content::answered(value),
            Ok(ToolOutcome::Value(value)) => Ok(ToolAnswered::Result(value)),
            Ok(ToolOutcome::Error(error)) => Ok(ToolAnswered::Refused(refusal::said(&error))),
            Err(kind) => refusal::of_tool(&kind).map(ToolAnswered::Refused),
        }
    }

    async fn call_operation(&self, name: &str, arguments: Value) -> Answered {
        let entry = name.parse().ok().and_then(|name| self.application.offered(&name));
        let entry =
            entry.ok_or_else(|| CatalogueError::Unknown(format!("there is no tool `{}`", super::short(name))))?;
        let Some(input) = arguments::input(&entry.operation.input, arguments) else {
            return Ok(refused("invalid_input", "the argument `input` is missing"));
        };
        let body = input.to_string();
        let call = Call { app: self.app().as_str(), operation: name, body: body.as_bytes(), sink: None };
        // An operation may call tools that call operations: the future would hold itself.
        match Box::pin(self.core.router.execute(call)).await {
            Ok(answer) => serde_json::from_str(&answer.output)
                .map(ToolAnswered::Result)
                .map_err(|error| CatalogueError::Unavailable(format!("the answer is no JSON: {error}"))),
            Err(error) => refusal::of_call(&error.kind).map(ToolAnswered::Refused),
        }
    }
}

/// All tools that executions of the application may use, by name.
pub(crate) fn allowed(core: &Core, application: &Arc<Application>) -> Vec<CatalogueTool> {
    let host = HostCatalogue::new(core.clone(), Principal::of_app(&application.app.name));
    let host = host.tools().into_iter().map(bound);
    let plugins = application.plugins.values().flat_map(|entry| {
        entry.known.tools().map(|tool| CatalogueTool {
            name: format!("{}.{}", entry.plugin.name, tool.name),
            description: tool.description,
            input: tool.input,
            output: tool.output.filter(|schema| arguments::is_object(schema)),
            read_only: false,
        })
    });
    let all = host
        .chain(operations(application))
        .chain(plugins)
        .chain(core.servers().tools(application))
        .filter(|tool| is_allowed(application, &tool.name));
    let mut tools: Vec<_> = all.collect();
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    tools
}

/// The operations of an application, as tools.
pub(crate) fn operations(application: &Application) -> impl Iterator<Item = CatalogueTool> {
    application.offers().map(|entry| CatalogueTool {
        name: entry.operation.name.to_string(),
        description: Some(entry.operation.description.clone()),
        input: arguments::schema(&entry.operation.input),
        output: Some(Arc::clone(&entry.operation.output)).filter(|schema| arguments::is_object(schema)),
        read_only: false,
    })
}

/// Whether the application lets its executions use this tool.
pub(crate) fn is_allowed(application: &Application, tool: &str) -> bool {
    application.app.tools.allow.iter().any(|pattern| matches(pattern, tool))
}

/// The argument that names an application.
const APP: &str = "app";

/// A tool of the host as an application sees it: it is always about itself.
fn bound(mut tool: CatalogueTool) -> CatalogueTool {
    if takes_app(&tool.input) {
        let mut input = (*tool.input).clone();
        if let Some(properties) = input.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove(APP);
        }
        if let Some(required) = input.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name != APP);
        }
        tool.input = Arc::new(input);
    }
    tool
}

pub(super) fn refused(code: &str, why: &str) -> ToolAnswered {
    ToolAnswered::Refused(format!("{code}: {why}"))
}

/// The answer, unless it is too large.
fn capped(answered: ToolAnswered) -> ToolAnswered {
    let bytes = match &answered {
        ToolAnswered::Result(value) => size(value),
        ToolAnswered::Content(ToolContent { blocks, structured, .. }) => {
            blocks.iter().chain(structured).map(size).sum()
        }
        ToolAnswered::Refused(why) => why.len(),
    };
    if bytes <= MAX_RESULT_BYTES {
        return answered;
    }
    refused("result_too_large", &format!("the result has {bytes} bytes, at most {MAX_RESULT_BYTES} are taken"))
}
