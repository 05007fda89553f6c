//! Executions: listed, shown, followed, cancelled, done again.

pub(crate) mod follow;
pub(crate) mod replay;
mod steps;

use axum::{Json, extract::State, http::StatusCode};
use nexus_core::ExecutionFilter;
use nexus_model::{AnsweredBy, AppName, Cause, Execution, ExecutionId, Parent, ServedBy, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

pub use self::{
    replay::BegunView,
    steps::{ComparisonView, StepDifferenceView, StepView},
};
use super::{
    api::{Api, Caller, Verb},
    error,
    params::{self, Asked, Named},
    problem::Problem,
};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// What a model used.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// Tokens of all prompts, a repair round included, cached ones too.
    pub input_tokens: u64,
    /// Those of the prompts' tokens that the provider had in its cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// Tokens of all answers.
    pub output_tokens: u64,
    /// What they cost, in 10⁻⁹ US dollars; null where that is not known, as without a price.
    pub cost_nano_usd: Option<u64>,
}

impl From<Usage> for UsageView {
    fn from(Usage { input_tokens, cached_input_tokens, output_tokens, cost }: Usage) -> Self {
        Self { input_tokens, cached_input_tokens, output_tokens, cost_nano_usd: cost.map(|cost| cost.0) }
    }
}

/// Which model gave an answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AnsweredByView {
    /// Its alias in the settings. Not the one that the prompt names where a fall-back answered.
    #[schema(example = "small")]
    pub alias: String,
    /// The provider's name of it.
    pub model: String,
}

impl From<AnsweredBy> for AnsweredByView {
    fn from(AnsweredBy { alias, model }: AnsweredBy) -> Self {
        Self { alias, model }
    }
}

/// A trigger and its event, where they called an operation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CauseView {
    /// The trigger's name.
    #[schema(example = "on-mail")]
    pub trigger: String,
    /// The application that emitted the event, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emitter: Option<String>,
    /// The event's source.
    pub event_source: String,
    /// The event's id.
    pub event_id: String,
    /// The same for every delivery of this event to this trigger, and for no other.
    pub idempotency_key: String,
    /// Which delivery of the event this was, from 1.
    pub delivery: u64,
}

impl From<Cause> for CauseView {
    fn from(cause: Cause) -> Self {
        let Cause { trigger, emitter, event_source, event_id, idempotency_key, delivery } = cause;
        let (trigger, emitter) = (trigger.to_string(), emitter.map(|app| app.to_string()));
        Self { trigger, emitter, event_source, event_id, idempotency_key, delivery }
    }
}

/// A step of an execution that began another.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ParentView {
    /// The execution.
    pub execution: String,
    /// The step.
    pub step: String,
}

impl From<Parent> for ParentView {
    fn from(Parent { execution, step, .. }: Parent) -> Self {
        Self { execution: execution.to_string(), step }
    }
}

/// One call of an operation. Those that have not ended are of workflows.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecutionView {
    /// Its id, also in the header `x-nexus-execution`.
    pub id: String,
    /// The application.
    pub app: String,
    /// The operation.
    pub operation: String,
    /// The application's definition at that time.
    pub revision: String,
    /// The operation's version at that time.
    pub version: String,
    /// When the call arrived.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: OffsetDateTime,
    /// From arrival to answer, or until now, in microseconds.
    pub duration_us: u64,
    /// `running`, `waiting` (in no sandbox, for a time, an event or another execution), `completed`, `failed` or `cancelled`.
    #[schema(example = "completed")]
    pub status: String,
    /// Until when it waits at the latest, as Unix time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_until_unix_ms: Option<i64>,
    /// Which path answered, or failed last.
    #[schema(example = "component")]
    pub path: String,
    /// Why a component that was asked first did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// What the model used; absent when none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// The model that answered; absent when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<AnsweredByView>,
    /// What called, where no caller did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseView>,
    /// The step of another execution that called, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentView>,
    /// The execution that it does again, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<String>,
    /// The input.
    pub input: Value,
    /// The answer, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// A stable word for what went wrong, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What went wrong, where a workflow says so: problem details (RFC 9457).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Value>,
    /// What was written down of its steps, if it is of a workflow and asked for by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepView>>,
    /// What came out otherwise, if it is a replay that has ended and asked for by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<ComparisonView>,
}

impl From<Execution> for ExecutionView {
    fn from(execution: Execution) -> Self {
        Self {
            id: execution.id.to_string(),
            app: execution.operation.app.to_string(),
            operation: execution.operation.operation.to_string(),
            revision: execution.revision.to_string(),
            version: execution.version.to_string(),
            started_at: execution.started_at,
            duration_us: execution.duration_us,
            status: match execution.error.as_deref() {
                None => "completed",
                Some("cancelled") => "cancelled",
                Some(_) => "failed",
            }
            .to_owned(),
            waits_until_unix_ms: None,
            path: execution.path.as_str().to_owned(),
            fallback: execution.fallback.map(|reason| reason.as_str().to_owned()),
            usage: execution.usage.map(Into::into),
            model: execution.model.map(Into::into),
            cause: execution.cause.map(Into::into),
            parent: execution.parent.map(Into::into),
            replay_of: None,
            input: execution.input,
            output: execution.output,
            error: execution.error,
            problem: execution.problem,
            steps: None,
            comparison: None,
        }
    }
}

/// Executions, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecutionList {
    /// This page.
    pub executions: Vec<ExecutionView>,
    /// What to send as `before` to see the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Only those of this application.
    app: Option<String>,
    /// Only those of operations of this name.
    operation: Option<String>,
    /// Only those that this path answered: `component` or `model`.
    path: Option<String>,
    /// Only those that have not ended, which are of workflows: `true`. Those that have, if left out.
    unfinished: Option<bool>,
    /// Only those older than this execution.
    before: Option<String>,
    /// At most this many, 1 to 200; 50 if left out.
    limit: Option<usize>,
}

