//! `GET /v1/apps/{app}/budget`: what an application may spend on models, and what it has.

use axum::{Json, extract::State};
use nexus_core::Spent;
use nexus_model::{AppName, Budget};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{
    api::{Api, Caller, Verb},
    error,
    params::Named,
    problem::Problem,
};

/// What an application may spend on models, and what it has spent today (UTC). Money is in 10⁻⁹ US dollars.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BudgetView {
    /// The application.
    #[schema(example = "order-desk")]
    pub app: String,
    /// Tokens used today; calls in flight count with their estimates.
    pub tokens_today: u64,
    /// Money spent today, likewise.
    pub cost_today_nano_usd: u64,
    /// When a new day begins.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub resets_at: OffsetDateTime,
    /// Tokens that may be used in a day; any number if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Money that may be spent in a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_day_nano_usd: Option<u64>,
    /// Tokens that one execution may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_execution: Option<u64>,
    /// Money that one execution may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_execution_nano_usd: Option<u64>,
}

impl BudgetView {
    fn new(app: &AppName, budget: Budget, spent: Spent) -> Self {
        Self {
            app: app.to_string(),
            tokens_today: spent.tokens,
            cost_today_nano_usd: spent.cost.0,
            resets_at: spent.resets_at,
            tokens_per_day: budget.tokens_per_day,
            cost_per_day_nano_usd: budget.cost_per_day.map(|limit| limit.0),
            tokens_per_execution: budget.tokens_per_execution,
            cost_per_execution_nano_usd: budget.cost_per_execution.map(|limit| limit.0),
        }
    }
}

/// Shows an application's budget
///
/// All replicas share it, and calls, audits and compilations all count. A call that might pass a limit is refused with 402
/// `budget_exceeded` before a model is asked; what a component answers costs nothing and is never refused.
#[utoipa::path(
    get, path = "/v1/apps/{app}/budget", tag = "applications", operation_id = "get_budget",
    params(("app" = String, Path, description = "The application", example = "order-desk")),
    responses(
        (status = 200, body = BudgetView, description = "Limits, and what is used of them today"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Named(app): Named<String>,
) -> Result<Json<BudgetView>, Problem> {
    api.permit(&caller, Verb::Read, &app)?;
    let Some(detail) = api.core.registry.app(&app) else { return Err(error::unknown_app(&app, None)) };
    let name = detail.summary.name;
    let spent = api.core.budgets.today(&name).await?;
    Ok(Json(BudgetView::new(&name, detail.budget, spent)))
}
