//! MCP servers that others have written: what there is, and applications that take them.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response, sse::Event},
};
use futures::{future::BoxFuture, stream};
use nexus_core::{Addition, Written};
use nexus_definitions::{CommunityChoice, CommunityServer, community_servers};
use nexus_model::{AppName, PluginName, SecretName};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::{IntoParams, ToSchema};

use super::{
    WrittenView,
    api::{Api, Caller, Verb},
    body,
    definitions::{edit, etag, permitted, told},
    error,
    params::{Asked, Named},
    problem::Problem,
    stream::sent,
};

/// Lines that wait for a slow reader; more are left out.
const LINES: usize = 256;

/// Words to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommunityQuery {
    /// Words, all of which a server must answer to; all servers, if left out.
    #[param(example = "database")]
    q: Option<String>,
}

/// An MCP server that others have written.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommunityServerView {
    /// What it is added by.
    #[schema(example = "postgres")]
    pub name: String,
    /// What it does.
    pub description: String,
    /// The package that is put into its image, or where it is.
    #[schema(example = "npm:@bytebase/dbhub@1.4.0")]
    pub source: String,
    /// What it must be granted to be of use, by the grant's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub needs: BTreeMap<String, String>,
    /// What the secrets hold that it needs, by the variable that each is put into.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, CommunitySecret>,
    /// Whether it keeps things in a folder of its own.
    pub keeps: bool,
}

/// A secret that a server needs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommunitySecret {
    /// What it is called if nobody says otherwise.
    pub secret: String,
    /// What it holds.
    pub holds: String,
}

/// MCP servers that others have written.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CommunityServerList {
    /// The best answer first.
    pub servers: Vec<CommunityServerView>,
}

/// A community server that an application is to have.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct McpAddition {
    /// What the catalogue calls it.
    #[schema(example = "postgres")]
    pub server: String,
    /// What the application calls it; as the catalogue does, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The origins that it may reach.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub http: BTreeSet<String>,
    /// The hosts and ports that it may reach.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(example = json!(["db.example:5432"]))]
    pub tcp: BTreeSet<String>,
    /// Secrets of the application, by the variable that each is put into.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// Whether its image is made anew although the engine has it.
    #[serde(default)]
    pub anew: bool,
}

impl From<CommunityServer> for CommunityServerView {
    fn from(server: CommunityServer) -> Self {
        let secrets = server.secrets().into_iter().map(|(variable, needed)| {
            let secret = CommunitySecret { secret: needed.secret.to_string(), holds: needed.holds.clone() };
            (variable.to_owned(), secret)
        });
        let secrets = secrets.collect();
        let needs = [("http", server.needs.http), ("tcp", server.needs.tcp)];
        Self {
            source: server.package.map(|package| package.to_string()).or(server.url).unwrap_or_default(),
            needs: needs.into_iter().filter_map(|(grant, what)| Some((grant.to_owned(), what?))).collect(),
            secrets,
            keeps: server.volume.is_some(),
            name: server.name,
            description: server.description,
        }
    }
}

impl McpAddition {
    fn read(self) -> Result<Addition, Problem> {
        let name = self.name.as_ref().unwrap_or(&self.server);
        let name = name.parse::<PluginName>().map_err(|error| error::invalid_parameter(error.to_string()))?;
        let secret = |(variable, name): (String, String)| Ok((variable, name.parse::<SecretName>()?));
        let secrets: Result<_, nexus_model::InvalidName> = self.secrets.into_iter().map(secret).collect();
        let secrets = secrets.map_err(|error| error::invalid_parameter(error.to_string()))?;
        let choice = CommunityChoice { http: self.http, tcp: self.tcp, secrets };
        Ok(Addition { server: self.server, name, choice, anew: self.anew })
    }
}

/// Lists MCP servers that others have written
///
/// `POST /v1/apps/{app}/mcp` has an application take one.
#[utoipa::path(
    get, path = "/v1/mcp/community", tag = "mcp", operation_id = "list_community_servers",
    params(CommunityQuery),
    responses((status = 200, body = CommunityServerList, description = "Those that answer to all words, the best first")),
    security(("key" = [])),
)]
pub(crate) async fn list(_: Caller, Asked(query): Asked<CommunityQuery>) -> Json<CommunityServerList> {
    let words: Vec<String> = query.q.unwrap_or_default().split_whitespace().map(ToOwned::to_owned).collect();
    let mut servers = community_servers();
    servers.retain(|server| server.matches(&words) > 0);
    servers.sort_by_key(|server| std::cmp::Reverse(server.matches(&words)));
    Json(CommunityServerList { servers: servers.into_iter().map(Into::into).collect() })
}

