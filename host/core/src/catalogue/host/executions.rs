//! `core.executions.*`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{HostCatalogue, Outcome, Refusal, tool::Arguments};
use crate::{ExecutionFilter, Scope, Target};

/// The most executions that are told at one time.
const EXECUTIONS: usize = 50;

/// Lists what operations did, the newest first, at most 50, without inputs and answers.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// Only of this application.
    app: Option<String>,
    /// Only of this operation.
    operation: Option<String>,
    /// Only those before the execution with this id.
    before: Option<String>,
}

impl Arguments for List {
    const NAME: &'static str = "core.executions.list";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = self.app.map(|app| host.app(&app, Self::VERB)).transpose()?;
        let wrong = |what: &str| Refusal::said("invalid_arguments", format!("`{what}` is none"));
        let filter = ExecutionFilter {
            app,
            operation: self.operation.map(|name| name.parse().map_err(|_| wrong("operation"))).transpose()?,
            path: None,
            before: self.before.map(|id| id.parse().map_err(|_| wrong("before"))).transpose()?,
            limit: EXECUTIONS,
        };
        let found = host.core.executions.list(&host.apps(Self::VERB), &filter).await?;
        let told = found.into_iter().map(|execution| {
            json!({
                "id": execution.id.to_string(), "app": execution.operation.app.as_str(),
                "operation": execution.operation.operation.as_str(), "path": execution.path.as_str(),
                "unix_time": execution.started_at.unix_timestamp(), "duration_us": execution.duration_us,
                "error": execution.error,
            })
        });
        Ok(json!({ "executions": told.collect::<Vec<_>>() }))
    }
}

/// Shows one execution with its input and its answer.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Get {
    /// Its id.
    id: String,
}

impl Arguments for Get {
    const NAME: &'static str = "core.executions.get";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let unknown = || Refusal::said("unknown_execution", "there is no such execution, or the key may not read it");
        let id = self.id.parse().map_err(|_| unknown())?;
        let found = host.core.executions.get(&host.apps(Self::VERB), id).await?;
        serde_json::to_value(found.ok_or_else(unknown)?).map_err(|error| Refusal::said("unreadable", error.to_string()))
    }
}

/// Cancels an execution that a model or a sandbox works for. Returns `cancelled`: whether it was in flight at this host.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancel {
    /// The application.
    app: String,
    /// The execution's id.
    id: String,
}

impl Arguments for Cancel {
    const NAME: &'static str = "core.executions.cancel";
    const VERB: fn(Target) -> Scope = Scope::Invoke;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let id = self.id.parse().map_err(|_| Refusal::said("invalid_arguments", "`id` is no execution"))?;
        Ok(json!({ "cancelled": host.core.router.cancel(&app, id) }))
    }
}
