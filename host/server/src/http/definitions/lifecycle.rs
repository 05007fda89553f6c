//! Out of service and back: `/activate`, `/deactivate`.

use axum::{
    Json,
    extract::{Request, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::permitted;
use crate::http::{
    AppView, Problem,
    api::{Api, Caller, Verb},
    body, error,
    params::Named,
};

/// Why an application is taken out of service.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeactivateBody {
    /// For people; at most 500 characters. Callers are told it.
    #[serde(default)]
    #[schema(example = "moves to another host")]
    pub reason: String,
}

/// Takes an application out of service
///
/// Calls of it get 409 `app_inactive` from the answer on; calls that are running end as they would. The state is kept in
/// the runtime store, not in Git: hosts that share a store agree on it within a second, a clone or a push takes none of
/// it along.
#[utoipa::path(
    post, path = "/v1/apps/{app}/deactivate", tag = "applications", operation_id = "deactivate_app",
    params(("app" = String, Path, description = "The application", example = "support")),
    request_body(content = DeactivateBody, content_type = "application/json"),
    responses(
        (status = 200, body = AppView, description = "Inactive"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No application can have this name", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn deactivate(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    request: Request,
) -> Result<Json<AppView>, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let asked: DeactivateBody = body::read_json(&api, request).await?;
    api.note(&caller, "app.deactivate", app.as_str()).await?;
    api.core.registry.deactivate(&app, &asked.reason, caller.name()).await?;
    shown(&api, app.as_str())
}

/// Puts an application back into service
///
/// Activating an active application is no error. What is wrong with its definition is not mended by it.
#[utoipa::path(
    post, path = "/v1/apps/{app}/activate", tag = "applications", operation_id = "activate_app",
    params(("app" = String, Path, description = "The application", example = "support")),
    responses(
        (status = 200, body = AppView, description = "No longer inactive"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No application can have this name", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn activate(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
) -> Result<Json<AppView>, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    api.note(&caller, "app.activate", app.as_str()).await?;
    api.core.registry.activate(&app).await?;
    shown(&api, app.as_str())
}

fn shown(api: &Api, app: &str) -> Result<Json<AppView>, Problem> {
    let detail = api.core.registry.app(app).ok_or_else(|| error::unknown_app(app, None))?;
    Ok(Json(detail.summary.into()))
}
