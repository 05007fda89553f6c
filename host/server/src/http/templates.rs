//! Templates: `/v1/templates` and `/v1/apps/from-template`.

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};
use nexus_definitions::{StarterTemplate, nearest, starter, starters};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Problem, WrittenView,
    api::{Api, Caller, Verb},
    body,
    definitions::{apps::add, permitted},
    error,
};

/// A template of an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TemplateView {
    /// Its name.
    #[schema(example = "classify")]
    pub name: String,
    /// One line for people.
    pub description: String,
    /// JSON Schema 2020-12 of the parameters, with descriptions and defaults.
    pub parameters: Value,
}

impl From<StarterTemplate> for TemplateView {
    fn from(template: StarterTemplate) -> Self {
        Self { name: template.name.to_owned(), description: template.description, parameters: template.parameters }
    }
}

/// The templates of this server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TemplateList {
    /// By name.
    pub templates: Vec<TemplateView>,
}

/// An application to be made from a template.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FromTemplate {
    /// The template.
    #[schema(example = "classify")]
    pub template: String,
    /// Its parameters; what is left out has its default. `name` becomes the application's name.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({ "name": "support" }))]
    pub parameters: Map<String, Value>,
}

/// Lists the templates
#[utoipa::path(
    get, path = "/v1/templates", tag = "applications", operation_id = "list_templates",
    responses(
        (status = 200, body = TemplateList, description = "By name"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(_caller: Caller) -> Json<TemplateList> {
    Json(TemplateList { templates: starters().into_iter().map(Into::into).collect() })
}

/// Adds an application made from a template
///
/// The key needs `apps:{name}:write` for the name among the parameters.
#[utoipa::path(
    post, path = "/v1/apps/from-template", tag = "applications", operation_id = "create_app_from_template",
    request_body(content = FromTemplate, content_type = "application/json"),
    responses(
        (status = 201, body = WrittenView, description = "Added, and served", headers(
            ("etag" = String, description = "Its revision"), ("location" = String, description = "The application"),
        )),
        (status = 403, description = "The key lacks `apps:{name}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such template", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This host follows a remote and changes nothing itself", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "There is an application of this name", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The parameters do not satisfy the template's schema, or name a model that the server does not have", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn create(State(api): State<Api>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let FromTemplate { template, parameters } = body::read_json(&api, request).await?;
    let known = starter(&template).ok_or_else(|| {
        let names = starters();
        error::unknown_template(&template, nearest(&template, names.iter().map(|template| template.name)).as_deref())
    })?;
    let (app, files) = known.render(&parameters)?;
    let app = permitted(&api, &caller, Verb::Write, app.as_str())?;
    let message = Some(format!("Add {app} from the template {}", known.name));
    add(&api, &caller, app, message, &files).await
}
