//! The tools of applications: the exported functions of their plugins, `{plugin}.{tool}`.

mod any;
mod call;
mod grants;
mod once;
mod services;

use std::{path::PathBuf, sync::Arc, time::Instant};

use nexus_definitions::nearest;
use nexus_model::{AppName, ExecutionId, RuntimeStore, SPANS, ToolFault, ToolOutcome, ToolSignature};
use nexus_signals::MetricCollector;
use serde_json::Value;
use tracing::{Instrument, field::Empty};
use uuid::Uuid;

use self::services::CallServices;
use crate::{
    Core,
    budget::Budgets,
    events::{Events, SecretLookup},
    registry::{Application, ApplicationRegistry, PluginEntry},
    router::{CallErrorKind, callable, read},
};

use call::FAILED;
pub use call::{ToolAnswer, ToolCall, ToolError, ToolErrorKind, ToolView};
pub use grants::widened;
pub(crate) use grants::{granted, matches};
pub(crate) use any::{ToolScope, allowed};
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
}

impl ToolManager {
    pub(crate) fn new(parts: ToolParts) -> Self {
        Self { parts }
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

    /// Calls a tool within the application's time limit, in its share of concurrency.
    pub(crate) async fn call(self: &Arc<Self>, core: &Core, call: ToolCall<'_>) -> Result<ToolAnswer, ToolError> {
        let started = Instant::now();
        let application = callable(&self.parts.registry, call.app).map_err(ToolErrorKind::from)?;
        let (entry, tool) = find(&application, call.tool)?;
        let Ok(_permit) = application.permits.try_acquire() else {
            let retry_after = std::time::Duration::from_secs(1);
            return Err(ToolErrorKind::from(CallErrorKind::Busy { retry_after }).into());
        };
        let (_, arguments) = read(call.body).map_err(ToolErrorKind::from)?;
        let execution = ExecutionId(Uuid::now_v7());
        let until = started + application.app.limits.timeout;
        let running = Running { core: core.clone(), application: Arc::clone(&application), execution, until, depth: 1 };
        let outcome = self.run(running, &entry, &tool.name, &arguments).await;
        match outcome {
            Ok(ToolOutcome::Value(value)) => {
                let output = value.to_string();
                Ok(ToolAnswer { execution, output, duration: started.elapsed() })
            }
            Ok(ToolOutcome::Error(error)) => Err(ToolErrorKind::Failed(error).of(execution)),
            Err(kind) => Err(kind.of(execution)),
        }
    }

    /// Runs a tool in a span of its own.
    async fn run(
        self: &Arc<Self>,
        running: Running,
        entry: &Arc<PluginEntry>,
        tool: &str,
        arguments: &Value,
    ) -> Result<ToolOutcome, ToolErrorKind> {
        let span = span(&running, entry, tool);
        let begun = Instant::now();
        let metrics = self
            .parts
            .metrics
            .host()
            .tool(running.application.app.name.as_str(), &format!("{}.{tool}", entry.plugin.name));
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
fn span(running: &Running, entry: &PluginEntry, tool: &str) -> tracing::Span {
    tracing::error_span!(
        target: SPANS,
        "tool",
        "nexus.app" = running.application.app.name.as_str(),
        "nexus.tool" = format_args!("{}.{tool}", entry.plugin.name),
        "nexus.execution" = %running.execution,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    )
}

/// The folder of an application's own.
fn folder_of(folders: &std::path::Path, app: &AppName) -> PathBuf {
    folders.join(app.as_str())
}
