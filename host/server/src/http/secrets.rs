//! `GET /v1/secrets`, `PUT` and `DELETE /v1/secrets/{name}`, and the same below `/v1/apps/{app}`.

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
};
use nexus_core::Scope;
use nexus_model::{SecretName, SecretOwner};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    api::{Api, Caller, Verb},
    body, error,
    params::Named,
    problem::Problem,
};

/// What is known of a secret; never its value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    /// Its name.
    #[schema(example = "crm-token")]
    pub name: String,
    /// Where its value is: `store` (set by this API), `environment` or `files`.
    #[schema(example = "store")]
    pub source: String,
}

/// The names of an owner's secrets.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretList {
    /// By name.
    pub secrets: Vec<SecretView>,
}

/// A secret to be kept.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretBody {
    /// The value: 1 byte to 64 KiB of text.
    #[schema(write_only, format = Password)]
    pub value: String,
}

/// Whose secrets a path is about: an application's, or else the host's.
#[derive(Deserialize)]
pub(crate) struct Owned {
    app: Option<String>,
}

/// Which secret a path is about.
#[derive(Deserialize)]
pub(crate) struct Placed {
    app: Option<String>,
    name: String,
}

/// Lists the host's secrets
///
/// Names only; no call shows a value.
#[utoipa::path(
    get, path = "/v1/secrets", tag = "secrets", operation_id = "list_secrets",
    responses(
        (status = 200, body = SecretList, description = "Names, and where the values are"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(Owned { app }): Named<Owned>,
) -> Result<Json<SecretList>, Problem> {
    let names = api.secrets.names(&owner(&caller, app.as_deref())?).into_iter();
    let view = |(name, source): (SecretName, &str)| SecretView { name: name.to_string(), source: source.to_owned() };
    Ok(Json(SecretList { secrets: names.map(view).collect() }))
}

/// Keeps a secret of the host
///
/// In place of the one that had its name. Settings refer to it, as `models.<alias>.key: { secret: NAME }`; applications
/// do not see it.
#[utoipa::path(
    put, path = "/v1/secrets/{name}", tag = "secrets", operation_id = "set_secret",
    params(("name" = String, Path, description = "The secret's name", example = "openai")),
    request_body(content = SecretBody, content_type = "application/json"),
    responses(
        (status = 204, description = "Kept"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are too many secrets", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A name that is none, or a value of no or too great a size", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn set(
    State(api): State<Api>,
    caller: Caller,
    Named(Placed { app, name }): Named<Placed>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let owner = owner(&caller, app.as_deref())?;
    let name = named(&name)?;
    let (Parts { headers, .. }, body) = request.into_parts();
    let bytes = body::read(&api, &headers, body).await?;
    // What the parser says may repeat the value, so it is not passed on.
    let parsed = serde_json::from_slice::<SecretBody>(&bytes);
    let body = parsed.map_err(|_| error::invalid_json("a body as `{\"value\": \"…\"}` is expected"))?;
    let value = SecretString::from(body.value);
    api.secrets.redactor().learn(value.expose_secret());
    let set = async { Ok::<_, Problem>(api.core.vault.set(&owner, &name, &value).await?) };
    api.core.audit_log.change(caller.principal(), "secret.set", target(&owner, &name), json!({}), set).await?;
    tracing::info!(secret = target(&owner, &name), by = caller.key_id(), "a secret was set");
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a secret of the host
///
/// One of the environment or of a file stays: it is the operator's to take away.
#[utoipa::path(
    delete, path = "/v1/secrets/{name}", tag = "secrets", operation_id = "delete_secret",
    params(("name" = String, Path, description = "The secret's name", example = "openai")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 403, description = "The key lacks `admin`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such secret in the store", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Named(Placed { app, name }): Named<Placed>,
) -> Result<StatusCode, Problem> {
    let owner = owner(&caller, app.as_deref())?;
    let known = name.parse::<SecretName>().ok();
    let known = known.filter(|name| api.core.vault.list(&owner).iter().any(|info| info.name == *name));
    let Some(name) = known else { return Err(error::unknown_secret(&name)) };
    let delete = async { Ok::<_, Problem>(api.core.vault.delete(&owner, &name).await?) };
    let target = target(&owner, &name);
    if !api.core.audit_log.change(caller.principal(), "secret.delete", target.as_str(), json!({}), delete).await? {
        return Err(error::unknown_secret(name.as_str()));
    }
    tracing::info!(secret = target, by = caller.key_id(), "a secret was deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Lists an application's secrets
///
/// Names only; no call shows a value.
#[utoipa::path(
    get, path = "/v1/apps/{app}/secrets", tag = "secrets", operation_id = "list_app_secrets",
    params(("app" = String, Path, description = "The application", example = "order-desk")),
    responses(
        (status = 200, body = SecretList, description = "Names, and where the values are"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The name is not an application's", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list_of_app(
    api: State<Api>,
    caller: Caller,
    owned: Named<Owned>,
) -> Result<Json<SecretList>, Problem> {
    list(api, caller, owned).await
}

/// Keeps a secret of an application
///
/// In place of the one that had its name. The application need not be there yet. No other application sees it.
#[utoipa::path(
    put, path = "/v1/apps/{app}/secrets/{name}", tag = "secrets", operation_id = "set_app_secret",
    params(
        ("app" = String, Path, description = "The application", example = "order-desk"),
        ("name" = String, Path, description = "The secret's name", example = "crm-token"),
    ),
    request_body(content = SecretBody, content_type = "application/json"),
    responses(
        (status = 204, description = "Kept"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There are too many secrets", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A name that is none, or a value of no or too great a size", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn set_of_app(
    api: State<Api>,
    caller: Caller,
    placed: Named<Placed>,
    request: Request,
) -> Result<StatusCode, Problem> {
    set(api, caller, placed, request).await
}

/// Forgets a secret of an application
#[utoipa::path(
    delete, path = "/v1/apps/{app}/secrets/{name}", tag = "secrets", operation_id = "delete_app_secret",
    params(
        ("app" = String, Path, description = "The application", example = "order-desk"),
        ("name" = String, Path, description = "The secret's name", example = "crm-token"),
    ),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such secret in the store", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The name is not an application's", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn delete_of_app(
    api: State<Api>,
    caller: Caller,
    placed: Named<Placed>,
) -> Result<StatusCode, Problem> {
    delete(api, caller, placed).await
}

/// The owner, if the caller may change its secrets: the host's is for administrators. Whether an application is there is
/// not asked.
fn owner(caller: &Caller, app: Option<&str>) -> Result<SecretOwner, Problem> {
    let Some(app) = app else {
        caller.require(&Scope::Admin)?;
        return Ok(SecretOwner::Host);
    };
    let Ok(app) = app.parse() else {
        caller.require_all(Verb::Write)?;
        return Err(error::invalid_secret(format!("`{}` is not an application's name", error::shortened(app))));
    };
    if caller.may(Verb::Write, &app) {
        Ok(SecretOwner::App(app))
    } else {
        Err(error::forbidden(&Scope::Write(nexus_core::Target::App(app))))
    }
}

/// Owner and name, as logs and audit records tell them.
fn target(owner: &SecretOwner, name: &SecretName) -> String {
    format!("{owner}/{name}")
}

/// The name, which is not repeated where it is none: it may be a value in the wrong place.
fn named(name: &str) -> Result<SecretName, Problem> {
    name.parse().map_err(|_| {
        error::invalid_secret(
            "a secret's name is 1 to 63 of a-z, 0-9 and `-`, beginning with a letter and not ending with `-`",
        )
    })
}
