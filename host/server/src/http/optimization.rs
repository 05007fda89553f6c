//! `GET /v1/apps/{app}/operations/{operation}/optimization`, and `POST …/compile`, `…/promote`, `…/demote`.

use axum::{Json, extract::State};
use nexus_core::JitStatus;
use nexus_model::{Agreement, Attempt, Evidence, OperationRef, Refusal};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{
    api::{Api, Caller, Verb},
    error,
    executions::{AnsweredByView, UsageView},
    params::Named,
    problem::Problem,
};

/// How often code and model agreed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AgreementView {
    /// Inputs compared.
    pub n: u64,
    /// Inputs that the code answered with a value that satisfies the schema.
    pub handled: u64,
    /// Handled inputs on which the answers are equal.
    pub agreed: u64,
    /// Inputs on which the code abstained.
    pub abstained: u64,
    /// Inputs on which the code failed, trapped, or broke the output schema.
    pub failed: u64,
    /// `agreed / handled`; 0 when none was handled.
    pub rate: f64,
    /// `handled / n`; 0 when none was compared.
    pub coverage: f64,
}

impl From<Agreement> for AgreementView {
    fn from(agreement: Agreement) -> Self {
        let (rate, coverage) = (agreement.rate(), agreement.coverage());
        let Agreement { n, handled, agreed, abstained, failed } = agreement;
        Self { n, handled, agreed, abstained, failed, rate, coverage }
    }
}

/// Why code was not allowed to take over.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RefusalView {
    /// A stable word.
    #[schema(example = "agreement")]
    pub reason: String,
    /// The whole story, with the figures.
    pub detail: String,
}

impl From<Refusal> for RefusalView {
    fn from(Refusal { reason, detail }: Refusal) -> Self {
        Self { reason, detail }
    }
}

/// One candidate and how far it came.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// 1 is the first; repairs follow.
    pub number: u32,
    /// SHA-256 of the prompt that the coder model was given.
    pub prompt_sha256: String,
    /// SHA-256 of the candidate's source; empty when the coder gave none.
    pub source_sha256: String,
    /// Score on the repair set.
    pub repair: AgreementView,
    /// Why it was not good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusalView>,
    /// What the coder model used.
    pub usage: UsageView,
    /// The model that wrote it; absent when none answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coder: Option<AnsweredByView>,
}

impl From<Attempt> for AttemptView {
    fn from(Attempt { number, prompt_sha256, source_sha256, repair, refused, usage, coder }: Attempt) -> Self {
        Self {
            number,
            prompt_sha256,
            source_sha256,
            repair: repair.into(),
            refused: refused.map(Into::into),
            usage: usage.into(),
            coder: coder.map(Into::into),
        }
    }
}

/// What stands behind a decision about code.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EvidenceView {
    /// The operation's version that the code was written for.
    pub version: String,
    /// When the decision was made.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub decided_at: OffsetDateTime,
    /// Distinct inputs known at that time.
    pub distinct_inputs: u64,
    /// Inputs shown to the coder model.
    pub examples: u64,
    /// The agreement that was asked for.
    pub required_agreement: f64,
    /// The candidates, in order.
    pub attempts: Vec<AttemptView>,
    /// The chosen candidate on the sealed set, which no coder ever saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<AgreementView>,
    /// Lower end of the one-sided 95 % Clopper–Pearson interval of the agreement on the sealed set.
    pub gate_agreement_lower_95: f64,
    /// SHA-256 of the built component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_sha256: Option<String>,
    /// Why the code was refused, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusalView>,
    /// What writing the code cost, failures included.
    pub usage: UsageView,
}

impl From<Evidence> for EvidenceView {
    fn from(evidence: Evidence) -> Self {
        Self {
            version: evidence.version.to_string(),
            decided_at: evidence.decided_at,
            distinct_inputs: evidence.distinct_inputs,
            examples: evidence.examples,
            required_agreement: evidence.required_agreement,
            attempts: evidence.attempts.into_iter().map(Into::into).collect(),
            gate: evidence.gate.map(Into::into),
            gate_agreement_lower_95: evidence.gate_agreement_lower_95,
            component_sha256: evidence.component_sha256,
            refused: evidence.refused.map(Into::into),
            usage: evidence.usage.into(),
        }
    }
}

/// Where an operation stands on its way from model to code.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OptimizationView {
    /// The application.
    #[schema(example = "order-desk")]
    pub app: String,
    /// The operation.
    #[schema(example = "parse-date")]
    pub operation: String,
    /// The operation's version that this is about. Another version starts again.
    pub version: String,
    /// `profiling`, `recommended`, `compiling`, `ready`, `active`, `refused`, `demoted` or `off`.
    #[schema(example = "active")]
    pub state: String,
    /// Distinct inputs that the model has answered so far.
    pub distinct_inputs: u64,
    /// Distinct inputs that the next try needs; doubles with each refusal.
    pub needed_inputs: u64,
    /// The number of the newest committed code; 0 when there is none.
    pub code: u32,
    /// SHA-256 of the component that is active, or ready to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Component answers that the model was asked again about, since the code became active.
    pub live: AgreementView,
    /// What stands behind the last decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceView>,
    /// When the state last changed.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: OffsetDateTime,
}

