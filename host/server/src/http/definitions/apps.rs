//! Whole applications: `/v1/apps`, `/v1/apps/{app}` and `/v1/apps/{app}/files`.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use nexus_core::{Condition, Edit, Written};
use nexus_model::{AppName, FileTree, Revision};
use serde::Deserialize;

use super::{
    condition, edit, etag, permitted, place, told,
    views::{AppFiles, NewApp, PutApp, WrittenView, contents, tree},
};
use crate::http::{
    Problem,
    api::{Api, Caller, Verb},
    body,
    params::{Asked, Named},
};

/// Adds an application
///
/// The files are checked as `nexus check` does. With a fault nothing is changed; otherwise they are one commit, by the
/// key's name, and are served when the answer comes.
#[utoipa::path(
    post, path = "/v1/apps", tag = "applications", operation_id = "create_app",
    request_body(content = NewApp, content_type = "application/json"),
    responses(
        (status = 201, body = WrittenView, description = "Added, and served", headers(
            ("etag" = String, description = "Its revision"), ("location" = String, description = "The application"),
        )),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "There is an application of this name", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The definition has faults, all of them told, or a name, path or size that cannot be", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn create(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let _place = place(&api).await?;
    let (parts, body) = request.into_parts();
    let new: NewApp = body::read_definitions(&api, &parts.headers, body).await?;
    let app = permitted(&api, &caller, Verb::Write, &new.name)?;
    add(&api, &caller, app, new.message, &tree(new.files)?).await
}

/// Adds an application that must not be there yet.
pub(in crate::http) async fn add(
    api: &Api,
    caller: &Caller,
    app: AppName,
    message: Option<String>,
    files: &FileTree,
) -> Result<Response, Problem> {
    let edit = Edit { condition: Condition::Absent, ..edit(caller, app, &HeaderMap::new(), message)? };
    api.note(caller, "app.create", edit.app.as_str()).await?;
    let written = api.core.registry.put_app(&edit, files).await?;
    Ok(answer(&edit.app, &written))
}

/// Writes an application as a whole
///
/// Adds it, or replaces all its files. What is there is replaced only with `If-Match`. The files are checked as
/// `nexus check` does; with a fault nothing is changed.
#[utoipa::path(
    put, path = "/v1/apps/{app}", tag = "applications", operation_id = "put_app",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("if-match" = Option<String>, Header, description = "The `ETag` of what is to be replaced, or `*`"),
        ("if-none-match" = Option<String>, Header, description = "`*`: only if there is none yet"),
    ),
    request_body(content = PutApp, content_type = "application/json"),
    responses(
        (status = 200, body = WrittenView, description = "Replaced, and served", headers(("etag" = String, description = "Its revision"))),
        (status = 201, body = WrittenView, description = "Added, and served", headers(
            ("etag" = String, description = "Its revision"), ("location" = String, description = "The application"),
        )),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The definition has faults, all of them told, or a name, path or size that cannot be", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "It is there, and `If-Match` is missing", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let _place = place(&api).await?;
    let (parts, body) = request.into_parts();
    let whole: PutApp = body::read_definitions(&api, &parts.headers, body).await?;
    let edit = edit(&caller, app, &parts.headers, whole.message)?;
    api.note(&caller, "app.put", edit.app.as_str()).await?;
    let written = api.core.registry.put_app(&edit, &tree(whole.files)?).await?;
    Ok(answer(&edit.app, &written))
}

/// Removes an application
///
/// Its history stays: `POST /v1/apps/{app}/restore` brings it back. So do its executions, code and memory.
#[utoipa::path(
    delete, path = "/v1/apps/{app}", tag = "applications", operation_id = "delete_app",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("if-match" = String, Header, description = "The `ETag` of what is to be removed, or `*`"),
    ),
    responses(
        (status = 200, body = WrittenView, description = "Removed"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No application can have this name", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    headers: HeaderMap,
) -> Result<Json<WrittenView>, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let edit = edit(&caller, app, &headers, None)?;
    api.note(&caller, "app.delete", edit.app.as_str()).await?;
    let written = api.core.registry.delete_app(&edit).await?;
    Ok(Json(told(&edit.app, &written)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct At {
    #[serde(default)]
    pub(super) revision: Option<Revision>,
}

/// Reads all files of an application
///
/// As the repository has them now, whether they serve or have faults, or as they were at an earlier revision. The answer
/// can be sent back with `PUT /v1/apps/{app}`, byte for byte the same.
#[utoipa::path(
    get, path = "/v1/apps/{app}/files", tag = "applications", operation_id = "get_files",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("revision" = Option<String>, Query, description = "An earlier revision"),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of what is known already"),
    ),
    responses(
        (status = 200, body = AppFiles, description = "The files", headers(("etag" = String, description = "The revision"))),
        (status = 304, description = "It is what is known already"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or revision", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn export(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    Asked(At { revision }): Asked<At>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Read, &app)?;
    let snapshot = api.core.registry.files(&app, revision.as_ref()).await?;
    let tag = etag(&snapshot.revision);
    if condition::is_known(&headers, &snapshot.revision) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    let files = AppFiles { revision: snapshot.revision.to_string(), files: contents(&snapshot.files) };
    Ok((tag, Json(files)).into_response())
}

/// What was written, as 201 with a place if it is new.
pub(super) fn answer(app: &AppName, written: &Written) -> Response {
    let mut fields = written.revision.as_ref().map(etag).unwrap_or_default();
    let status = if written.created {
        if let Ok(place) = HeaderValue::from_str(&format!("/v1/apps/{app}")) {
            fields.insert(header::LOCATION, place);
        }
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    (status, fields, Json(told(app, written))).into_response()
}
