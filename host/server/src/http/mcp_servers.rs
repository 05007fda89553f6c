//! `/v1/apps/{app}/mcp`: the outside MCP servers of an application.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use nexus_core::{Offer, ServerStatus};
use nexus_mcp::hub::{Callback, ChangeKind, ToolChange};
use nexus_model::{AppName, Share};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    WrittenView,
    api::{Api, Caller, Verb},
    body,
    definitions::{edit, etag, permitted, told},
    error,
    params::Named,
    problem::Problem,
};

/// An outside MCP server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct McpServerView {
    /// Its name, the namespace of its tools.
    #[schema(example = "weather")]
    pub name: String,
    /// Its image, the name of a program of the host's, or its address.
    pub at: String,
    /// Who has one connection together: `app` or `host`.
    pub share: String,
    /// The tools that can be called.
    pub tools: Vec<String>,
    /// The tools that cannot, and why.
    pub blocked: BTreeMap<String, String>,
    /// Whether it has said what it offers since it was taken up.
    pub seen: bool,
    /// For how many milliseconds it is left alone, if it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resting_ms: Option<u64>,
}

/// The outside MCP servers of an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct McpServerList {
    /// By name.
    pub servers: Vec<McpServerView>,
}

/// What a server offers that was not approved so.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct McpOfferView {
    /// What all that it offers is told by: whoever approves it names it.
    pub digest: String,
    /// What is different, by tool; nothing if all of it was approved.
    pub changes: Vec<McpChangeView>,
}

/// A tool that is not as it was approved.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct McpChangeView {
    /// Its name at the server.
    pub tool: String,
    /// `new`, `gone` or `changed`.
    pub kind: String,
    /// How it differs, as a unified diff of JSON.
    pub diff: String,
}

/// What is to be approved.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct McpApproval {
    /// These tools; all that the server offers, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<BTreeSet<String>>,
    /// The offer that was looked at; nothing is approved if the server offers something else by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Where a person is sent after a login.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct McpLoginRequest {
    /// An address on the person's own machine.
    #[schema(example = "http://127.0.0.1:8765/callback")]
    pub redirect: String,
}

/// Where a person logs in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct McpLoginView {
    /// To be opened in a browser.
    pub url: String,
}

/// What came back from a login.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct McpLoginResult {
    /// The address that the browser was sent to, whole.
    pub url: String,
}

impl From<ServerStatus> for McpServerView {
    fn from(status: ServerStatus) -> Self {
        let share = if status.share == Share::Host { "host" } else { "app" };
        Self {
            name: status.name,
            at: status.at,
            share: share.to_owned(),
            tools: status.tools,
            blocked: status.blocked,
            seen: status.seen,
            resting_ms: status.resting.and_then(|resting| u64::try_from(resting.as_millis()).ok()),
        }
    }
}

impl From<Offer> for McpOfferView {
    fn from(offer: Offer) -> Self {
        Self { digest: offer.digest, changes: offer.changes.into_iter().map(Into::into).collect() }
    }
}

impl From<ToolChange> for McpChangeView {
    fn from(change: ToolChange) -> Self {
        let kind = match change.kind {
            ChangeKind::New => "new",
            ChangeKind::Gone => "gone",
            ChangeKind::Changed => "changed",
        };
        Self { tool: change.tool, kind: kind.to_owned(), diff: change.diff }
    }
}

