//! `/v1/apps/{app}/plugins` and `/v1/plugins/inspect`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use nexus_core::{PluginChange, PluginDetail, Scope, Target};
use nexus_model::{GrantNeed, Grants, LeftOut, PluginFacts, PluginName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Problem, ToolView, WrittenView,
    api::{Api, Caller, Verb},
    body,
    definitions::{edit, etag, permitted, place, told},
    error,
    params::{Asked, Named},
};

/// A plugin in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginSummary {
    /// Its name, the namespace of its tools.
    #[schema(example = "orders")]
    pub name: String,
    /// The path of its component within the application's folder.
    #[schema(example = "plugins/orders.wasm")]
    pub component: String,
    /// The digest of its component.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    pub digest: String,
    /// Where the component came from, if it was not made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it may use, as `app.yaml` has it.
    #[schema(value_type = Object, example = json!({ "http": ["https://api.example.com"], "state": "read" }))]
    pub grants: Grants,
    /// The names of its tools.
    pub tools: Vec<String>,
}

/// A grant that a component needs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GrantNeedView {
    /// The interface that is imported.
    #[schema(example = "wasi:keyvalue/store@0.2.0-draft2")]
    pub import: String,
    /// The lines below `grants:` that would grant it.
    #[schema(example = "state: read")]
    pub yaml: String,
}

/// An exported function that is no tool.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeftOutView {
    /// `function`, or `interface#function`.
    pub function: String,
    /// Why.
    pub reason: String,
}

/// What a component is, found without running it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InspectedView {
    /// Its digest.
    pub digest: String,
    /// The tools that its exported functions would be, without a plugin's name before theirs.
    pub tools: Vec<ToolView>,
    /// Its exported functions that are no tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutView>,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The least grants without which it cannot be linked.
    pub needs: Vec<GrantNeedView>,
    /// Its world as WIT.
    pub wit: String,
}

/// A plugin in full.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginView {
    /// Its name, the namespace of its tools.
    #[schema(example = "orders")]
    pub name: String,
    /// The path of its component within the application's folder.
    #[schema(example = "plugins/orders.wasm")]
    pub component: String,
    /// Where the component came from, if it was not made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it may use, as `app.yaml` has it.
    #[schema(value_type = Object, example = json!({ "http": ["https://api.example.com"], "state": "read" }))]
    pub grants: Grants,
    /// What its component is.
    #[serde(flatten)]
    pub inspected: InspectedView,
}

/// The plugins of an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PluginList {
    /// By name.
    pub plugins: Vec<PluginSummary>,
}

impl From<&PluginFacts> for InspectedView {
    fn from(facts: &PluginFacts) -> Self {
        let left_out = |left: &LeftOut| LeftOutView { function: left.function.clone(), reason: left.reason.clone() };
        let need = |need: &GrantNeed| GrantNeedView { import: need.import.clone(), yaml: need.yaml.clone() };
        Self {
            digest: format!("sha256:{}", facts.digest),
            tools: facts.tools.iter().map(ToolView::from).collect(),
            left_out: facts.left_out.iter().map(left_out).collect(),
            imports: facts.imports.clone(),
            needs: facts.grants.iter().map(need).collect(),
            wit: facts.wit.clone(),
        }
    }
}

impl From<PluginDetail> for PluginSummary {
    fn from(PluginDetail { plugin, facts }: PluginDetail) -> Self {
        Self {
            tools: facts.tools.iter().map(|tool| format!("{}.{}", plugin.name, tool.name)).collect(),
            name: plugin.name.to_string(),
            component: plugin.path,
            digest: format!("sha256:{}", plugin.digest),
            source: plugin.source,
            grants: plugin.grants,
        }
    }
}

impl From<PluginDetail> for PluginView {
    fn from(PluginDetail { plugin, facts }: PluginDetail) -> Self {
        Self {
            name: plugin.name.to_string(),
            component: plugin.path,
            source: plugin.source,
            grants: plugin.grants,
            inspected: InspectedView::from(&facts),
        }
    }
}

