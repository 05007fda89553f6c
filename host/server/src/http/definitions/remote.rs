//! The remote of the definitions: `/v1/definitions/push` and `/fetch`.

use axum::{Json, extract::State};
use nexus_core::Scope;
use nexus_model::Moved;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::{
    Problem,
    api::{Api, Caller},
};

/// What a push or a fetch did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MovedView {
    /// The commit that this host is at; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Whether anything moved.
    pub moved: bool,
}

impl From<Moved> for MovedView {
    fn from(Moved { head, moved }: Moved) -> Self {
        Self { head, moved }
    }
}

/// Sends this host's definitions to the remote
///
/// By fast-forward only.
#[utoipa::path(
    post, path = "/v1/definitions/push", tag = "applications", operation_id = "push_definitions",
    responses(
        (status = 200, body = MovedView, description = "The remote has what this host has"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No remote is set, this host follows it, or each side has commits that the other lacks: both commits are named", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The remote cannot be used", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn push(State(api): State<Api>, caller: Caller) -> Result<Json<MovedView>, Problem> {
    caller.require(&Scope::Admin)?;
    api.note(&caller, "definitions.push", "-").await?;
    Ok(Json(api.core.registry.push().await?.into()))
}

/// Takes the remote's definitions and serves them
///
/// By fast-forward only. That the remote is behind is no error.
#[utoipa::path(
    post, path = "/v1/definitions/fetch", tag = "applications", operation_id = "fetch_definitions",
    responses(
        (status = 200, body = MovedView, description = "This host has what the remote has"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No remote is set, or each side has commits that the other lacks: both commits are named", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The remote cannot be used", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn fetch(State(api): State<Api>, caller: Caller) -> Result<Json<MovedView>, Problem> {
    caller.require(&Scope::Admin)?;
    api.note(&caller, "definitions.fetch", "-").await?;
    Ok(Json(api.core.registry.fetch().await?.into()))
}
