//! What an application was: `/history`, `/diff`, `/restore`.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use nexus_core::{Diff, FileChange, FileDiff, HISTORY_PAGE};
use nexus_model::{Change, Revision};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{apps::answer, edit, permitted, views::WrittenView};
use crate::http::{
    Problem,
    api::{Api, Caller, Verb},
    body, error,
    params::{self, Asked, Named},
};

/// Changes on a page, where the caller names no number.
const PAGE: usize = 50;

/// Who made a change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuthorView {
    /// The name: of the key, or of whoever pushed the commit.
    pub name: String,
    /// `<key id>@nexus.invalid` for keys.
    pub email: String,
}

/// One commit that changed an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// The commit.
    pub commit: String,
    /// What the application became; absent where the commit removed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Who made it.
    pub author: AuthorView,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: OffsetDateTime,
    /// What the author says of it.
    pub message: String,
}

impl From<Change> for ChangeView {
    fn from(change: Change) -> Self {
        Self {
            commit: change.commit,
            revision: change.revision.map(|revision| revision.to_string()),
            author: AuthorView { name: change.author.name, email: change.author.email },
            at: change.at,
            message: change.message,
        }
    }
}

/// The changes of an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryView {
    /// Newest first.
    pub changes: Vec<ChangeView>,
    /// What `before` must be for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Page {
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

/// Lists the changes of an application
///
/// Also of one that was removed.
#[utoipa::path(
    get, path = "/v1/apps/{app}/history", tag = "applications", operation_id = "app_history",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("before" = Option<String>, Query, description = "Only what is older than this commit"),
        ("limit" = Option<usize>, Query, description = "At most this many, 1 to 200; 50 if left out"),
    ),
    responses(
        (status = 200, body = HistoryView, description = "Newest first"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There never was such an application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn history(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    Asked(Page { before, limit }): Asked<Page>,
) -> Result<Json<HistoryView>, Problem> {
    let app = permitted(&api, &caller, Verb::Read, &app)?;
    let limit = params::limit(limit, PAGE, HISTORY_PAGE)?;
    let changes = api.core.registry.history(&app, before.as_deref(), limit).await?;
    if changes.is_empty() && before.is_none() {
        return Err(error::unknown_app(app.as_str(), None));
    }
    let next = changes.last().filter(|_| changes.len() == limit).map(|change| change.commit.clone());
    Ok(Json(HistoryView { changes: changes.into_iter().map(Into::into).collect(), next }))
}

/// What changed in one file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FileDiffView {
    /// The file.
    pub path: String,
    /// `added`, `removed` or `changed`.
    #[schema(example = "changed")]
    pub change: String,
    /// Lines that are new.
    pub added: usize,
    /// Lines that are gone.
    pub removed: usize,
    /// The unified diff; absent for what is no text or would be too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
}

impl From<FileDiff> for FileDiffView {
    fn from(file: FileDiff) -> Self {
        let change = match file.change {
            FileChange::Added => "added",
            FileChange::Removed => "removed",
            FileChange::Changed => "changed",
        };
        Self { path: file.path, change: change.to_owned(), added: file.added, removed: file.removed, patch: file.patch }
    }
}

/// What changed between two revisions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DiffView {
    /// The one revision.
    pub from: String,
    /// The other.
    pub to: String,
    /// The files that differ, by path.
    pub files: Vec<FileDiffView>,
}

impl From<Diff> for DiffView {
    fn from(diff: Diff) -> Self {
        Self {
            from: diff.from.to_string(),
            to: diff.to.to_string(),
            files: diff.files.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Between {
    from: Revision,
    #[serde(default)]
    to: Option<Revision>,
}

/// Compares two revisions of an application
///
/// As JSON, or with `Accept: text/x-diff` as one unified diff.
#[utoipa::path(
    get, path = "/v1/apps/{app}/diff", tag = "applications", operation_id = "app_diff",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("from" = String, Query, description = "The one revision"),
        ("to" = Option<String>, Query, description = "The other; the newest if left out"),
    ),
    responses(
        (status = 200, description = "What changed", content(
            (DiffView = "application/json"), (String = "text/x-diff"),
        )),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or revision", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn diff(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    Asked(Between { from, to }): Asked<Between>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Read, &app)?;
    let diff = api.core.registry.diff(&app, &from, to.as_ref()).await?;
    if wants_text(&headers) {
        let fields = [(header::CONTENT_TYPE, HeaderValue::from_static("text/x-diff; charset=utf-8"))];
        return Ok((fields, diff.unified()).into_response());
    }
    Ok(Json(DiffView::from(diff)).into_response())
}

fn wants_text(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = accepts.split(',').next().unwrap_or_default().trim();
    ["text/x-diff", "text/x-patch", "text/plain"].iter().any(|text| first.starts_with(text))
}

/// To what an application is to be restored.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreBody {
    /// A revision that the application once had.
    pub revision: String,
    /// What the history says of it; a line of the server's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Restores an application to an earlier revision
///
/// With a new commit: nothing is taken out of the history. Also brings back one that was removed.
#[utoipa::path(
    post, path = "/v1/apps/{app}/restore", tag = "applications", operation_id = "restore_app",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("if-match" = Option<String>, Header, description = "The `ETag` of what is to be replaced, or `*`; not for one that was removed"),
    ),
    request_body(content = RestoreBody, content_type = "application/json"),
    responses(
        (status = 200, body = WrittenView, description = "Restored, and served", headers(("etag" = String, description = "Its revision"))),
        (status = 201, body = WrittenView, description = "Brought back, and served", headers(("etag" = String, description = "Its revision"))),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such revision", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "What it was has faults by now, all of them told", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "It is there, and `If-Match` is missing", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(in crate::http) async fn restore(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let asked: RestoreBody = body::read_json(&api, request).await?;
    let edit = edit(&caller, app, &headers, asked.message)?;
    api.note(&caller, "app.restore", edit.app.as_str()).await?;
    let written = api.core.registry.restore(&edit, &Revision::from(asked.revision)).await?;
    Ok(answer(&edit.app, &written))
}
