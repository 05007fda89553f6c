//! `GET /v1/sandboxes`.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use nexus_sandbox::PoolPart;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    api::{Api, Caller, Verb},
    executions::readable,
    problem::Problem,
};

/// The sandboxes of this host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SandboxesView {
    /// Whether sandboxes can be started.
    pub available: bool,
    /// Why not; empty if they can.
    pub missing: String,
    /// What each application has, of those that the key may read; for its workflows under `{app} (workflows)`.
    pub apps: BTreeMap<String, PoolView>,
    /// The executions that a model or a sandbox works for at this host, of those applications.
    pub executions: Vec<String>,
    /// Executions of workflows of all applications that wait at this host, in no sandbox.
    pub waiting: usize,
}

/// The sandboxes of an application.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PoolView {
    /// Those that were started and do not serve yet.
    pub starting: usize,
    /// Those that serve.
    pub ready: usize,
    /// Those that are ending.
    pub ending: usize,
    /// Executions that they have.
    pub taken: usize,
    /// Executions that wait.
    pub waiting: usize,
}

/// Shows the sandboxes of this host
#[utoipa::path(
    get, path = "/v1/sandboxes", tag = "executions", operation_id = "get_sandboxes",
    responses(
        (status = 200, body = SandboxesView, description = "What there is now"),
        (status = 403, description = "The key may read no application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn get(State(api): State<Api>, caller: Caller) -> Result<Json<SandboxesView>, Problem> {
    readable(&api, &caller)?;
    let (pools, missing) = match api.core.sandbox_status() {
        Ok(pools) => (pools, String::new()),
        Err(missing) => (BTreeMap::new(), missing),
    };
    let apps = pools.into_iter().filter(|(name, _)| caller.may(Verb::Read, &name.app)).map(|(name, pool)| {
        let pool = PoolView {
            starting: pool.starting,
            ready: pool.ready,
            ending: pool.ending,
            taken: pool.taken,
            waiting: pool.waiting,
        };
        let part = match name.part {
            PoolPart::Workers => name.app.to_string(),
            PoolPart::Workflows => format!("{} (workflows)", name.app),
        };
        (part, pool)
    });
    let executions = api.core.router.in_flight().into_iter().filter(|(app, _)| caller.may(Verb::Read, app));
    Ok(Json(SandboxesView {
        available: missing.is_empty(),
        missing,
        apps: apps.collect(),
        executions: executions.map(|(_, id)| id.to_string()).collect(),
        waiting: api.core.waiting_executions(),
    }))
}
