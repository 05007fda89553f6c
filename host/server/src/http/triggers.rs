//! `GET /v1/apps/{app}/triggers`.

use axum::{Json, extract::State};
use nexus_core::TriggerStatus;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{
    api::{Api, Caller, Verb},
    error,
    params::Named,
    problem::Problem,
};

/// A trigger, and how it stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TriggerView {
    /// Its name.
    pub name: String,
    /// `event`, `cron` or `webhook`.
    #[schema(example = "event")]
    pub on: String,
    /// The application whose events it takes, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "shop")]
    pub app: Option<String>,
    /// Why it gets none of that application's events now, and what is to be changed: both must permit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The operation that is called.
    pub operation: String,
    /// Events that wait for it, roughly.
    pub waiting: u64,
    /// When its time comes next, if it waits for one.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next: Option<OffsetDateTime>,
}

impl From<TriggerStatus> for TriggerView {
    fn from(status: TriggerStatus) -> Self {
        Self {
            name: status.name.to_string(),
            on: status.on.to_owned(),
            app: status.app.map(|app| app.to_string()),
            refused: status.refused,
            operation: status.operation.to_string(),
            waiting: status.waiting,
            next: status.next,
        }
    }
}

/// The triggers of an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TriggerList {
    /// As the definition has them.
    pub triggers: Vec<TriggerView>,
}

/// Lists triggers
#[utoipa::path(
    get, path = "/v1/apps/{app}/triggers", tag = "events", operation_id = "list_triggers",
    params(("app" = String, Path, description = "The application", example = "support")),
    responses(
        (status = 200, body = TriggerList, description = "The triggers"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
) -> Result<Json<TriggerList>, Problem> {
    api.permit(&caller, Verb::Read, &app)?;
    let triggers = api.core.events.triggers(&app).await?.ok_or_else(|| error::unknown_app(&app, None))?;
    Ok(Json(TriggerList { triggers: triggers.into_iter().map(Into::into).collect() }))
}
