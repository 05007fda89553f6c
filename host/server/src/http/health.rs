//! What operators and machines ask: `/healthz`, `/readyz`, `/metrics`, `/openapi.json`, `/`.

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{api::Api, error, problem::Problem};

/// A word about the server's state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Health {
    /// `ok` or `ready`.
    #[schema(example = "ok")]
    pub(crate) status: String,
}

/// Says that the process is alive
///
/// Looks at nothing else: a store that is gone is no reason to restart this process.
#[utoipa::path(
    get, path = "/healthz", tag = "server", operation_id = "healthz",
    responses((status = 200, body = Health, description = "Alive")),
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

/// Says whether requests should be sent here
#[utoipa::path(
    get, path = "/readyz", tag = "server", operation_id = "readyz",
    responses(
        (status = 200, body = Health, description = "Ready"),
        (status = 503, body = Problem, description = "Stopping, or the store does not answer", content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn readyz(State(api): State<Api>) -> Result<Json<Health>, Problem> {
    if api.is_draining() {
        return Err(error::draining());
    }
    api.core.check_ready().await.map_err(|reason| {
        tracing::warn!(%reason, "not ready");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The server is not ready", reason.to_string())
    })?;
    Ok(Json(Health { status: "ready".to_owned() }))
}

/// Shows all metrics
///
/// In the `OpenMetrics` text format, which Prometheus reads. Any valid key will do, whatever its scopes; with the setting
/// `metrics_open` none is asked for.
#[utoipa::path(
    get, path = "/metrics", tag = "server", operation_id = "metrics",
    responses(
        (status = 200, body = String, description = "OpenMetrics text", content_type = "application/openmetrics-text"),
    ),
    security(("key" = []), ()),
)]
pub(crate) async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    if !api.metrics_open {
        api.authenticate(&headers)?;
    }
    let mut response = Response::new(Body::from(api.metrics.prometheus()));
    let text = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

/// Shows this description
#[utoipa::path(
    get, path = "/openapi.json", tag = "server", operation_id = "openapi",
    responses((status = 200, body = serde_json::Value, description = "OpenAPI 3.1")),
)]
pub(crate) async fn openapi(State(api): State<Api>) -> Response {
    let body: Bytes = api.openapi.clone();
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// Where to go from here.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Welcome {
    /// `nexus`.
    #[schema(example = "nexus")]
    name: String,
    /// Of the program.
    #[schema(example = "0.1.0")]
    version: String,
    /// The description of this API.
    #[schema(example = "/openapi.json")]
    openapi: String,
    /// The applications.
    #[schema(example = "/v1/apps")]
    apps: String,
    /// The executions.
    #[schema(example = "/v1/executions")]
    executions: String,
    /// How an operation is run.
    #[schema(example = "POST /v1/apps/{app}/operations/{operation}")]
    execute: String,
}

/// Names the API
#[utoipa::path(
    get, path = "/", tag = "server", operation_id = "welcome",
    responses((status = 200, body = Welcome, description = "Where to go from here")),
)]
pub(crate) async fn welcome() -> Json<Welcome> {
    Json(Welcome {
        name: "nexus".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        openapi: "/openapi.json".to_owned(),
        apps: "/v1/apps".to_owned(),
        executions: "/v1/executions".to_owned(),
        execute: "POST /v1/apps/{app}/operations/{operation}".to_owned(),
    })
}
