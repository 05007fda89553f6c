//! `POST /v1/hooks/{app}/{trigger}`.

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use nexus_core::HookRequest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    api::{Anybody, Api},
    body,
    params::Named,
    problem::Problem,
};

/// What a request to a webhook became.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Received {
    /// The id of the event: the same when the request is sent again.
    id: String,
}

/// Takes a signed request
///
/// For a trigger `on: { webhook: … }` of an application. Its signature, not an API key, says who sends it. The event is
/// durable when the answer comes; a request that is sent again has its effect once, for a week.
#[utoipa::path(
    post, path = "/v1/hooks/{app}/{trigger}", tag = "events", operation_id = "receive_webhook",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("trigger" = String, Path, description = "The trigger's name", example = "pushes"),
    ),
    request_body(content = serde_json::Value, content_type = "application/json", description = "Whatever is signed"),
    responses(
        (status = 202, body = Received, description = "Taken; the operation is called now"),
        (status = 401, description = "The signature is missing, not of this body, or too old", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such webhook", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Full, stopping, without its secret, or the store is unavailable: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    ),
    security(()),
)]
pub(crate) async fn receive(
    State(api): State<Api>,
    _admitted: Anybody,
    Named((app, trigger)): Named<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (Parts { headers, .. }, body) = request.into_parts();
    let body = body::read_any(&api, &headers, body).await?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let asked = HookRequest { app: &app, trigger: &trigger, header: &header, body: &body };
    let id = api.core.events.hook(asked).await?;
    Ok((StatusCode::ACCEPTED, Json(Received { id })).into_response())
}
