//! What applications are to remember: `/v1/apps/{app}/memory`.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use nexus_core::{Document, Hit, MEMORY_HITS};
use nexus_model::AppName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Problem,
    api::{Api, Caller, Verb},
    body, error,
    params::{self, Asked, Named},
};

/// A document of a memory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DocumentView {
    /// Its name: `brief`, `context` or `knowledge/<path>`.
    #[schema(example = "knowledge/returns")]
    pub name: String,
    /// Its size in bytes.
    pub bytes: usize,
}

/// The memory of an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MemoryView {
    /// By name.
    pub documents: Vec<DocumentView>,
}

/// A change of a memory that is durable.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RememberedView {
    /// The commit on the branch `nexus/memory/{app}` that has it; empty where there is no memory at all.
    pub commit: String,
}

/// A passage that fits a query.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HitView {
    /// The document.
    #[schema(example = "knowledge/returns")]
    pub document: String,
    /// The line where the passage begins, from 1.
    pub line: usize,
    /// The passage.
    pub text: String,
    /// How well it fits (BM25); to be compared within one answer only.
    pub score: f32,
}

impl From<Hit> for HitView {
    fn from(hit: Hit) -> Self {
        Self { document: hit.document.to_string(), line: hit.line, text: hit.text, score: hit.score }
    }
}

/// What a search found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HitList {
    /// The best first.
    pub hits: Vec<HitView>,
}