/// Lists the plugins of an application
///
/// Those that serve.
#[utoipa::path(
    get, path = "/v1/apps/{app}/plugins", tag = "plugins", operation_id = "list_plugins",
    params(("app" = String, Path, description = "The application", example = "shop")),
    responses(
        (status = 200, body = PluginList, description = "By name", headers(
            ("etag" = String, description = "The application's newest revision, for `If-Match`"),
        )),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
) -> Result<(HeaderMap, Json<PluginList>), Problem> {
    api.permit(&caller, Verb::Read, &app)?;
    let plugins = api.core.registry.plugins(&app).ok_or_else(|| error::unknown_app(&app, None))?;
    let plugins = plugins.into_iter().map(Into::into).collect();
    Ok((newest(&api, &app), Json(PluginList { plugins })))
}

/// Shows a plugin
///
/// Its tools with their JSON Schemas, what it imports, what it is granted, and its world as WIT.
#[utoipa::path(
    get, path = "/v1/apps/{app}/plugins/{plugin}", tag = "plugins", operation_id = "get_plugin",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("plugin" = String, Path, description = "The plugin", example = "orders"),
    ),
    responses(
        (status = 200, body = PluginView, description = "The plugin", headers(
            ("etag" = String, description = "The application's newest revision, for `If-Match`"),
        )),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or plugin", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Named((app, plugin)): Named<(String, String)>,
) -> Result<(HeaderMap, Json<PluginView>), Problem> {
    api.permit(&caller, Verb::Read, &app)?;
    api.core.registry.app(&app).ok_or_else(|| error::unknown_app(&app, None))?;
    let found = plugin.parse().ok().and_then(|name| api.core.registry.plugin(&app, &name));
    let found = found.ok_or_else(|| error::unknown_plugin(&app, &plugin))?;
    Ok((newest(&api, &app), Json(found.into())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    grants: Option<String>,
    source: Option<String>,
    message: Option<String>,
    accept: Option<String>,
}

/// Adds a plugin, or replaces its component
///
/// The body is the component. `app.yaml` is changed in place, its comments stay; the component is put beside it; both are
/// one commit, by the key's name, and the plugin's tools can be called when the answer comes. Calls that are running end with
/// the component that they began with. Without `grants` a plugin keeps those that it has. A plugin that is there is
/// never granted more without `accept=widened`.
#[utoipa::path(
    put, path = "/v1/apps/{app}/plugins/{plugin}", tag = "plugins", operation_id = "put_plugin",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("plugin" = String, Path, description = "The plugin", example = "orders"),
        ("grants" = Option<String>, Query, description = "What it may use: JSON, as `grants` in `app.yaml`", example = "{\"state\":\"read\"}"),
        ("source" = Option<String>, Query, description = "Where the component came from: an OCI reference with its digest"),
        ("message" = Option<String>, Query, description = "What the history says of the change"),
        ("accept" = Option<String>, Query, description = "`widened`: the plugin may be granted more than it was"),
        ("if-match" = Option<String>, Header, description = "The application's revision that the change is made on, or `*`"),
        ("if-none-match" = Option<String>, Header, description = "`*`: only if there is no such plugin yet"),
    ),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 200, body = WrittenView, description = "Replaced, and served", headers(("etag" = String, description = "The application's revision"))),
        (status = 201, body = WrittenView, description = "Added, and served", headers(("etag" = String, description = "The application's revision"))),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It would be granted more than it was: `widened` and `wit_diff` tell what; or this host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "No component, or one that imports what it is not granted (each fault says what would grant it), or the definition would have other faults", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "The plugin is there, and `If-Match` is missing", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn put(
    State(api): State<Api>,
    caller: Caller,
    Named((app, plugin)): Named<(String, String)>,
    Asked(wanted): Asked<Wanted>,
    request: Request,
) -> Result<Response, Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let name: PluginName =
        plugin.parse().map_err(|error: nexus_model::InvalidName| error::invalid_plugin(error.to_string()))?;
    let (grants, widen) = (wanted.grants()?, wanted.accepts()?);
    let _place = place(&api).await?;
    let (parts, body) = request.into_parts();
    let component: Arc<[u8]> = Arc::from(&*body::read_component(&api, &parts.headers, body).await?);
    let edit = edit(&caller, app, &parts.headers, wanted.message)?;
    api.note(&caller, "plugin.put", &format!("{}/{name}", edit.app)).await?;
    let change = PluginChange { component, grants, source: wanted.source, widen };
    let written = api.core.registry.put_plugin(&edit, &name, &change).await?;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let fields = written.revision.as_ref().map(etag).unwrap_or_default();
    Ok((status, fields, Json(told(&edit.app, &written))).into_response())
}

