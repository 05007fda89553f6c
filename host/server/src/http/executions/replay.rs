//! `POST /v1/executions/{id}/replay`.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use nexus_core::{ReplayEffects, ReplayError};
use nexus_model::{ExecutionId, Revision};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::readable;
use crate::http::{
    api::{Api, Caller, Verb},
    body, error, headers,
    params::Named,
    problem::Problem,
};

/// How an execution is to be done again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReplayBody {
    /// The revision of the application that it is to go by; the one that serves if left out.
    revision: Option<String>,
    /// `recorded`: models are asked again, and all other effects are what the execution recorded; or `live`: everything is done
    /// again.
    effects: Option<String>,
}

/// An execution that was begun.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BegunView {
    /// Its id: `GET /v1/executions/{id}` shows how it stands.
    pub execution: String,
}

/// Does an execution of a workflow again
///
/// With the input that it had, on any revision of its application. `GET /v1/executions/{id}` of the new execution tells, once it has
/// ended, what came out otherwise: output, cost, and steps (`comparison`). Results of tools are those that were recorded, unless
/// `effects` is `live`; a call that was not recorded fails.
#[utoipa::path(
    post, path = "/v1/executions/{id}/replay", tag = "executions", operation_id = "replay_execution",
    params(("id" = String, Path, description = "The execution's id")),
    request_body(content = ReplayBody, description = "Which revision, and where effects come from", example = json!({"effects": "recorded"})),
    responses(
        (status = 202, body = BegunView, description = "Begun", headers(("location" = String, description = "The new execution"))),
        (status = 403, description = "The key lacks `apps:{app}:invoke`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such execution of a workflow that has ended, or no such revision", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The revision has no such workflow, or takes another input", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "There is no room, or nothing that starts sandboxes: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn replay(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    let unknown = || error::unknown_execution(&id);
    let parsed: ExecutionId = id.parse().map_err(|_| unknown())?;
    let apps = readable(&api, &caller)?;
    let (parts, body) = request.into_parts();
    let body = body::read(&api, &parts.headers, body).await?;
    let asked: ReplayBody = if body.iter().all(u8::is_ascii_whitespace) {
        ReplayBody::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| error::invalid_json(error.to_string()))?
    };
    let effects = match asked.effects.as_deref() {
        None | Some("recorded") => ReplayEffects::Recorded,
        Some("live") => ReplayEffects::Live,
        Some(_) => return Err(error::invalid_parameter("`effects` is `recorded` or `live`")),
    };
    let (app, _) = api.core.show_execution(&apps, parsed).await?.ok_or_else(unknown)?;
    api.permit(&caller, Verb::Invoke, app.as_str())?;
    let revision = asked.revision.map(Revision::from);
    Ok(begun(api.core.replay_execution(&app, parsed, revision, effects).await?))
}

/// What is told of an execution that was begun, and is not waited for.
pub(crate) fn begun(id: ExecutionId) -> Response {
    let view = BegunView { execution: id.to_string() };
    let mut response = (StatusCode::ACCEPTED, Json(view)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/executions/{id}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(headers::EXECUTION, id);
    }
    response
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        let (status, code, title) = match &error {
            ReplayError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_execution", "No such execution"),
            ReplayError::UnknownRevision(_) => (StatusCode::NOT_FOUND, "unknown_revision", "No such revision"),
            ReplayError::NoWorkflow { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "no_workflow", "No workflow"),
            ReplayError::Input { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_input", "The input does not satisfy the schema")
            }
            ReplayError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy"),
            ReplayError::Store(error) => return error.clone().into(),
        };
        let retry = matches!(error, ReplayError::Busy(_));
        let problem = Self::new(status, code, title, error.to_string());
        if retry { problem.retry_after(std::time::Duration::from_secs(5)) } else { problem }
    }
}
