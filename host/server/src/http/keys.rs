//! `GET` and `POST /v1/keys`, `DELETE /v1/keys/{id}`.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use nexus_core::{KeyInfo, NewKey, Scope};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{
    api::{Api, Caller},
    body, error,
    params::Named,
    problem::Problem,
};
use crate::settings::duration;

/// What is known of a key; never the key itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Names the key.
    #[schema(example = "9f86d081884c7d65")]
    pub id: String,
    /// For people.
    #[schema(example = "web shop")]
    pub name: String,
    /// What it may do.
    #[schema(example = json!(["apps:order-desk:invoke"]))]
    pub scopes: Vec<String>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When it ends.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<OffsetDateTime>,
}

impl From<KeyInfo> for KeyView {
    fn from(key: KeyInfo) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// All keys, revoked ones included.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// By id.
    pub keys: Vec<KeyView>,
}

/// A key to be made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyBody {
    /// For people; 1 to 100 characters.
    #[schema(example = "web shop")]
    pub name: String,
    /// What it may do: `admin`, or `apps:<application or *>:<invoke, read or write>`.
    #[schema(example = json!(["apps:order-desk:invoke"]))]
    pub scopes: Vec<String>,
    /// How long it is good for, as `12h` or `90d`; for ever if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "90d")]
    pub expires_in: Option<String>,
}

/// A key that was made: the only time that it is seen.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The key, to be sent as `Authorization: Bearer …`.
    #[schema(example = "nxs_…")]
    pub key: String,
    /// What is known of it from now on.
    #[serde(flatten)]
    pub info: KeyView,
}

/// Lists keys
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", operation_id = "list_keys",
    responses(
        (status = 200, body = KeyList, description = "Revoked and expired ones included"),
        (status = 401, description = "No valid API key", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<KeyList>, Problem> {
    caller.require(&Scope::Admin)?;
    Ok(Json(KeyList { keys: api.core.keys.list().into_iter().map(Into::into).collect() }))
}

/// Makes a key
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", operation_id = "create_key",
    request_body(content = NewKeyBody, content_type = "application/json"),
    responses(
        (status = 201, body = CreatedKey, description = "The key, this once"),
        (status = 400, description = "The body is not what this call takes", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid API key", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are too many keys", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not plain JSON", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A name, scope or duration that is none", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Full, stopping, or the store is unavailable", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<CreatedKey>), Problem> {
    caller.require(&Scope::Admin)?;
    let asked: NewKeyBody = body::read_json(&api, request).await?;
    let (info, secret) = api.core.keys.create(new_key(asked)?).await?;
    tracing::info!(key = info.id, by = caller.key_id(), "a key was made");
    let created = CreatedKey { key: secret.expose_secret().to_owned(), info: info.into() };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes a key
///
/// It opens nothing from the moment of the answer on. Revoking a revoked key is no error.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "keys", operation_id = "revoke_key",
    params(("id" = String, Path, description = "The key's id, not the key")),
    responses(
        (status = 204, description = "Revoked"),
        (status = 401, description = "No valid API key", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such key", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Full, stopping, or the store is unavailable", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<StatusCode, Problem> {
    caller.require(&Scope::Admin)?;
    if !api.core.keys.revoke(&id).await? {
        return Err(error::unknown_key(&id));
    }
    tracing::info!(key = id, by = caller.key_id(), "a key was revoked");
    Ok(StatusCode::NO_CONTENT)
}

fn new_key(asked: NewKeyBody) -> Result<NewKey, Problem> {
    let scopes = asked.scopes.iter().map(|scope| scope.parse::<Scope>()).collect::<Result<_, _>>();
    Ok(NewKey {
        name: asked.name,
        scopes: scopes.map_err(|error| error::invalid_key(error.to_string()))?,
        expires_in: asked.expires_in.as_deref().map(duration::parse).transpose().map_err(error::invalid_key)?,
    })
}
