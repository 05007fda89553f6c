//! The HTTP door: routes, their description, and what stands around them.

mod api;
mod apps;
mod audit;
mod body;
mod budget;
mod cloud_events;
mod community;
mod dead_letters;
mod definitions;
mod description;
mod error;
mod events;
mod execute;
mod executions;
mod headers;
mod health;
mod hooks;
mod keys;
mod local;
mod logs;
mod mcp;
mod mcp_servers;
mod memory;
mod metrics;
mod optimization;
mod params;
mod plugins;
mod problem;
mod rate;
mod sandboxes;
mod secrets;
mod service;
mod stream;
mod templates;
mod tools;
mod trace_context;
mod triggers;

pub use apps::{AppDetailView, AppList, AppView, FaultView, OperationView, OptimizeView};
pub use audit::{AuditFaultView, AuditList, AuditRecordView, VerificationView};
pub use budget::BudgetView;
pub use community::{CommunitySecret, CommunityServerList, CommunityServerView, McpAddition};
pub use dead_letters::{DeadLetterList, DeadLetterView};
pub use definitions::{
    AppFiles, AuthorView, ChangeView, DeactivateBody, DiffView, EncodedBytes, FileContent, FileDiffView, HistoryView,
    MovedView, NewApp, PutApp, RestoreBody, WrittenView,
};
pub use events::PublishedView;
pub use executions::{
    AnsweredByView, BegunView, CauseView, ComparisonView, ExecutionList, ExecutionView, ParentView, StepDifferenceView,
    StepView, UsageView,
};
pub use keys::{CreatedKey, KeyList, KeyView, NewKeyBody, RotateKeyBody};
pub use logs::{LogList, LogRecordView};
pub use mcp_servers::{
    McpApproval, McpChangeView, McpLoginRequest, McpLoginResult, McpLoginView, McpOfferView, McpServerList,
    McpServerView,
};
pub use memory::{DocumentView, HitList, HitView, MemoryView, RememberedView};
pub use metrics::{MetricList, PointView, SeriesView};
pub use optimization::{AgreementView, AttemptView, EvidenceView, OptimizationView, RefusalView};
pub use plugins::{GrantNeedView, InspectedView, LeftOutView, PluginList, PluginSummary, PluginView};
pub use problem::{Problem, ProblemMore, ViolationView};
pub use sandboxes::{PoolView, SandboxesView};
pub use secrets::{SecretBody, SecretList, SecretView};
pub use templates::{FromTemplate, TemplateList, TemplateView};
pub use tools::{ToolList, ToolResult, ToolView};
pub use triggers::{TriggerList, TriggerView};

use axum::{Router, http::Method, routing::any};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use api::{Access, Api, Shared};
pub(crate) use health::Health;
pub(crate) use service::Door;

/// All routes, and what they are to the outside: written down in one place, so that neither can lack what the other has.
fn described() -> (Router<Api>, utoipa::openapi::OpenApi) {
    let (router, mut description) = undescribed_rests();
    // `{*path}` is how the router writes a parameter that takes the rest of the path; OpenAPI has no such thing.
    let paths = std::mem::take(&mut description.paths.paths);
    description.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    (router, description::share(description))
}

fn undescribed_rests() -> (Router<Api>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(description::Description::openapi())
        .routes(routes!(execute::execute))
        .routes(routes!(executions::list))
        .routes(routes!(executions::get))
        .routes(routes!(executions::cancel))
        .routes(routes!(executions::follow::follow))
        .routes(routes!(executions::replay::replay))
        .routes(routes!(sandboxes::get))
        .routes(routes!(apps::list, definitions::apps::create))
        .routes(routes!(memory::list))
        .routes(routes!(memory::search))
        .routes(routes!(memory::read, memory::write, memory::append, memory::remove))
        .routes(routes!(templates::list))
        .routes(routes!(templates::create))
        .routes(routes!(apps::get, definitions::apps::put, definitions::apps::delete))
        .routes(routes!(definitions::apps::export))
        .routes(routes!(definitions::files::get_file, definitions::files::put_file, definitions::files::delete_file))
        .routes(routes!(definitions::history::history))
        .routes(routes!(definitions::history::diff))
        .routes(routes!(definitions::history::restore))
        .routes(routes!(definitions::lifecycle::activate))
        .routes(routes!(definitions::lifecycle::deactivate))
        .routes(routes!(definitions::remote::push))
        .routes(routes!(definitions::remote::fetch))
        .routes(routes!(plugins::list))
        .routes(routes!(plugins::get, plugins::put, plugins::delete))
        .routes(routes!(plugins::inspect))
        .routes(routes!(tools::list))
        .routes(routes!(tools::get))
        .routes(routes!(tools::call))
        .routes(routes!(community::list))
        .routes(routes!(mcp_servers::list, community::add))
        .routes(routes!(community::remove))
        .routes(routes!(mcp_servers::diff))
        .routes(routes!(mcp_servers::approve))
        .routes(routes!(mcp_servers::begin_login))
        .routes(routes!(mcp_servers::finish_login))
        .routes(routes!(events::follow, events::publish))
        .routes(routes!(hooks::receive))
        .routes(routes!(triggers::list))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::get, dead_letters::discard))
        .routes(routes!(dead_letters::redrive))
        .routes(routes!(optimization::status))
        .routes(routes!(optimization::compile))
        .routes(routes!(optimization::promote))
        .routes(routes!(optimization::demote))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke))
        .routes(routes!(budget::get))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::delete))
        .routes(routes!(secrets::list_of_app))
        .routes(routes!(secrets::set_of_app, secrets::delete_of_app))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(logs::read))
        .routes(routes!(metrics::query))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::openapi))
        .routes(routes!(health::welcome))
        // Not HTTP as OpenAPI describes it, but messages of another protocol.
        .route("/mcp", any(mcp::serve_host))
        .route("/mcp/{app}", any(mcp::serve))
        .split_for_parts()
}

/// The `OpenAPI` 3.1 description of this API, as JSON.
pub fn openapi_json() -> String {
    described().1.to_json().unwrap_or_default()
}

pub(crate) fn routes(api: Api) -> Router {
    described()
        .0
        .fallback(|| async { error::unknown_route() })
        .method_not_allowed_fallback(|method: Method| async move { error::method_not_allowed(method.as_str()) })
        .with_state(api)
}
