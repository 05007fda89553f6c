//! What a collector sees of a call, and what the log knows it by. Neither inputs nor answers are in it.

use std::time::Duration;

use nexus_model::{Component, ComponentAnswer, ComponentFault, ExecutionId, OperationRef, SPANS};
use tracing::{Instrument, Level, Span, field::Empty};

use super::{Failed, Served};

/// The span of one execution, which all that is said on its behalf belongs to; of the highest level, so that a log of
/// errors has it too.
pub(crate) fn execution(operation: &OperationRef, id: ExecutionId) -> Span {
    tracing::error_span!(
        target: SPANS,
        "execution",
        "nexus.app" = operation.app.as_str(),
        "nexus.operation" = operation.operation.as_str(),
        "nexus.execution" = %id,
        "nexus.path" = Empty,
        "nexus.fallback" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    )
}

/// Whether anybody wants more of a span than its name and what it is about.
fn wanted() -> bool {
    tracing::span_enabled!(target: SPANS, Level::TRACE)
}

pub(super) fn record_outcome(span: &Span, outcome: &Result<Served, Failed>) {
    if !wanted() {
        return;
    }
    let (path, fallback) = match outcome {
        Ok(served) => (served.path, served.fallback),
        Err(failed) => (failed.path, failed.fallback),
    };
    span.record("nexus.path", path.as_str());
    if let Some(reason) = fallback {
        span.record("nexus.fallback", reason.as_str());
    }
    if let Err(failed) = outcome {
        span.record("error.type", failed.kind.code());
        span.record("otel.status_code", "ERROR");
    }
}

/// How an execution of a workflow ended; `error` is a stable word for what went wrong.
pub(crate) fn record_end(span: &Span, error: Option<&str>) {
    if !wanted() {
        return;
    }
    span.record("nexus.path", nexus_model::ServedBy::Model.as_str());
    if let Some(error) = error {
        span.record("error.type", error);
        span.record("otel.status_code", "ERROR");
    }
}

/// Runs a component in a span of its own.
pub(super) async fn run(
    component: &dyn Component,
    input: &str,
    deadline: Duration,
) -> (Result<ComponentAnswer, ComponentFault>, Option<u64>) {
    let span = tracing::trace_span!(
        target: SPANS,
        "component",
        "nexus.component" = component.digest(),
        "nexus.outcome" = Empty,
        "nexus.fuel" = Empty,
        "otel.status_code" = Empty,
    );
    if span.is_disabled() {
        return component.run_counted(input, deadline).await;
    }
    let (answer, fuel) = component.run_counted(input, deadline).instrument(span.clone()).await;
    span.record("nexus.outcome", word(&answer));
    if let Some(fuel) = fuel {
        span.record("nexus.fuel", fuel);
    }
    if answer.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    (answer, fuel)
}

fn word(answer: &Result<ComponentAnswer, ComponentFault>) -> &'static str {
    match answer {
        Ok(ComponentAnswer::Value(_)) => "value",
        Ok(ComponentAnswer::Abstain(_)) => "abstain",
        Ok(ComponentAnswer::Failure(_)) => "failure",
        Err(ComponentFault::Deadline(_)) => "deadline",
        Err(ComponentFault::Fuel) => "fuel",
        Err(ComponentFault::Limit(_)) => "limit",
        Err(ComponentFault::Stack) => "stack",
        Err(ComponentFault::Trap(_)) => "trap",
        Err(ComponentFault::Exhausted) => "exhausted",
    }
}
