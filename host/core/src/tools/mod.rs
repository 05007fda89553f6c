//! The tools of applications: the exported functions of their plugins, `{plugin}.{tool}`.

mod announced;
mod any;
mod call;
mod grants;
mod once;
mod services;

use std::{path::PathBuf, sync::Arc, time::Instant};

use nexus_definitions::nearest;
use nexus_model::{AppName, ExecutionId, RuntimeStore, SPANS, ToolCaller, ToolFault, ToolOutcome, ToolSignature};
use nexus_signals::MetricCollector;
use serde_json::Value;
use tracing::{Instrument, field::Empty};
use uuid::Uuid;

use self::{announced::Announced, services::CallServices};
use crate::{
    Core,
    budget::Budgets,
    events::{Events, SecretLookup},
    registry::{Application, ApplicationRegistry, PluginEntry},
    router::{CallErrorKind, callable, read},
};

pub(crate) use any::{ToolScope, allowed, is_allowed, operations};
use call::FAILED;
pub use call::{ToolAnswer, ToolCall, ToolError, ToolErrorKind, ToolView};
pub use grants::widened;
pub(crate) use grants::{granted, matches};
pub(crate) use services::{GUEST, MAX_PROMPT_BYTES, below, short, text_schema};

/// The largest result of a tool, in bytes of JSON.
pub(crate) const MAX_RESULT_BYTES: usize = 1 << 20;
/// How deep tools may call each other.
const MAX_DEPTH: usize = 8;

/// What tools stand on.
pub(crate) struct ToolParts {
    pub(crate) registry: Arc<ApplicationRegistry>,
    pub(crate) runtime: Arc<dyn RuntimeStore>,
    pub(crate) secrets: SecretLookup,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) events: Arc<Events>,
    pub(crate) metrics: Arc<MetricCollector>,
    /// Where applications have folders of their own.
    pub(crate) folders: PathBuf,
}

/// Lists, describes and calls tools.
pub struct ToolManager {
    parts: ToolParts,
    announced: Announced,
}

/// A call on its way, and the calls that it makes itself.
#[derive(Clone)]
struct Running {
    core: Core,
    application: Arc<Application>,
    execution: ExecutionId,
    /// When the time of the outermost call is over.
    until: Instant,
    /// How many tools have called each other so far.
    depth: usize,
    /// Who called the outermost; nobody for the others.
    caller: Arc<dyn ToolCaller>,
}

impl Running {
    fn new(core: &Core, application: &Arc<Application>, started: Instant, caller: Arc<dyn ToolCaller>) -> Self {
        let until = started + application.app.limits.timeout;
        let execution = ExecutionId(Uuid::now_v7());
        Self { core: core.clone(), application: Arc::clone(application), execution, until, depth: 1, caller }
    }
}

impl ToolManager {
    pub(crate) fn new(parts: ToolParts) -> Self {
        Self { parts, announced: Announced::new() }
    }

    /// What plugins tell of themselves.
    pub(crate) fn announced(&self) -> &Announced {
        &self.announced
    }

    /// The tools of an application, by name; `None` if there is no such application, or nothing of it serves.
    pub fn list(&self, app: &str) -> Option<Vec<ToolView>> {
        let application = self.parts.registry.application(app)?;
        let of_plugin = |entry: &Arc<PluginEntry>| {
            entry.known.tools().map(|tool| ToolView::new(&entry.plugin.name, tool)).collect::<Vec<_>>()
        };
        Some(application.plugins.values().flat_map(of_plugin).collect())
    }

    /// One tool of an application.
    pub fn get(&self, app: &str, tool: &str) -> Result<ToolView, ToolErrorKind> {
        let unknown = || CallErrorKind::UnknownApp { name: app.to_owned(), nearest: None };
        let application = self.parts.registry.application(app).ok_or_else(unknown)?;
        let (entry, signature) = find(&application, tool)?;
        Ok(ToolView::new(&entry.plugin.name, signature))
    }

    /// Calls a tool within the application's time limit, in its share of concurrency, for a caller that the tool may speak with
    /// if its plugin is granted that.
    pub(crate) async fn call(
        self: &Arc<Self>,
        core: &Core,
        call: ToolCall<'_>,
        caller: Arc<dyn ToolCaller>,
    ) -> Result<ToolAnswer, ToolError> {
        let started = Instant::now();
        let application = callable(&self.parts.registry, call.app).map_err(ToolErrorKind::from)?;
        let (entry, tool) = find(&application, call.tool)?;
        let _permit = application.permits.try_acquire().map_err(|_| busy())?;
        let (_, arguments) = read(call.body).map_err(ToolErrorKind::from)?;
        let running = Running::new(core, &application, started, caller);
        let execution = running.execution;
        let outcome = self.run(running, &entry, &tool.name, &arguments).await;
        match outcome {
            Ok(ToolOutcome::Value(value)) => {
                let output = value.to_string();
                Ok(ToolAnswer { execution, output, content: tool.content, duration: started.elapsed() })
            }
            Ok(ToolOutcome::Error(error)) => Err(ToolErrorKind::Failed(error).of(execution)),
            Err(kind) => Err(kind.of(execution)),
        }
    }

