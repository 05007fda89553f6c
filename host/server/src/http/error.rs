//! The one place where errors become HTTP. What a caller sees is not what the log sees: a store's or a repository's
//! reasons go to the log only.

mod definitions;
mod plugins;
mod servers;

use std::time::Duration;

use axum::http::StatusCode;
use nexus_core::{
    AuditLogError, BudgetExceeded, CallError, CallErrorKind, HookError, KeyError, OracleError, PublishError,
    RateExceeded, Scope, VaultError, WorkError,
};
use nexus_model::{ComponentFault, ModelError, ModelErrorKind, StoreError};
use nexus_workflow::WorkflowError;

pub(crate) use plugins::{invalid_plugin, unknown_plugin};

pub(crate) use definitions::{
    app_inactive, file_refused, invalid_document, invalid_name, unknown_document, unknown_template,
};

use super::problem::{Problem, ProblemMore, ViolationView};

/// How long callers are asked to stay away from a server that is full.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// How long writing code takes, roughly.
const COMPILE_WAIT: Duration = Duration::from_secs(5);

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let code = error.kind.code();
        call_problem(error.kind, code).execution(error.execution)
    }
}

fn call_problem(kind: CallErrorKind, code: &'static str) -> Problem {
    match kind {
        CallErrorKind::UnknownApp { name, nearest } => unknown_app(&name, nearest.as_deref()),
        CallErrorKind::Inactive { app, reason } => app_inactive(&app, &reason),
        CallErrorKind::UnknownOperation { app, name, nearest } => unknown_operation(&app, &name, nearest.as_deref()),
        CallErrorKind::InvalidJson { detail } => {
            Problem::new(StatusCode::BAD_REQUEST, code, "The body is not JSON", detail)
        }
        CallErrorKind::InvalidInput { violations } => violated(
            StatusCode::UNPROCESSABLE_ENTITY,
            code,
            "The input does not satisfy the operation's schema",
            violations.into_iter().map(|v| ViolationView { path: v.path, message: v.message }).collect(),
        ),
        CallErrorKind::OutputInvalid { violations } => violated(
            StatusCode::BAD_GATEWAY,
            code,
            "The answer does not satisfy the operation's schema",
            violations.into_iter().map(|v| ViolationView { path: v.path, message: v.message }).collect(),
        ),
        CallErrorKind::Busy { retry_after } => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            "The application is at its limit of concurrent calls",
            "no permit of this application was free",
        )
        .retry_after(retry_after),
        CallErrorKind::Budget(exceeded) => over_budget(&exceeded),
        CallErrorKind::Store(error) => error.into(),
        CallErrorKind::Model(error) => model_problem(&error, code),
        CallErrorKind::Component(fault) => component_problem(&fault, code),
        CallErrorKind::ComponentRefused { reason } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The component did not answer this input", reason)
        }
        CallErrorKind::Cancelled => Problem::new(
            StatusCode::CONFLICT,
            code,
            "The execution was cancelled",
            "somebody cancelled it while it ran",
        ),
        CallErrorKind::Work(error) => work_problem(&error, code),
        CallErrorKind::Workflow(error) => workflow_problem(&error, code),
        CallErrorKind::StillRunning { waited } => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            code,
            "The execution has not ended",
            format!("it was waited for {} ms, and goes on", waited.as_millis()),
        )
        .hint("follow it at `/v1/executions/{id}`; with `Prefer: respond-async` nobody waits"),
        CallErrorKind::Render(reason) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, code, "The prompt could not be rendered", reason).hint(
                "the prompt's template does not fit an input that its schema allows; `nexus check` shows its place",
            )
        }
    }
}

fn violated(status: StatusCode, code: &'static str, title: &'static str, violations: Vec<ViolationView>) -> Problem {
    let detail = match violations.as_slice() {
        [one] => format!("{}: {}", if one.path.is_empty() { "/" } else { &one.path }, one.message),
        many => format!("{} violations", many.len()),
    };
    Problem { violations, ..Problem::new(status, code, title, detail) }
}

