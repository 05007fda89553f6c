//! `core.operations.*` and `core.tools.*`.

use nexus_model::{AppName, CatalogueTool, ToolCatalogue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HostCatalogue, Outcome, Refusal, tool::Arguments};
use crate::{AppCatalogue, Call as OperationCall, Scope, Target, catalogue::refusal};

/// The most tools that a search finds.
const FOUND: usize = 20;

/// Lists the operations that the key may call, with what they do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// Only of this application.
    app: Option<String>,
}

impl Arguments for List {
    const NAME: &'static str = "core.operations.list";
    const VERB: fn(Target) -> Scope = Scope::Invoke;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let apps = match self.app {
            Some(app) => vec![host.app(&app, Self::VERB)?],
            None => host.apps(Self::VERB),
        };
        let mut operations = Vec::new();
        for app in apps {
            let Some(application) = host.core.registry.application(app.as_str()) else { continue };
            operations.extend(application.offers().map(|entry| {
                let operation = &entry.operation;
                json!({ "app": app.as_str(), "operation": operation.name.as_str(), "description": operation.description })
            }));
        }
        Ok(json!({ "operations": operations }))
    }
}

/// Calls an operation of an application. `core.tools.describe` shows what it takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// The application.
    app: String,
    /// The operation.
    operation: String,
    /// Its input, by its own schema.
    input: Value,
}

impl Arguments for Call {
    const NAME: &'static str = "core.operations.call";
    const VERB: fn(Target) -> Scope = Scope::Invoke;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let admitted = host.core.router.admit(app.as_str());
        admitted.map_err(|exceeded| Refusal::said("rate_limited", exceeded.to_string()))?;
        let body = self.input.to_string();
        let call = OperationCall { app: app.as_str(), operation: &self.operation, body: body.as_bytes(), sink: None };
        match host.core.router.execute(call).await {
            Ok(answer) => {
                let output: Value = serde_json::from_str(&answer.output)
                    .map_err(|error| Refusal::said("output_invalid", error.to_string()))?;
                Ok(json!({
                    "output": output, "execution": answer.execution.to_string(), "path": answer.path.as_str(),
                }))
            }
            Err(error) => Err(refusal::of_call(&error.kind)
                .map_or_else(|error| Refusal::said("unknown", error.to_string()), Refusal::Said)),
        }
    }
}

/// Finds tools by words in their names and descriptions: operations and functions of plugins, of all applications that the key
/// may call. At most 20, without their schemas.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchTools {
    /// The words; each must be there, in any case.
    query: String,
}

impl Arguments for SearchTools {
    const NAME: &'static str = "core.tools.search";
    const VERB: fn(Target) -> Scope = Scope::Invoke;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let tools = host.apps(Self::VERB).into_iter().flat_map(|app| {
            let catalogue = AppCatalogue::new(host.core.clone(), app.clone(), host.principal.clone());
            catalogue.tools().into_iter().map(move |tool| (app.clone(), tool))
        });
        Ok(found(&self.query, tools))
    }
}

/// The tools that have all words of the query in their names and descriptions, without their schemas.
pub(crate) fn found(query: &str, tools: impl Iterator<Item = (AppName, CatalogueTool)>) -> Value {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let fits = |tool: &CatalogueTool| {
        let text = format!("{} {}", tool.name, tool.description.as_deref().unwrap_or_default()).to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let found = tools
        .filter(|(_, tool)| fits(tool))
        .take(FOUND)
        .map(|(app, tool)| json!({ "app": app.as_str(), "tool": tool.name, "description": tool.description }));
    json!({ "tools": found.collect::<Vec<_>>() })
}

/// A tool with its schemas.
pub(crate) fn described(tool: &CatalogueTool) -> Value {
    json!({
        "tool": tool.name, "description": tool.description, "input": *tool.input, "output": tool.output.as_deref(),
    })
}

/// Shows a tool of an application with its schemas.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DescribeTool {
    /// The application.
    app: String,
    /// The tool: an operation's name, or `{plugin}.{function}`.
    tool: String,
}

impl Arguments for DescribeTool {
    const NAME: &'static str = "core.tools.describe";
    const VERB: fn(Target) -> Scope = Scope::Invoke;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let catalogue = AppCatalogue::new(host.core.clone(), app, host.principal.clone());
        let found = catalogue.tools().into_iter().find(|tool| tool.name == self.tool);
        let tool = found.ok_or_else(|| Refusal::said("unknown_tool", "the application has no such tool"))?;
        Ok(described(&tool))
    }
}