/// Lists executions
///
/// Newest first, of the applications that the key may read. How long an execution is kept, and what share of those that
/// a component answered, is a setting of the server.
#[utoipa::path(
    get, path = "/v1/executions", tag = "executions", operation_id = "list_executions",
    params(Filter),
    responses(
        (status = 200, body = ExecutionList, description = "One page"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(asked): Asked<Filter>,
) -> Result<Json<ExecutionList>, Problem> {
    if let Some(app) = &asked.app {
        api.permit(&caller, Verb::Read, app)?;
    }
    let filter = filter(&asked)?;
    if asked.unfinished == Some(true) {
        return unfinished(&api, &caller, &filter).await;
    }
    let limit = filter.limit;
    let found = api.core.executions.list(&readable(&api, &caller)?, &filter).await?;
    let next = (found.len() == limit).then(|| found.last().map(|last| last.id.to_string())).flatten();
    Ok(Json(ExecutionList { executions: found.into_iter().map(Into::into).collect(), next }))
}

/// Those that have not ended, of the applications that the caller may read.
async fn unfinished(api: &Api, caller: &Caller, filter: &ExecutionFilter) -> Result<Json<ExecutionList>, Problem> {
    let mut executions = Vec::new();
    for app in readable(api, caller)?.iter().filter(|app| filter.app.as_ref().is_none_or(|wanted| wanted == *app)) {
        for id in api.core.unfinished_executions(app, filter.before, filter.limit).await? {
            let Some((_, shown)) = api.core.show_execution(std::slice::from_ref(app), id).await? else { continue };
            let view = ExecutionView { steps: None, ..steps::view(app, id, shown) };
            if filter.operation.as_ref().is_none_or(|wanted| wanted.as_str() == view.operation) {
                executions.push(view);
            }
        }
    }
    executions.sort_by(|one, other| other.id.cmp(&one.id));
    executions.truncate(filter.limit);
    let next = (executions.len() == filter.limit).then(|| executions.last().map(|last| last.id.clone())).flatten();
    Ok(Json(ExecutionList { executions, next }))
}

/// Shows an execution
///
/// One of a workflow with what was written down of its steps, also while it runs; a replay with what came out otherwise.
#[utoipa::path(
    get, path = "/v1/executions/{id}", tag = "executions", operation_id = "get_execution",
    params(("id" = String, Path, description = "From the header `x-nexus-execution`")),
    responses(
        (status = 200, body = ExecutionView, description = "The execution"),
        (status = 403, description = "The key may read no application", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such execution among those that the key may read", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Json<ExecutionView>, Problem> {
    let readable = readable(&api, &caller)?;
    let unknown = || error::unknown_execution(&id);
    let parsed: ExecutionId = id.parse().map_err(|_| unknown())?;
    if let Some((app, shown)) = api.core.show_execution(&readable, parsed).await? {
        let comparison = api.core.compare_execution(&app, parsed).await?.map(Into::into);
        return Ok(Json(ExecutionView { comparison, ..steps::view(&app, parsed, shown) }));
    }
    let found = api.core.executions.get(&readable, parsed).await?;
    found.map(|execution| Json(execution.into())).ok_or_else(unknown)
}

/// Cancels an execution
///
/// One that a model or a sandbox works for at this host, or one of a workflow at any host, whatever it does. Its caller is
/// answered with 409 `cancelled`.
#[utoipa::path(
    post, path = "/v1/executions/{id}/cancel", tag = "executions", operation_id = "cancel_execution",
    params(("id" = String, Path, description = "The execution's id")),
    responses(
        (status = 204, description = "Cancelled"),
        (status = 403, description = "The key lacks `apps:{app}:invoke`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such execution that has not ended", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<StatusCode, Problem> {
    let unknown = || error::unknown_execution(&id);
    let parsed: ExecutionId = id.parse().map_err(|_| unknown())?;
    // Whoever may not call an application does not learn what it does.
    let names = api.core.registry.names().into_iter();
    let apps: Vec<AppName> = names.filter(|app| caller.may(Verb::Invoke, app)).collect();
    if api.core.cancel_execution(&apps, parsed).await? { Ok(StatusCode::NO_CONTENT) } else { Err(unknown()) }
}

/// The applications that the caller may read; a caller that may read none at all is refused.
pub(super) fn readable(api: &Api, caller: &Caller) -> Result<Vec<AppName>, Problem> {
    let apps: Vec<AppName> = api.core.registry.names().into_iter().filter(|app| caller.may(Verb::Read, app)).collect();
    if apps.is_empty() {
        caller.require_all(Verb::Read)?;
    }
    Ok(apps)
}

fn filter(asked: &Filter) -> Result<ExecutionFilter, Problem> {
    let path = match asked.path.as_deref() {
        None => None,
        Some("component") => Some(ServedBy::Component),
        Some("model") => Some(ServedBy::Model),
        Some(_) => return Err(error::invalid_parameter("`path` is `component` or `model`")),
    };
    Ok(ExecutionFilter {
        app: params::parsed(asked.app.as_deref(), "`app` is no name")?,
        operation: params::parsed(asked.operation.as_deref(), "`operation` is no name")?,
        path,
        before: params::parsed(asked.before.as_deref(), "`before` is the id of an execution")?,
        limit: params::limit(asked.limit, DEFAULT_LIMIT, MAX_LIMIT)?,
    })
}