fn model_problem(error: &ModelError, code: &'static str) -> Problem {
    let status = match error.kind {
        ModelErrorKind::RateLimited { .. } => StatusCode::SERVICE_UNAVAILABLE,
        ModelErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let problem =
        Problem::new(status, code, "The model gave no usable answer", error.to_string()).hint(error.hint.as_str());
    match error.kind {
        ModelErrorKind::RateLimited { retry_after } => problem.retry_after(retry_after.unwrap_or(BUSY_WAIT)),
        _ => problem,
    }
}

fn work_problem(error: &WorkError, code: &'static str) -> Problem {
    let status = match error {
        WorkError::Busy { .. } | WorkError::NoSandbox(_) => StatusCode::SERVICE_UNAVAILABLE,
        WorkError::Late(_) => StatusCode::GATEWAY_TIMEOUT,
        WorkError::Lost(_) => StatusCode::BAD_GATEWAY,
        WorkError::Failed(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let problem = Problem::new(status, code, "No program in a sandbox answered", error.to_string());
    match error {
        WorkError::Busy { retry_after } => problem.retry_after(*retry_after),
        WorkError::NoSandbox(_) => problem.retry_after(BUSY_WAIT).hint("`nexus doctor` says what is missing"),
        _ => problem,
    }
}

/// The error of a workflow is a problem already; its own status says less to a caller than that it was the workflow's.
fn workflow_problem(error: &WorkflowError, code: &'static str) -> Problem {
    let status = match code {
        "budget_exceeded" => StatusCode::PAYMENT_REQUIRED,
        "workflow_timeout" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let at = error.instance.as_deref().unwrap_or("/");
    let detail =
        format!("{} ({}) at {at}: {}", error.kind, error.status, error.detail.as_deref().unwrap_or("no detail"));
    Problem::new(status, code, "The workflow ended with an error", detail)
        .hint("`nexus executions show` tells what its steps did")
}

fn component_problem(fault: &ComponentFault, code: &'static str) -> Problem {
    let status = match fault {
        ComponentFault::Deadline(_) => StatusCode::GATEWAY_TIMEOUT,
        ComponentFault::Exhausted => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    };
    let problem = Problem::new(status, code, "The component was stopped", fault.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE { problem.retry_after(BUSY_WAIT) } else { problem }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::Quota { .. } = error {
            const TITLE: &str = "The application has used up its state";
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, "state_quota", TITLE, error.to_string())
                .hint("the settings are `limits.state_bytes` and `limits.state_keys`");
        }
        tracing::error!(%error, "the runtime store failed");
        if let StoreError::Busy(_) = error {
            const TITLE: &str = "The server's store is slow";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_busy", TITLE, error.to_string())
                .retry_after(BUSY_WAIT);
        }
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "The server's store is unavailable",
            "the store did not answer; the server's log says why",
        )
        .retry_after(BUSY_WAIT)
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::UnknownApp(name) => unknown_app(&name, None),
            PublishError::Reserved => {
                Self::new(StatusCode::FORBIDDEN, "reserved_type", "This type is reserved", detail)
            }
            PublishError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "event_too_large", "The event is too large", detail)
            }
            PublishError::Full { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "trigger_full", "Too many events wait for a trigger", detail)
                    .hint("the setting is `events.queue`")
                    .retry_after(BUSY_WAIT)
            }
            PublishError::Store(error) => error.into(),
        }
    }
}

impl From<HookError> for Problem {
    fn from(error: HookError) -> Self {
        let detail = error.to_string();
        match error {
            HookError::Unknown => Self::new(StatusCode::NOT_FOUND, "unknown_webhook", "No such webhook", detail),
            HookError::Signature(_) => {
                Self::new(StatusCode::UNAUTHORIZED, "bad_signature", "The request is not signed as it must be", detail)
            }
            HookError::NoSecret => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_secret", "The webhook is not set up", detail)
                    .retry_after(BUSY_WAIT)
            }
            HookError::Publish(error) => error.into(),
        }
    }
}

