//! `GET` and `POST /v1/keys`, `POST /v1/keys/{id}/rotate`, `DELETE /v1/keys/{id}`.

use std::{num::NonZeroU32, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use nexus_core::{KeyInfo, NewKey, Scope};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
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
    /// When it got its present secret, if that is not the first.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub rotated_at: Option<OffsetDateTime>,
    /// Until when the secret before the present one is good too.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub overlap_until: Option<OffsetDateTime>,
    /// When it was used last, to about half a minute; left out if never.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<OffsetDateTime>,
    /// Requests that it may make in a minute, at each replica; any number if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, example = 600)]
    pub requests_per_minute: Option<NonZeroU32>,
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
            rotated_at: key.rotated_at,
            overlap_until: key.overlap_until,
            last_used_at: key.last_used_at,
            requests_per_minute: key.requests_per_minute,
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
    /// Requests that it may make in a minute, at each replica; any number if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, example = 600)]
    pub requests_per_minute: Option<NonZeroU32>,
}

/// How a key gets a new secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKeyBody {
    /// How long the old secret goes on, as `24h`, at most `30d`; not at all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "24h")]
    pub overlap: Option<String>,
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
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<KeyList>, Problem> {
    caller.require(&Scope::Admin)?;
    Ok(Json(KeyList { keys: api.core.keys.list().await?.into_iter().map(Into::into).collect() }))
}

/// Makes a key
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", operation_id = "create_key",
    request_body(content = NewKeyBody, content_type = "application/json"),
    responses(
        (status = 201, body = CreatedKey, description = "The key, this once"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are too many keys", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A name, scope or duration that is none", body = Problem, content_type = "application/problem+json"),
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
    let prepared = api.core.keys.prepare(new_key(asked)?)?;
    let info = prepared.info().clone();
    let detail = json!({
        "name": info.name, "scopes": info.scopes, "requests_per_minute": info.requests_per_minute,
        "expires_at": info.expires_at.map(OffsetDateTime::unix_timestamp),
    });
    let keep = async { Ok::<_, Problem>(api.core.keys.keep(prepared).await?) };
    let (info, secret) =
        api.core.audit_log.change(caller.principal(), "key.create", info.id.as_str(), detail, keep).await?;
    tracing::info!(key = info.id, by = caller.key_id(), "a key was made");
    Ok((StatusCode::CREATED, Json(shown_once(info, &secret))))
}

/// Gives a key a new secret
///
/// Its id, its scopes and its end stay. The old secret goes on for the overlap that is asked for, so that callers can be
/// changed one after the other; of three secrets the oldest ends at once.
#[utoipa::path(
    post, path = "/v1/keys/{id}/rotate", tag = "keys", operation_id = "rotate_key",
    params(("id" = String, Path, description = "The key's id, not the key")),
    request_body(content = RotateKeyBody, content_type = "application/json"),
    responses(
        (status = 200, body = CreatedKey, description = "The key with its new secret, this once"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such key", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The key is revoked or expired", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "An overlap that is none, or too long", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
    request: Request,
) -> Result<Json<CreatedKey>, Problem> {
    caller.require(&Scope::Admin)?;
    let asked: RotateKeyBody = body::read_json(&api, request).await?;
    let overlap = asked.overlap.as_deref().map(duration::parse).transpose().map_err(error::invalid_key)?;
    let overlap = overlap.unwrap_or(Duration::ZERO);
    if !api.core.keys.knows(&id) {
        return Err(error::unknown_key(&id));
    }
    let rotate = async { Ok::<_, Problem>(api.core.keys.rotate(&id, overlap).await?) };
    let detail = json!({ "overlap_seconds": overlap.as_secs() });
    let rotated = api.core.audit_log.change(caller.principal(), "key.rotate", id.as_str(), detail, rotate).await?;
    let (info, secret) = rotated.ok_or_else(|| error::unknown_key(&id))?;
    tracing::info!(key = id, by = caller.key_id(), "a key got a new secret");
    Ok(Json(shown_once(info, &secret)))
}

fn shown_once(info: KeyInfo, secret: &SecretString) -> CreatedKey {
    CreatedKey { key: secret.expose_secret().to_owned(), info: info.into() }
}

/// Revokes a key
///
/// It opens nothing from the moment of the answer on. Revoking a revoked key is no error.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "keys", operation_id = "revoke_key",
    params(("id" = String, Path, description = "The key's id, not the key")),
    responses(
        (status = 204, description = "Revoked"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such key", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<StatusCode, Problem> {
    caller.require(&Scope::Admin)?;
    if !api.core.keys.knows(&id) {
        return Err(error::unknown_key(&id));
    }
    let revoke = async { Ok::<_, Problem>(api.core.keys.revoke(&id).await?) };
    let revoked = api.core.audit_log.change(caller.principal(), "key.revoke", id.as_str(), json!({}), revoke).await?;
    if !revoked {
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
        requests_per_minute: asked.requests_per_minute,
    })
}