/// Adds a community server to an application
///
/// Its package is put into an image, which takes minutes unless the engine has it already, and the server is written to `app.yaml`
/// in one commit by the key's name. With `accept: text/event-stream` the lines of the engine come as events `line`, then
/// `written` or `error`. Who goes away ends it. The server's tools can be called once they are approved.
#[utoipa::path(
    post, path = "/v1/apps/{app}/mcp", tag = "mcp", operation_id = "add_mcp_server",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("if-match" = Option<String>, Header, description = "The application's revision that a server is changed on, or `*`"),
        ("if-none-match" = Option<String>, Header, description = "`*`: the server must not be there"),
    ),
    request_body(content = McpAddition, content_type = "application/json"),
    responses(
        (status = 200, body = WrittenView, description = "Added, or changed", headers(("etag" = String, description = "The application's revision"))),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or community server", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A grant is missing, or the application would have faults", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "The server is there, and `If-Match` is missing", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The image could not be made", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "There are no sandboxes, or another image is being made", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn add(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
    request: Request,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let headers = request.headers().clone();
    let addition = body::read_json::<McpAddition>(&api, request).await?.read()?;
    let edit = edit(&caller, app, &headers, None)?;
    api.note(&caller, "mcp.add", &format!("{}/{}", edit.app, addition.name)).await?;
    let (sender, lines) = mpsc::channel(LINES);
    let app = edit.app.clone();
    let work: BoxFuture<'static, _> = Box::pin(async move {
        // The place among the calls is the caller's until the end.
        let _caller = caller;
        api.core.add_mcp(&edit, &addition, sender).await.map_err(Problem::from)
    });
    let mut making = Making { app, lines, work };
    let events = headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"));
    loop {
        match making.next().await {
            Step::Done(written) => return Ok(answer(&making.app, &(*written)?)),
            Step::Line(line) if events => return Ok(making.events(&line)),
            Step::Line(_) => {}
        }
    }
}

/// Takes an outside MCP server out of an application
///
/// With the tools that were approved of it, in one commit by the key's name. What it keeps in a folder of its own stays at the engine.
#[utoipa::path(
    delete, path = "/v1/apps/{app}/mcp/{server}", tag = "mcp", operation_id = "remove_mcp_server",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("server" = String, Path, description = "The server", example = "weather"),
        ("if-match" = String, Header, description = "The application's revision that the change is made on, or `*`"),
    ),
    responses(
        (status = 200, body = WrittenView, description = "Removed", headers(("etag" = String, description = "The application's revision"))),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or server", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The application would have faults", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Named((app, server)): Named<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let edit = edit(&caller, app, &headers, None)?;
    let what = format!("{}/{}", edit.app, server.chars().take(80).collect::<String>());
    api.note(&caller, "mcp.remove", &what).await?;
    let written = api.core.remove_mcp(&edit, &server).await?;
    Ok(answer(&edit.app, &written))
}

fn answer(app: &AppName, written: &Written) -> Response {
    let fields: HeaderMap = written.revision.as_ref().map(etag).unwrap_or_default();
    (fields, Json(told(app, written))).into_response()
}

/// A server that is being added.
struct Making {
    app: AppName,
    lines: mpsc::Receiver<String>,
    work: BoxFuture<'static, Result<Written, Problem>>,
}

enum Step {
    Line(String),
    Done(Box<Result<Written, Problem>>),
}

impl Making {
    async fn next(&mut self) -> Step {
        tokio::select! {
            biased;
            Some(line) = self.lines.recv() => Step::Line(line),
            done = &mut self.work => Step::Done(Box::new(done)),
        }
    }

    fn events(self, first: &str) -> Response {
        let rest = stream::unfold(Some(self), |making| async {
            let mut making = making?;
            match making.next().await {
                Step::Line(line) => Some((line_event(&line), Some(making))),
                Step::Done(done) => {
                    let last = match *done {
                        Ok(written) => {
                            Event::default().event("written").data(json!(told(&making.app, &written)).to_string())
                        }
                        Err(problem) => Event::default().event("error").data(problem.to_json()),
                    };
                    Some((last, None))
                }
            }
        });
        let all = futures::StreamExt::chain(stream::iter([line_event(first)]), rest);
        let all = futures::StreamExt::map(all, Ok::<_, Infallible>);
        sent(all)
    }
}

fn line_event(line: &str) -> Event {
    Event::default().event("line").data(json!({ "line": line }).to_string())
}
