//! What tools are asked and what they answer.

use std::{sync::Arc, time::Duration};

use nexus_model::{ComponentFault, ExecutionId, LoadError, PluginName, ToolSignature};
use serde_json::Value;

use crate::router::CallErrorKind;

/// The word for a tool's own error.
pub(super) const FAILED: &str = "tool_error";

/// A tool, as the doors show it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolView {
    /// `{plugin}.{tool}`.
    pub name: String,
    /// The plugin.
    pub plugin: PluginName,
    /// What its author says about it.
    pub description: Option<String>,
    /// JSON Schema 2020-12 of the arguments, an object.
    pub input: Arc<Value>,
    /// JSON Schema 2020-12 of the result; `None` where it returns nothing.
    pub output: Option<Arc<Value>>,
}

impl ToolView {
    pub(super) fn new(plugin: &PluginName, tool: ToolSignature) -> Self {
        Self {
            name: format!("{plugin}.{}", tool.name),
            plugin: plugin.clone(),
            description: tool.description,
            input: tool.input,
            output: tool.output,
        }
    }
}

/// One call of a tool.
#[derive(Debug, Clone, Copy)]
pub struct ToolCall<'a> {
    /// The application's name, as the caller wrote it.
    pub app: &'a str,
    /// The tool's name, `{plugin}.{tool}`, as the caller wrote it.
    pub tool: &'a str,
    /// The arguments: JSON, not looked at yet.
    pub body: &'a [u8],
}

/// The result of a tool.
#[derive(Debug, Clone)]
pub struct ToolAnswer {
    /// The call, for the log.
    pub execution: ExecutionId,
    /// The result as JSON text; `null` where the tool returns nothing.
    pub output: String,
    /// Whether the result is content in the words of MCP: a `list<content>` of `nexus:mcp/types`.
    pub content: bool,
    /// From the call's arrival to its answer.
    pub duration: Duration,
}

/// A call without a result.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct ToolError {
    /// The call, once it was begun.
    pub execution: Option<ExecutionId>,
    /// What went wrong.
    #[source]
    pub kind: ToolErrorKind,
}

impl From<ToolErrorKind> for ToolError {
    fn from(kind: ToolErrorKind) -> Self {
        Self { execution: None, kind }
    }
}

/// What went wrong with a call of a tool.
#[derive(Debug, thiserror::Error)]
pub enum ToolErrorKind {
    /// What goes wrong with calls of operations, too: no such application, or it takes no calls now.
    #[error(transparent)]
    Call(#[from] CallErrorKind),
    /// No such tool.
    #[error("the application `{app}` has no tool `{name}`")]
    UnknownTool {
        /// The application.
        app: String,
        /// What was asked for.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// The arguments do not fit the tool's types.
    #[error("{path}: expected {expected}, got {got}", path = if path.is_empty() { "the arguments" } else { path })]
    Arguments {
        /// Where: `lines[3].qty`.
        path: String,
        /// What the type is.
        expected: String,
        /// What is there, cut short.
        got: String,
    },
    /// The tool's own error: it ran and says no.
    #[error("the tool says: {0}")]
    Failed(Value),
    /// The result is too large.
    #[error("the tool's result has {size} bytes, at most {limit} are taken")]
    TooLarge {
        /// Its size as JSON, in bytes.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The component was not ready in time.
    #[error("the plugin was not ready within {} ms", .0.as_millis())]
    Late(Duration),
    /// The component could not be made ready.
    #[error(transparent)]
    Load(LoadError),
    /// The component was stopped.
    #[error(transparent)]
    Component(ComponentFault),
}

impl ToolErrorKind {
    /// A stable word for metrics, problem details and scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Call(kind) => kind.code(),
            Self::UnknownTool { .. } => "unknown_tool",
            Self::Arguments { .. } => "invalid_arguments",
            Self::Failed(_) => FAILED,
            Self::TooLarge { .. } => "result_too_large",
            Self::Late(_) | Self::Component(ComponentFault::Deadline(_)) => "component_deadline",
            Self::Load(_) => "plugin_unavailable",
            Self::Component(_) => "component_fault",
        }
    }

    pub(super) fn of(self, execution: ExecutionId) -> ToolError {
        ToolError { execution: Some(execution), kind: self }
    }
}