impl From<OracleError> for Problem {
    fn from(error: OracleError) -> Self {
        const TITLE: &str = "The operation's code cannot be changed this way now";
        let conflict = |code: &'static str| Self::new(StatusCode::CONFLICT, code, TITLE, error.to_string());
        match &error {
            OracleError::UnknownOperation(operation) => {
                unknown_operation(operation.app.as_str(), operation.operation.as_str(), None)
            }
            OracleError::NotCompilable { .. } => conflict("not_compilable"),
            OracleError::NothingToPromote(_) => {
                conflict("nothing_to_promote").hint("`compile` first: only code that passed its checks can be promoted")
            }
            OracleError::NotActive(_) => conflict("not_active"),
            OracleError::AlreadyCompiling(_) => conflict("already_compiling").retry_after(COMPILE_WAIT),
            OracleError::Raced(_) => conflict("raced").hint("look at its state and ask again"),
            OracleError::Outdated(_) => conflict("outdated").hint("try again with the new definition"),
            OracleError::OverBudget(_) => Self::new(
                StatusCode::PAYMENT_REQUIRED,
                "budget_exceeded",
                "The application's budget is used up",
                error.to_string(),
            ),
            OracleError::Stopping => draining(),
            OracleError::Store(error) => error.clone().into(),
            OracleError::Definitions(_) | OracleError::Component(_) => {
                tracing::error!(%error, "a change of an operation's code failed");
                internal()
            }
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::TooMany => {
                Self::new(StatusCode::CONFLICT, "too_many_keys", "There are too many keys", error.to_string())
            }
            KeyError::Name | KeyError::NoScope | KeyError::Overlap => invalid_key(error.to_string()),
            KeyError::Ended => Self::new(StatusCode::CONFLICT, "key_ended", "The key has ended", error.to_string()),
            KeyError::Contended => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "contended", "Others were faster", error.to_string())
                    .retry_after(BUSY_WAIT)
            }
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => error.into(),
            VaultError::Size => invalid_secret(error.to_string()),
            VaultError::TooMany => {
                Self::new(StatusCode::CONFLICT, "too_many_secrets", "There are too many secrets", error.to_string())
            }
            VaultError::Seal => internal(),
        }
    }
}

/// 402 and not 429, which client libraries try again by themselves: that would be of no use before the budget is whole
/// again.
fn over_budget(exceeded: &BudgetExceeded) -> Problem {
    let problem = |hint: String| {
        let title = "The application's budget is used up";
        Problem::new(StatusCode::PAYMENT_REQUIRED, "budget_exceeded", title, exceeded.to_string()).hint(hint)
    };
    match exceeded.resets_at {
        Some(end) => {
            let wait = (end - time::OffsetDateTime::now_utc()).whole_seconds().max(1).unsigned_abs();
            let day = end.date();
            let hint = format!("the budget is whole again at {day}T00:00:00Z; `limits` in `app.yaml` sets it");
            Problem { retry_after: Some(wait), ..problem(hint) }
        }
        None => {
            problem("`limits` in `app.yaml` sets it; a smaller input or `max_tokens` in the prompt helps".to_owned())
        }
    }
}

impl From<AuditLogError> for Problem {
    fn from(error: AuditLogError) -> Self {
        tracing::error!(%error, "a change was refused");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "audit_unavailable",
            "The change was refused because it could not be written to the audit log",
            "nothing was changed; the server's log says why",
        )
        .retry_after(BUSY_WAIT)
    }
}

fn did_you_mean(problem: Problem, nearest: Option<&str>) -> Problem {
    match nearest {
        Some(nearest) => problem.hint(format!("did you mean `{nearest}`?")),
        None => problem,
    }
}

pub(crate) fn unknown_app(name: &str, nearest: Option<&str>) -> Problem {
    let detail = format!("there is no application `{}`", shortened(name));
    did_you_mean(Problem::new(StatusCode::NOT_FOUND, "unknown_app", "No such application", detail), nearest)
}

pub(crate) fn unknown_operation(app: &str, name: &str, nearest: Option<&str>) -> Problem {
    let detail = format!("`{}` has no operation `{}`", shortened(app), shortened(name));
    did_you_mean(Problem::new(StatusCode::NOT_FOUND, "unknown_operation", "No such operation", detail), nearest)
}

pub(crate) fn unknown_execution(id: &str) -> Problem {
    let detail = format!("there is no execution `{}`, or it has been forgotten", shortened(id));
    Problem::new(StatusCode::NOT_FOUND, "unknown_execution", "No such execution", detail)
}

