//! Single files: `/v1/apps/{app}/files/{path}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{apps::At, condition, edit, etag, permitted, place, told, views::WrittenView};
use crate::http::{
    Problem,
    api::{Api, Caller, Verb},
    body,
    params::{Asked, Named},
};

/// Reads a file of an application
#[utoipa::path(
    get, path = "/v1/apps/{app}/files/{*path}", tag = "applications", operation_id = "get_file",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("path" = String, Path, description = "The file's path within the application's folder", example = "app.yaml"),
        ("revision" = Option<String>, Query, description = "An earlier revision"),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of what is known already"),
    ),
    responses(
        (status = 200, description = "The file as it is; of the first type that fits its name and its bytes", content(
            (serde_json::Value = "application/json"), (serde_json::Value = "application/yaml"), (String = "text/plain"),
            (Vec<u8> = "application/wasm"), (Vec<u8> = "application/octet-stream"),
        ), headers(
            ("etag" = String, description = "The application's revision, for `If-Match`"),
        )),
        (status = 304, description = "It is what is known already"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application, revision or file", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn get_file(
    State(api): State<Api>,
    caller: Caller,
    Named((app, path)): Named<(String, String)>,
    Asked(At { revision }): Asked<At>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Read, &app)?;
    let (revision, content) = api.core.registry.file(&app, &path, revision.as_ref()).await?;
    let mut fields = etag(&revision);
    if condition::is_known(&headers, &revision) {
        return Ok((StatusCode::NOT_MODIFIED, fields).into_response());
    }
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(&path, &content)));
    Ok((fields, content.to_vec()).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Said {
    #[serde(default)]
    message: Option<String>,
}

/// Writes a file of an application
///
/// The body is the file, whatever its `Content-Type`. The application as it would be is checked as `nexus check` does;
/// with a fault nothing is changed.
#[utoipa::path(
    put, path = "/v1/apps/{app}/files/{*path}", tag = "applications", operation_id = "put_file",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("path" = String, Path, description = "The file's path within the application's folder", example = "app.yaml"),
        ("message" = Option<String>, Query, description = "What the history says of the change"),
        ("if-match" = Option<String>, Header, description = "The application's revision that the change is made on, or `*`"),
        ("if-none-match" = Option<String>, Header, description = "`*`: only if there is no such file yet"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = WrittenView, description = "Replaced, and served", headers(("etag" = String, description = "The application's revision"))),
        (status = 201, body = WrittenView, description = "Added, and served", headers(("etag" = String, description = "The application's revision"))),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The definition would have faults, all of them told, or a path or size that cannot be", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "The file is there, and `If-Match` is missing", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn put_file(
    State(api): State<Api>,
    caller: Caller,
    Named((app, path)): Named<(String, String)>,
    Asked(Said { message }): Asked<Said>,
    request: Request,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let _place = place(&api).await?;
    let (parts, body) = request.into_parts();
    let content = body::read_file(&api, &parts.headers, body).await?;
    let edit = edit(&caller, app, &parts.headers, message)?;
    api.note(&caller, "file.put", &format!("{}/{path}", edit.app)).await?;
    let written = api.core.registry.put_file(&edit, &path, &Arc::from(&*content)).await?;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let fields = written.revision.as_ref().map(etag).unwrap_or_default();
    Ok((status, fields, Json(told(&edit.app, &written))).into_response())
}

/// Removes a file of an application
#[utoipa::path(
    delete, path = "/v1/apps/{app}/files/{*path}", tag = "applications", operation_id = "delete_file",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("path" = String, Path, description = "The file's path within the application's folder", example = "README.md"),
        ("message" = Option<String>, Query, description = "What the history says of the change"),
        ("if-match" = String, Header, description = "The application's revision that the change is made on, or `*`"),
    ),
    responses(
        (status = 200, body = WrittenView, description = "Removed", headers(("etag" = String, description = "The application's revision"))),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or file", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Without the file the definition would have faults, all of them told", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn delete_file(
    State(api): State<Api>,
    caller: Caller,
    Named((app, path)): Named<(String, String)>,
    Asked(Said { message }): Asked<Said>,
    headers: HeaderMap,
) -> Result<(HeaderMap, Json<WrittenView>), Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let edit = edit(&caller, app, &headers, message)?;
    api.note(&caller, "file.delete", &format!("{}/{path}", edit.app)).await?;
    let written = api.core.registry.delete_file(&edit, &path).await?;
    let fields = written.revision.as_ref().map(etag).unwrap_or_default();
    Ok((fields, Json(told(&edit.app, &written))))
}

/// What a file is to a browser or an editor. Nothing is ever markup that a browser would run.
fn media_type(path: &str, content: &[u8]) -> &'static str {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    match (ending, std::str::from_utf8(content).is_ok()) {
        ("json", true) => "application/json",
        ("yaml" | "yml", true) => "application/yaml",
        (_, true) => "text/plain; charset=utf-8",
        ("wasm", false) => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn nothing_is_markup() {
        assert_eq!(media_type("schemas/a.json", b"{}"), "application/json");
        assert_eq!(media_type("x.html", b"<script>"), "text/plain; charset=utf-8");
        assert_eq!(media_type("x.svg", b"<svg/>"), "text/plain; charset=utf-8");
        assert_eq!(media_type("plugins/x.wasm", b"\0asm\xff"), "application/wasm");
        assert_eq!(media_type("x.json", b"\xff"), "application/octet-stream");
    }
}
