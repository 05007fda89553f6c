//! `/v1/apps/{app}/tools`: what plugins export.

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderValue, header},
    response::Response,
};
use nexus_core::ToolCall;
use nexus_model::ToolSignature;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Problem,
    api::{Api, Caller, Verb},
    body, headers,
    params::Named,
    rate,
};

/// A tool: a function that can be called with JSON.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ToolView {
    /// `{plugin}.{function}`, or `{plugin}.{interface}.{function}`.
    #[schema(example = "orders.price")]
    pub name: String,
    /// What its author says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema 2020-12 of the arguments: an object with one property per parameter.
    pub input: Value,
    /// JSON Schema 2020-12 of the result; left out where the tool returns nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

impl From<nexus_core::ToolView> for ToolView {
    fn from(tool: nexus_core::ToolView) -> Self {
        Self {
            name: tool.name,
            description: tool.description,
            input: (*tool.input).clone(),
            output: tool.output.map(|output| (*output).clone()),
        }
    }
}

impl From<&ToolSignature> for ToolView {
    fn from(tool: &ToolSignature) -> Self {
        Self {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input: (*tool.input).clone(),
            output: tool.output.as_ref().map(|output| (**output).clone()),
        }
    }
}

/// The tools of an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ToolList {
    /// By name.
    pub tools: Vec<ToolView>,
}

/// What a tool returned.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ToolResult {
    /// The result, by the tool's schema; `null` where it returns nothing.
    #[schema(value_type = Value)]
    pub result: Value,
}

/// Lists the tools of an application
///
/// The exported functions of its plugins, with their JSON Schemas.
#[utoipa::path(
    get, path = "/v1/apps/{app}/tools", tag = "tools", operation_id = "list_tools",
    params(("app" = String, Path, description = "The application", example = "shop")),
    responses(
        (status = 200, body = ToolList, description = "By name"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
) -> Result<Json<ToolList>, Problem> {
    let name = api.known(&caller, Verb::Read, &app)?;
    let tools = api.core.tools.list(name.as_str()).unwrap_or_default();
    Ok(Json(ToolList { tools: tools.into_iter().map(Into::into).collect() }))
}

/// Shows a tool
#[utoipa::path(
    get, path = "/v1/apps/{app}/tools/{tool}", tag = "tools", operation_id = "get_tool",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("tool" = String, Path, description = "The tool", example = "orders.price"),
    ),
    responses(
        (status = 200, body = ToolView, description = "The tool"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or tool", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Named((app, tool)): Named<(String, String)>,
) -> Result<Json<ToolView>, Problem> {
    api.permit(&caller, Verb::Read, &app)?;
    Ok(Json(api.core.tools.get(&app, &tool)?.into()))
}

/// Calls a tool
///
/// The body is an object with one property per parameter, by the tool's JSON Schema. A fresh instance of the plugin's
/// component answers, within the application's `limits.timeout`, in its share of concurrency and at its rate. What a
/// function returns as its `err` is a problem `tool_error` that holds it as `error`. The call is not kept as an execution;
/// the log tells of it.
#[utoipa::path(
    post, path = "/v1/apps/{app}/tools/{tool}/call", tag = "tools", operation_id = "call_tool",
    params(
        ("app" = String, Path, description = "The application", example = "shop"),
        ("tool" = String, Path, description = "The tool", example = "orders.price"),
    ),
    request_body(
        content = serde_json::Value, content_type = "application/json",
        description = "The arguments, by the tool's schema", example = json!({ "sku": "oak", "quantity": 3 }),
    ),
    responses(
        (status = 200, body = ToolResult, description = "The result", headers(
            ("x-nexus-execution" = String, description = "The call's id, by which the log tells of it"),
            ("ratelimit-policy" = String, description = "The rates of the key and of the application, where they have one"),
            ("ratelimit" = String, description = "What is left of them"),
        )),
        (status = 403, description = "The key lacks `apps:{app}:invoke`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or tool", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The application was taken out of service", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The arguments do not fit the tool (`invalid_arguments`), or it ran and says no (`tool_error`)", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Above the rate of the key or of the application: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The component was stopped, or said too much", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Full, or stopping: try again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "The time-out of the application passed", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn call(
    State(api): State<Api>,
    caller: Caller,
    Named((app, tool)): Named<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    api.permit(&caller, Verb::Invoke, &app)?;
    let rates = [caller.rate(), api.rated(api.core.router.admit(&app))?];
    let (parts, body) = request.into_parts();
    let body = body::read(&api, &parts.headers, body).await?;
    let answer = api.core.call_tool(ToolCall { app: &app, tool: &tool, body: &body }).await?;
    let mut response = Response::new(Body::from(Bytes::from(format!("{{\"result\":{}}}", answer.output))));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(&answer.execution.to_string()) {
        fields.insert(headers::EXECUTION, id);
    }
    rate::tell(fields, rates.iter().flatten());
    Ok(response)
}