pub(crate) fn unknown_dead_letter(id: &str) -> Problem {
    let detail = format!("there is no dead letter `{}`, or its trigger is gone", shortened(id));
    Problem::new(StatusCode::NOT_FOUND, "unknown_dead_letter", "No such dead letter", detail)
}

pub(crate) fn unknown_key(id: &str) -> Problem {
    let detail = format!("there is no key with the id `{}`", shortened(id));
    Problem::new(StatusCode::NOT_FOUND, "unknown_key", "No such key", detail)
}

pub(crate) fn unknown_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_route", "No such route", "this server has nothing under this path")
        .hint("`/openapi.json` describes what there is")
}

pub(crate) fn method_not_allowed(method: &str) -> Problem {
    let detail = format!("{} is not for this path; the header `Allow` names what is", shortened(method));
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Wrong method", detail)
}

/// One answer for no key, a wrong key, a revoked one and an expired one.
pub(crate) fn unauthorized() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "A valid API key is needed",
        "no valid API key was presented",
    )
    .hint("send `Authorization: Bearer nxs_…`; an administrator makes keys with `nexus key create`")
}

pub(crate) fn forbidden(scope: &Scope) -> Problem {
    let detail = format!("the key lacks the scope `{scope}`");
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "The key may not do this", detail)
}

pub(crate) fn foreign(header: &'static str) -> Problem {
    let detail = format!("a server without keys answers only to itself: the header `{header}` names somebody else");
    Problem::new(StatusCode::FORBIDDEN, "foreign_origin", "Not from here", detail)
}

pub(crate) fn foreign_page() -> Problem {
    let detail = "the header `Origin` names a web page of another server";
    Problem::new(StatusCode::FORBIDDEN, "foreign_origin", "Not from there", detail)
}

pub(crate) fn unknown_session() -> Problem {
    let detail = "the session is over, or another key's: begin one with `initialize`";
    Problem::new(StatusCode::NOT_FOUND, "unknown_session", "No such session", detail)
}

pub(crate) fn rate_exceeded(exceeded: &RateExceeded) -> Problem {
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "Too many requests",
        format!("{exceeded}; nothing of this request was begun"),
    );
    let more = ProblemMore { rate: Some(exceeded.state), ..ProblemMore::default() };
    Problem { more: Some(Box::new(more)), ..problem.retry_after(exceeded.retry_after) }
}

pub(crate) fn overloaded() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "The server is at its limit of requests in flight",
        "nothing of this request was begun",
    )
    .retry_after(BUSY_WAIT)
}

pub(crate) fn draining() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "draining",
        "The server is stopping",
        "requests in flight are finished, new ones are not begun",
    )
    .retry_after(BUSY_WAIT)
}

pub(crate) fn body_too_large(limit: usize, setting: &str) -> Problem {
    let detail = format!("a body may have {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", detail)
        .hint(format!("the setting is `{setting}`"))
}

pub(crate) fn body_timeout(limit: Duration) -> Problem {
    let detail = format!("the body did not arrive within {} ms", limit.as_millis());
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body came too slowly", detail)
}

pub(crate) fn body_broken() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "body_broken", "The body broke off", "the connection ended within the body")
}

pub(crate) fn unsupported_media_type(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be plain JSON", detail)
        .hint("send `Content-Type: application/json` and no `Content-Encoding`")
}

pub(crate) fn invalid_json(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "The body is not what this call takes", detail)
}

pub(crate) fn invalid_key(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_key", "The key cannot be made", detail)
}

pub(crate) fn invalid_secret(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_secret", "The secret cannot be kept", detail)
}

pub(crate) fn unknown_secret(name: &str) -> Problem {
    let detail = match name.parse::<nexus_model::SecretName>() {
        Ok(name) => format!("the store has no secret `{name}`"),
        Err(_) => "the store has no secret of this name".to_owned(),
    };
    Problem::new(StatusCode::NOT_FOUND, "unknown_secret", "No such secret", detail)
        .hint("secrets of the environment and of files are the operator's to take away")
}

pub(crate) fn invalid_parameter(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", "A parameter is not valid", detail)
}

pub(crate) fn internal() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed",
        "an error on our side; the server's log says more",
    )
}

/// What a caller sent, cut to what is fit to be sent back.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