impl From<JitStatus> for OptimizationView {
    fn from(status: JitStatus) -> Self {
        let record = status.record;
        Self {
            app: status.operation.app.to_string(),
            operation: status.operation.operation.to_string(),
            version: record.version.to_string(),
            state: record.state.as_str().to_owned(),
            distinct_inputs: status.distinct_inputs,
            needed_inputs: record.needed_inputs,
            code: record.code,
            component: record.component,
            live: record.live.into(),
            evidence: record.evidence.map(Into::into),
            changed_at: record.changed_at,
        }
    }
}

type Answered = Result<Json<OptimizationView>, Problem>;

/// Shows how far code has come
#[utoipa::path(
    get, path = "/v1/apps/{app}/operations/{operation}/optimization", tag = "optimization",
    operation_id = "get_optimization",
    params(
        ("app" = String, Path, description = "The application", example = "order-desk"),
        ("operation" = String, Path, description = "The operation", example = "parse-date"),
    ),
    responses(
        (status = 200, body = OptimizationView, description = "Where the operation stands"),
        (status = 403, description = "The key lacks `apps:{app}:read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or operation", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn status(State(api): State<Api>, caller: Caller, Named(names): Named<(String, String)>) -> Answered {
    let operation = named(&api, &caller, Verb::Read, &names)?;
    let status = api.core.oracle.status(&operation).await?;
    status.map(|status| Json(status.into())).ok_or_else(|| unknown(&api, &names))
}

/// Has code written now
///
/// Skips the rules of when, never the checks. Answers when the code is active, ready or refused, which takes seconds;
/// it goes on to its end if the caller goes away.
#[utoipa::path(
    post, path = "/v1/apps/{app}/operations/{operation}/compile", tag = "optimization", operation_id = "compile",
    params(
        ("app" = String, Path, description = "The application", example = "order-desk"),
        ("operation" = String, Path, description = "The operation", example = "parse-date"),
    ),
    responses(
        (status = 200, body = OptimizationView, description = "How it ended"),
        (status = 402, description = "The answer might cost more than is left of the application's budget", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or operation", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Not compilable, being compiled already, or changed meanwhile", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn compile(State(api): State<Api>, caller: Caller, Named(names): Named<(String, String)>) -> Answered {
    let operation = named(&api, &caller, Verb::Write, &names)?;
    tracing::info!(%operation, by = caller.key_id(), "compile");
    let change = async { Ok(api.core.oracle.compile(&operation).await?) };
    by_hand(&api, &caller, "operation.compile", &operation, change).await
}

/// Puts checked code in front of the model
#[utoipa::path(
    post, path = "/v1/apps/{app}/operations/{operation}/promote", tag = "optimization", operation_id = "promote",
    params(
        ("app" = String, Path, description = "The application", example = "order-desk"),
        ("operation" = String, Path, description = "The operation", example = "parse-date"),
    ),
    responses(
        (status = 200, body = OptimizationView, description = "The code answers"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or operation", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is no checked code of this version", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn promote(State(api): State<Api>, caller: Caller, Named(names): Named<(String, String)>) -> Answered {
    let operation = named(&api, &caller, Verb::Write, &names)?;
    tracing::info!(%operation, by = caller.key_id(), "promote");
    let change = async { Ok(api.core.oracle.promote(&operation).await?) };
    by_hand(&api, &caller, "operation.promote", &operation, change).await
}

/// Lets the model answer again
#[utoipa::path(
    post, path = "/v1/apps/{app}/operations/{operation}/demote", tag = "optimization", operation_id = "demote",
    params(
        ("app" = String, Path, description = "The application", example = "order-desk"),
        ("operation" = String, Path, description = "The operation", example = "parse-date"),
    ),
    responses(
        (status = 200, body = OptimizationView, description = "The model answers"),
        (status = 403, description = "The key lacks `apps:{app}:write`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such application or operation", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "No code is active", body = Problem, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
pub(crate) async fn demote(State(api): State<Api>, caller: Caller, Named(names): Named<(String, String)>) -> Answered {
    let operation = named(&api, &caller, Verb::Write, &names)?;
    tracing::info!(%operation, by = caller.key_id(), "demote");
    let change = async { Ok(api.core.oracle.demote(&operation).await?) };
    by_hand(&api, &caller, "operation.demote", &operation, change).await
}

/// Writes to the audit log what is done by hand, then does it.
async fn by_hand(
    api: &Api,
    caller: &Caller,
    action: &str,
    operation: &OperationRef,
    change: impl Future<Output = Result<JitStatus, Problem>>,
) -> Answered {
    let target = operation.to_string();
    let status = api.core.audit_log.change(caller.principal(), action, target, serde_json::json!({}), change).await?;
    Ok(Json(status.into()))
}

/// The operation that is meant, if the caller may do this to it.
fn named(api: &Api, caller: &Caller, verb: Verb, names: &(String, String)) -> Result<OperationRef, Problem> {
    api.permit(caller, verb, &names.0)?;
    match (names.0.parse(), names.1.parse()) {
        (Ok(app), Ok(operation)) => Ok(OperationRef { app, operation }),
        _ => Err(unknown(api, names)),
    }
}

fn unknown(api: &Api, (app, operation): &(String, String)) -> Problem {
    match api.core.registry.app(app) {
        Some(_) => error::unknown_operation(app, operation, None),
        None => error::unknown_app(app, None),
    }
}