/// Lists the outside MCP servers of an application
///
/// As far as they are known: none of them is waited for.
#[utoipa::path(
    get, path = "/v1/apps/{app}/mcp", tag = "mcp", operation_id = "list_mcp_servers",
    params(("app" = String, Path, description = "The application", example = "shop")),
    responses(
        (status = 200, body = McpServerList, description = "By name"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
) -> Result<Json<McpServerList>, Problem> {
    let app = api.known(&caller, Verb::Read, &app)?;
    let servers = api.core.mcp_servers(&app).into_iter().map(Into::into).collect();
    Ok(Json(McpServerList { servers }))
}

/// Compares what a server offers with what was approved
///
/// The server is started or connected to for it.
#[utoipa::path(
    get, path = "/v1/apps/{app}/mcp/{server}/diff", tag = "mcp", operation_id = "diff_mcp_server",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("server" = String, Path, description = "The server", example = "weather"),
    ),
    responses(
        (status = 200, body = McpOfferView, description = "What is different, by tool"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or server", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The server did not say what it offers", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The server has failed and is left alone: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The server did not answer in time", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn diff(
    State(api): State<Api>,
    caller: Caller,
    Named((app, server)): Named<(String, String)>,
) -> Result<Json<McpOfferView>, Problem> {
    // To look is to start it.
    let app = api.known(&caller, Verb::Write, &app)?;
    Ok(Json(api.core.mcp_offer(&app, &server).await?.into()))
}

/// Approves tools of a server as it offers them
///
/// Only tools that were approved can be called, and only as long as they are what was approved. They are written to
/// `mcp/{server}.tools.json`, in one commit by the key's name.
#[utoipa::path(
    post, path = "/v1/apps/{app}/mcp/{server}/approve", tag = "mcp", operation_id = "approve_mcp_server",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("server" = String, Path, description = "The server", example = "weather"),
        ("if-match" = String, Header, description = "The application's revision that the change is made on, or `*`"),
    ),
    request_body(content = McpApproval, content_type = "application/json"),
    responses(
        (status = 200, body = WrittenView, description = "Approved; the tools can be called", headers(("etag" = String, description = "The application's revision"))),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application, server or tool", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The server offers something else by now, or this host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The server did not say what it offers", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The server has failed and is left alone: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The server did not answer in time", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn approve(
    State(api): State<Api>,
    caller: Caller,
    Named((app, server)): Named<(String, String)>,
    request: Request,
) -> Result<(HeaderMap, Json<WrittenView>), Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let headers = request.headers().clone();
    let approval: McpApproval = body::read_json(&api, request).await?;
    let edit = edit(&caller, app, &headers, Some(format!("Approve tools of the MCP server {server}")))?;
    api.note(&caller, "mcp.approve", &format!("{}/{server}", edit.app)).await?;
    let written = api.core.approve_mcp(&edit, &server, approval.tools.as_ref(), approval.digest.as_deref()).await?;
    let fields = written.revision.as_ref().map(etag).unwrap_or_default();
    Ok((fields, Json(told(&edit.app, &written))))
}

/// Begins the login of a person at a server
#[utoipa::path(
    post, path = "/v1/apps/{app}/mcp/{server}/login", tag = "mcp", operation_id = "begin_mcp_login",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("server" = String, Path, description = "The server", example = "weather"),
    ),
    request_body(content = McpLoginRequest, content_type = "application/json"),
    responses(
        (status = 200, body = McpLoginView, description = "Where to log in"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or server", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The server, or its authorization server, does not let anybody log in", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The server has failed and is left alone: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The server did not answer in time", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn begin_login(
    State(api): State<Api>,
    caller: Caller,
    Named((app, server)): Named<(String, String)>,
    request: Request,
) -> Result<Json<McpLoginView>, Problem> {
    let app = api.known(&caller, Verb::Write, &app)?;
    let McpLoginRequest { redirect } = body::read_json(&api, request).await?;
    let redirect = address("redirect", &redirect)?;
    noted(&api, &caller, "mcp.login", &app, &server).await?;
    let login = api.core.begin_mcp_login(&app, &server, &redirect).await?;
    Ok(Json(McpLoginView { url: login.url.to_string() }))
}

/// Ends the login of a person at a server
///
/// The tokens are sealed and kept by the host; nothing shows them.
#[utoipa::path(
    post, path = "/v1/apps/{app}/mcp/{server}/login/finish", tag = "mcp", operation_id = "finish_mcp_login",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("server" = String, Path, description = "The server", example = "weather"),
    ),
    request_body(content = McpLoginResult, content_type = "application/json"),
    responses(
        (status = 204, description = "Logged in"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or server", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The authorization server gave no token", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The server has failed and is left alone: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The server did not answer in time", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn finish_login(
    State(api): State<Api>,
    caller: Caller,
    Named((app, server)): Named<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let app = api.known(&caller, Verb::Write, &app)?;
    let McpLoginResult { url } = body::read_json(&api, request).await?;
    let callback = Callback::from_url(&address("url", &url)?).map_err(error::invalid_parameter)?;
    api.core.finish_mcp_login(&app, &server, &callback).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn noted(api: &Api, caller: &Caller, action: &str, app: &AppName, server: &str) -> Result<(), Problem> {
    api.note(caller, action, &format!("{app}/{}", server.chars().take(80).collect::<String>())).await
}

fn address(what: &str, text: &str) -> Result<url::Url, Problem> {
    text.parse().map_err(|fault| error::invalid_parameter(format!("`{what}` is no address: {fault}")))
}