/// Lists the documents of a memory
#[utoipa::path(
    get, path = "/v1/apps/{app}/memory", tag = "memory", operation_id = "list_memory",
    params(("app" = String, Path, description = "The application", example = "support")),
    responses(
        (status = 200, body = MemoryView, description = "By name; none if nothing was written"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
) -> Result<Json<MemoryView>, Problem> {
    let app = api.known(&caller, Verb::Read, &app)?;
    let documents = api.core.memory.list(&app).await?.into_iter();
    let view = |info: nexus_core::DocumentInfo| DocumentView { name: info.document.to_string(), bytes: info.bytes };
    Ok(Json(MemoryView { documents: documents.map(view).collect() }))
}

/// Reads a document of a memory
#[utoipa::path(
    get, path = "/v1/apps/{app}/memory/{*document}", tag = "memory", operation_id = "read_memory",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("document" = String, Path, description = "`brief`, `context` or `knowledge/<path>`", pattern = "^(brief|context|knowledge/.+)$", example = "brief"),
    ),
    responses(
        (status = 200, body = String, description = "The text", content_type = "text/markdown"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or document", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No document can have this name", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Api>,
    caller: Caller,
    Named((app, document)): Named<(String, String)>,
) -> Result<Response, Problem> {
    let app = api.known(&caller, Verb::Read, &app)?;
    let document = named(&document)?;
    let text = api.core.memory.read(&app, &document).await?;
    let text = text.ok_or_else(|| error::unknown_document(app.as_str(), &document.to_string()))?;
    let fields = [(header::CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"))];
    Ok((fields, text).into_response())
}

/// Writes a document of a memory
///
/// The body is the text, whatever its `Content-Type`. Durable when the answer comes; changes that arrive together are one
/// commit. No import of definitions touches it.
#[utoipa::path(
    put, path = "/v1/apps/{app}/memory/{*document}", tag = "memory", operation_id = "write_memory",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("document" = String, Path, description = "`brief`, `context` or `knowledge/<path>`", pattern = "^(brief|context|knowledge/.+)$", example = "brief"),
    ),
    request_body(content = String, content_type = "text/markdown"),
    responses(
        (status = 200, body = RememberedView, description = "Written"),
        (status = 400, description = "The text is not UTF-8", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No document can have this name, or the memory is full", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn write(
    State(api): State<Api>,
    caller: Caller,
    Named(names): Named<(String, String)>,
    request: Request,
) -> Result<Json<RememberedView>, Problem> {
    let (app, document, text) = brought(&api, &caller, "memory.write", names, request).await?;
    let commit = api.core.memory.write(&app, &document, &text, &caller.author()).await?;
    Ok(Json(RememberedView { commit }))
}

/// Adds to a document of a memory
///
/// At its end, on a line of its own; makes the document if it is not there. Never loses what others add at the same time.
#[utoipa::path(
    post, path = "/v1/apps/{app}/memory/{*document}", tag = "memory", operation_id = "append_memory",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("document" = String, Path, description = "`brief`, `context` or `knowledge/<path>`", pattern = "^(brief|context|knowledge/.+)$", example = "context"),
    ),
    request_body(content = String, content_type = "text/markdown"),
    responses(
        (status = 200, body = RememberedView, description = "Added"),
        (status = 400, description = "The text is not UTF-8", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No document can have this name, or the memory is full", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn append(
    State(api): State<Api>,
    caller: Caller,
    Named(names): Named<(String, String)>,
    request: Request,
) -> Result<Json<RememberedView>, Problem> {
    let (app, document, text) = brought(&api, &caller, "memory.append", names, request).await?;
    let commit = api.core.memory.append(&app, &document, &text, &caller.author()).await?;
    Ok(Json(RememberedView { commit }))
}

/// Removes a document of a memory
///
/// Removing what is not there is no error.
#[utoipa::path(
    delete, path = "/v1/apps/{app}/memory/{*document}", tag = "memory", operation_id = "remove_memory",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("document" = String, Path, description = "`brief`, `context` or `knowledge/<path>`", pattern = "^(brief|context|knowledge/.+)$", example = "knowledge/returns"),
    ),
    responses(
        (status = 200, body = RememberedView, description = "Removed"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No document can have this name", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Named((app, document)): Named<(String, String)>,
) -> Result<Json<RememberedView>, Problem> {
    let app = api.known(&caller, Verb::Write, &app)?;
    let document = named(&document)?;
    api.note(&caller, "memory.remove", app.as_str()).await?;
    let commit = api.core.memory.remove(&app, &document, &caller.author()).await?;
    Ok(Json(RememberedView { commit }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    q: String,
    #[serde(default)]
    limit: Option<usize>,
}

/// Searches a memory
///
/// Full text over all documents, passage by passage, English word forms taken together.
#[utoipa::path(
    get, path = "/v1/apps/{app}/memory/search", tag = "memory", operation_id = "search_memory",
    params(
        ("app" = String, Path, description = "The application", example = "support"),
        ("q" = String, Query, description = "What is looked for", example = "how long can goods be returned"),
        ("limit" = Option<usize>, Query, description = "At most this many, 1 to 50; 10 if left out"),
    ),
    responses(
        (status = 200, body = HitList, description = "The best first"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn search(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    Asked(Query { q, limit }): Asked<Query>,
) -> Result<Json<HitList>, Problem> {
    let app = api.known(&caller, Verb::Read, &app)?;
    let limit = params::limit(limit, 10, MEMORY_HITS)?;
    let hits = api.core.memory.search(&app, &q, limit).await?;
    Ok(Json(HitList { hits: hits.into_iter().map(Into::into).collect() }))
}

fn named(document: &str) -> Result<Document, Problem> {
    document.parse().map_err(|error: nexus_core::DocumentError| error::invalid_document(error.to_string()))
}

/// The text that a change brings, and to what; the change is in the audit log then.
async fn brought(
    api: &Api,
    caller: &Caller,
    action: &str,
    (app, document): (String, String),
    request: Request,
) -> Result<(AppName, Document, String), Problem> {
    let app = api.known(caller, Verb::Write, &app)?;
    let document = named(&document)?;
    let (parts, body) = request.into_parts();
    let bytes = body::read_any(api, &parts.headers, body).await?;
    let text = String::from_utf8(bytes.into()).map_err(|_| error::invalid_json("the text is not UTF-8"))?;
    api.note(caller, action, app.as_str()).await?;
    Ok((app, document, text))
}