impl Wanted {
    fn grants(&self) -> Result<Option<Grants>, Problem> {
        let grants = self.grants.as_deref().map(serde_json::from_str).transpose();
        grants.map_err(|error| error::invalid_parameter(format!("`grants`: {error}")))
    }

    fn accepts(&self) -> Result<bool, Problem> {
        match self.accept.as_deref() {
            None => Ok(false),
            Some("widened") => Ok(true),
            Some(_) => Err(error::invalid_parameter("`accept` is `widened` or left out")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    message: Option<String>,
}

/// Removes a plugin
///
/// Its lines in `app.yaml`, and its component unless something else has it too. The history keeps both.
#[utoipa::path(
    delete, path = "/v1/apps/{app}/plugins/{plugin}", tag = "plugins", operation_id = "delete_plugin",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("plugin" = String, Path, description = "The plugin", example = "orders"),
        ("message" = Option<String>, Query, description = "What the history says of the change"),
        ("if-match" = String, Header, description = "The application's revision that the change is made on, or `*`"),
    ),
    responses(
        (status = 200, body = WrittenView, description = "Removed", headers(("etag" = String, description = "The application's revision"))),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or plugin", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says; `revision` tells what it is", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Without the plugin the definition would have faults, all of them told", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Named((app, plugin)): Named<(String, String)>,
    Asked(Said { message }): Asked<Said>,
    headers: HeaderMap,
) -> Result<(HeaderMap, Json<WrittenView>), Problem> {
    let app = permitted(&api, &caller, Verb::Write, &app)?;
    let name = plugin.parse().map_err(|_| error::unknown_plugin(app.as_str(), &plugin))?;
    let edit = edit(&caller, app, &headers, message)?;
    api.note(&caller, "plugin.delete", &format!("{}/{name}", edit.app)).await?;
    let written = api.core.registry.delete_plugin(&edit, &name).await?;
    let fields = written.revision.as_ref().map(etag).unwrap_or_default();
    Ok((fields, Json(told(&edit.app, &written))))
}

/// Looks at a component
///
/// What it exports, what it imports and what would have to be granted, without adding it to anything and without running
/// it. It is compiled the first time, so the key must be one that may change some application.
#[utoipa::path(
    post, path = "/v1/plugins/inspect", tag = "plugins", operation_id = "inspect_component",
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 200, body = InspectedView, description = "What it is"),
        (status = 403, description = "The key may change no application", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It cannot be a plugin: it is no component, imports what nobody can grant, or does not compile", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn inspect(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<Json<InspectedView>, Problem> {
    if !caller.principal().may_write_some() {
        return Err(error::forbidden(&Scope::Write(Target::All)));
    }
    let _place = place(&api).await?;
    let (parts, body) = request.into_parts();
    let component = body::read_component(&api, &parts.headers, body).await?;
    Ok(Json(InspectedView::from(&*api.core.registry.inspect(&component).await?)))
}

/// The entity tag of the application's newest revision.
fn newest(api: &Api, app: &str) -> HeaderMap {
    api.core.registry.app(app).map(|detail| etag(&detail.summary.newest)).unwrap_or_default()
}
