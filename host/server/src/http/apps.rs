//! `GET /v1/apps` and `GET /v1/apps/{app}`.

use std::num::NonZeroU32;

use axum::{Json, extract::State, http::HeaderMap};
use nexus_core::{AppDetail, AppStatus, AppSummary, OperationDetail};
use nexus_definitions::Fault;
use nexus_model::{Optimize, OptimizeMode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    api::{Api, Caller, Verb},
    definitions::etag,
    error,
    params::Named,
    problem::Problem,
};

/// One fault of a definition, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultView {
    /// The file's path within the application's folder.
    #[schema(example = "app.yaml")]
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What kind of fault it is.
    #[schema(example = "unknown_field")]
    pub code: String,
    /// The value within the file, as a JSON Pointer.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; empty if the message says it all.
    pub expected: String,
    /// The nearest valid name, when one is near enough to be meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

impl From<Fault> for FaultView {
    fn from(fault: Fault) -> Self {
        Self {
            file: fault.file,
            line: fault.line,
            column: fault.column,
            code: fault.code.as_str().to_owned(),
            path: fault.path,
            message: fault.message,
            expected: fault.expected,
            nearest: fault.nearest,
        }
    }
}

impl std::fmt::Display for FaultView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        self.nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; did you mean `{nearest}`?"))
    }
}

/// An application in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppView {
    /// Its name.
    #[schema(example = "order-desk")]
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The revision that serves, or the faulty one where nothing does.
    pub revision: String,
    /// `active`; `inactive`: taken out of service, calls get 409; `degraded`: the newest revision has faults and an
    /// older one serves; `error`: nothing serves.
    #[schema(example = "active")]
    pub status: String,
    /// Why, where it is not simply active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The newest revision, which a change must name: not `revision` where the newest has faults.
    pub newest: String,
    /// What is wrong with the newest revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultView>,
    /// The names of the operations that serve.
    pub operations: Vec<String>,
}

impl From<AppSummary> for AppView {
    fn from(app: AppSummary) -> Self {
        Self {
            name: app.name.to_string(),
            description: app.description,
            revision: app.revision.to_string(),
            status: match app.status {
                AppStatus::Active => "active",
                AppStatus::Inactive => "inactive",
                AppStatus::Degraded => "degraded",
                AppStatus::Error => "error",
            }
            .to_owned(),
            reason: app.reason,
            newest: app.newest.to_string(),
            faults: app.faults.into_iter().map(Into::into).collect(),
            operations: app.operations.iter().map(ToString::to_string).collect(),
        }
    }
}

/// All applications that the key may see.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppList {
    /// By name.
    pub apps: Vec<AppView>,
}

/// When code may take over from the model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OptimizeView {
    /// `auto`, `recommend` or `off`.
    #[schema(example = "auto")]
    pub mode: String,
    /// The least share of handled inputs on which code and model must agree.
    pub agreement: f64,
    /// Distinct inputs that must have been answered before code is written.
    pub min_inputs: usize,
}

impl From<Optimize> for OptimizeView {
    fn from(Optimize { mode, agreement, min_inputs }: Optimize) -> Self {
        let mode = match mode {
            OptimizeMode::Auto => "auto",
            OptimizeMode::Recommend => "recommend",
            OptimizeMode::Off => "off",
        };
        Self { mode: mode.to_owned(), agreement, min_inputs }
    }
}

/// An operation in full.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OperationView {
    /// Its name.
    #[schema(example = "parse-date")]
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What code and examples belong to: changes with prompt, schemas and model.
    pub version: String,
    /// `prompt` or `component`.
    #[schema(example = "prompt")]
    pub implementation: String,
    /// JSON Schema 2020-12 of the input.
    pub input: Value,
    /// JSON Schema 2020-12 of the output.
    pub output: Value,
    /// When code may take over.
    pub optimize: OptimizeView,
    /// The number of the code that answers, if code does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_code: Option<u32>,
}

impl From<OperationDetail> for OperationView {
    fn from(operation: OperationDetail) -> Self {
        Self {
            name: operation.name.to_string(),
            description: operation.description,
            version: operation.version.to_string(),
            implementation: operation.implementation.to_owned(),
            input: operation.input,
            output: operation.output,
            optimize: operation.optimize.into(),
            active_code: operation.active_code,
        }
    }
}

/// An application in full.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AppDetailView {
    /// What the list shows.
    #[serde(flatten)]
    pub summary: AppView,
    /// The longest a call may take, in milliseconds.
    pub timeout_ms: u64,
    /// Calls that may run at one time.
    pub concurrency: usize,
    /// Calls that may be made in a minute, at each replica; any number if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    pub requests_per_minute: Option<NonZeroU32>,
    /// The operations that serve, in full.
    pub operation_details: Vec<OperationView>,
}

impl From<AppDetail> for AppDetailView {
    fn from(app: AppDetail) -> Self {
        Self {
            summary: app.summary.into(),
            timeout_ms: app.timeout_ms,
            concurrency: app.concurrency,
            requests_per_minute: app.requests_per_minute,
            operation_details: app.operations.into_iter().map(Into::into).collect(),
        }
    }
}

/// Lists applications
///
/// Those that the key may read; a key that may read none sees an empty list.
#[utoipa::path(
    get, path = "/v1/apps", tag = "applications", operation_id = "list_apps",
    responses(
        (status = 200, body = AppList, description = "By name"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(State(api): State<Api>, caller: Caller) -> Json<AppList> {
    let apps = api.core.registry.apps().into_iter();
    Json(AppList { apps: apps.filter(|app| caller.may(Verb::Read, &app.name)).map(Into::into).collect() })
}

/// Shows an application
#[utoipa::path(
    get, path = "/v1/apps/{app}", tag = "applications", operation_id = "get_app",
    params(("app" = String, Path, description = "The application", example = "order-desk")),
    responses(
        (status = 200, body = AppDetailView, description = "The application", headers(
            ("etag" = String, description = "The newest revision, for `If-Match`"),
        )),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
) -> Result<(HeaderMap, Json<AppDetailView>), Problem> {
    api.permit(&caller, Verb::Read, &app)?;
    let detail = api.core.registry.app(&app).ok_or_else(|| error::unknown_app(&app, None))?;
    Ok((etag(&detail.summary.newest), Json(detail.into())))
}