    /// Calls a function that a plugin offers to MCP clients beside its tools, within the same bounds.
    pub(crate) async fn offered(
        self: &Arc<Self>,
        core: &Core,
        app: &str,
        entry: &Arc<PluginEntry>,
        function: &str,
        arguments: Value,
        caller: &Arc<dyn ToolCaller>,
    ) -> Result<ToolOutcome, ToolErrorKind> {
        let application = callable(&self.parts.registry, app)?;
        let _permit = application.permits.try_acquire().map_err(|_| busy())?;
        let running = Running::new(core, &application, Instant::now(), Arc::clone(caller));
        self.run(running, entry, function, &arguments).await
    }

    /// Runs a tool in a span of its own.
    async fn run(
        self: &Arc<Self>,
        running: Running,
        entry: &Arc<PluginEntry>,
        tool: &str,
        arguments: &Value,
    ) -> Result<ToolOutcome, ToolErrorKind> {
        let span = span(&running.application.app.name, running.execution, &full_name(entry, tool));
        let begun = Instant::now();
        let metrics = self.parts.metrics.host();
        let metrics = metrics.tool(running.application.app.name.as_str(), &full_name(entry, tool));
        let outcome = self.run_linked(running, entry, tool, arguments).instrument(span.clone()).await;
        let error = match &outcome {
            Ok(ToolOutcome::Value(_)) => None,
            Ok(ToolOutcome::Error(_)) => Some(FAILED),
            Err(kind) => Some(kind.code()),
        };
        metrics.record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), error);
        if let Err(kind) = &outcome {
            span.record("error.type", kind.code());
            span.record("otel.status_code", "ERROR");
            span.in_scope(|| tracing::info!(code = kind.code(), error = %kind, "a tool gave no answer"));
        }
        outcome
    }

    async fn run_linked(
        self: &Arc<Self>,
        running: Running,
        entry: &Arc<PluginEntry>,
        tool: &str,
        arguments: &Value,
    ) -> Result<ToolOutcome, ToolErrorKind> {
        let late = || ToolErrorKind::Late(running.application.app.limits.timeout);
        let until = tokio::time::Instant::from_std(running.until);
        let linked = tokio::time::timeout_at(until, self.parts.registry.linked(entry)).await;
        let linked = linked.map_err(|_| late())?.map_err(ToolErrorKind::Load)?;
        let left = running.until.saturating_duration_since(Instant::now());
        let services = CallServices::new(Arc::clone(self), running.clone(), Arc::clone(entry));
        let outcome = linked.call(tool, arguments, Arc::new(services), left).await.map_err(|fault| match fault {
            ToolFault::Unknown(tool) => unknown_tool(&running.application, &tool),
            ToolFault::Arguments { path, expected, got } => ToolErrorKind::Arguments { path, expected, got },
            ToolFault::Load(error) => ToolErrorKind::Load(error),
            ToolFault::Component(fault) => ToolErrorKind::Component(fault),
        })?;
        let (ToolOutcome::Value(said) | ToolOutcome::Error(said)) = &outcome;
        match size(said) {
            size if size > MAX_RESULT_BYTES => Err(ToolErrorKind::TooLarge { size, limit: MAX_RESULT_BYTES }),
            _ => Ok(outcome),
        }
    }
}

/// The plugin and the tool of this name.
fn find(application: &Application, name: &str) -> Result<(Arc<PluginEntry>, ToolSignature), ToolErrorKind> {
    let found = name.split_once('.').and_then(|(plugin, tool)| {
        let entry = application.plugins.get(&plugin.parse().ok()?)?;
        Some((Arc::clone(entry), entry.known.tool(tool)?))
    });
    found.ok_or_else(|| unknown_tool(application, name))
}

fn busy() -> ToolErrorKind {
    CallErrorKind::Busy { retry_after: std::time::Duration::from_secs(1) }.into()
}

/// What a function is called in what is said of it; one that is no tool by its interface without package and version.
fn full_name(entry: &PluginEntry, tool: &str) -> String {
    let plain = tool.split_once('#').map(|(interface, function)| {
        let interface = interface.split_once('@').map_or(interface, |(name, _)| name);
        format!("{}.{function}", interface.rsplit_once('/').map_or(interface, |(_, name)| name))
    });
    format!("{}.{}", entry.plugin.name, plain.as_deref().unwrap_or(tool))
}

fn unknown_tool(application: &Application, name: &str) -> ToolErrorKind {
    let names: Vec<String> = application.plugins.values().flat_map(|entry| entry.tool_names()).collect();
    ToolErrorKind::UnknownTool {
        app: application.app.name.to_string(),
        name: name.to_owned(),
        nearest: nearest(name, names.iter().map(String::as_str)),
    }
}

/// How long a value is as JSON.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting does not fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// The span of one call of a tool, which all that is said on its behalf belongs to; of the highest level, so that a log
/// of errors has it too.
fn span(app: &AppName, execution: ExecutionId, tool: &str) -> tracing::Span {
    tracing::error_span!(
        target: SPANS,
        "tool",
        "nexus.app" = app.as_str(),
        "nexus.tool" = tool,
        "nexus.execution" = %execution,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    )
}

/// The folder of an application's own.
fn folder_of(folders: &std::path::Path, app: &AppName) -> PathBuf {
    folders.join(app.as_str())
}
