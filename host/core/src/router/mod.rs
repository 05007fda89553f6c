//! From a call to its answer.

mod call;
mod in_flight;
mod plan;
pub(crate) mod spans;
mod workflow;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nexus_definitions::{nearest, violations};
use nexus_model::{
    AnsweredBy, AppName, Cause, Component, ComponentAnswer, ComponentFault, Execution, ExecutionId, FallbackReason,
    GenerateRequest, Generation, Origin, Parent, ServedBy, TokenSink, Trace, Usage,
};
use serde_json::Value;
use time::OffsetDateTime;
use tracing::Instrument;
use uuid::Uuid;

pub(crate) use call::StepCall;
pub use call::{Answer, Call, CallError, CallErrorKind};
pub(crate) use in_flight::InFlight;
pub(crate) use plan::{Defined, Plan, plan};

use crate::{
    audit::Auditor,
    budget::{Budgets, Payer},
    durable::Durable,
    executions::Executions,
    rates::{RateExceeded, RateState},
    registry::{Application, ApplicationRegistry, Definition, OperationEntry},
    sandboxes::Sandboxes,
    traces::TraceBook,
    work::{Brought, Work, WorkError},
};

/// How the router treats components; part of the oracle's settings, since only the oracle's code is audited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RouterConfig {
    /// The share of component answers that the model is asked again about.
    pub(crate) audit_share: f64,
    /// The longest that code may take before the model is asked instead.
    pub(crate) component_deadline: Duration,
}

/// Answers calls. Knows nothing of how code comes to be: it reads the registry.
pub struct RequestRouter {
    pub(crate) registry: Arc<ApplicationRegistry>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) executions: Arc<Executions>,
    pub(crate) traces: Arc<TraceBook>,
    /// Where programs work for applications.
    pub(crate) sandboxes: Arc<Sandboxes>,
    /// Executions of workflows.
    pub(crate) durable: Arc<Durable>,
    /// Executions that can be cancelled.
    pub(crate) in_flight: InFlight,
    pub(crate) auditor: Auditor,
    pub(crate) config: RouterConfig,
    /// Components' executions recorded in the running second.
    pub(crate) sampler: Sampler,
}

/// One call on its way.
struct Running<'a> {
    id: ExecutionId,
    application: &'a Arc<Application>,
    entry: &'a Arc<OperationEntry>,
    input: Value,
    body: &'a str,
    started: Instant,
    started_at: OffsetDateTime,
    cause: Option<Cause>,
    parent: Option<Parent>,
    /// What the execution that it is a step of has used before.
    spent: Usage,
}

impl Running<'_> {
    fn left(&self) -> Duration {
        self.application.app.limits.timeout.saturating_sub(self.started.elapsed())
    }
}

/// What an answer consists of before it is told.
struct Served {
    output: Value,
    text: String,
    path: ServedBy,
    fallback: Option<FallbackReason>,
    usage: Option<Usage>,
    model: Option<AnsweredBy>,
}

/// Why there is no answer, and which path failed.
struct Failed {
    kind: CallErrorKind,
    path: ServedBy,
    fallback: Option<FallbackReason>,
    usage: Option<Usage>,
}

impl RequestRouter {
    /// Takes one call of the application's rate, where it has one; to be asked before anything of the call is read.
    pub fn admit(&self, app: &str) -> Result<Option<RateState>, RateExceeded> {
        let rate = self.registry.application(app).and_then(|application| application.rate.clone());
        rate.map(|rate| rate.take()).transpose()
    }

    /// Cancels an execution of an application that a model or a sandbox works for; `false` if none is in flight at this host.
    pub fn cancel(&self, app: &AppName, id: ExecutionId) -> bool {
        self.in_flight.cancel(app, id)
    }

    /// The executions that a model or a sandbox works for at this host.
    pub fn in_flight(&self) -> Vec<(AppName, ExecutionId)> {
        self.in_flight.all().into_iter().chain(self.durable.active()).collect()
    }

    /// The application that an execution in flight at this host belongs to, if it can be cancelled.
    pub fn owner_in_flight(&self, id: ExecutionId) -> Option<AppName> {
        self.in_flight.owner(id)
    }

    /// Answers one call within the application's time limit. Every call that gets past its input checks is recorded as
    /// an execution, answered or not.
    pub async fn execute(&self, call: Call<'_>) -> Result<Answer, CallError> {
        let (outcome, execution) = self.attempt(call, None).await;
        if let Some(execution) = execution {
            self.executions.record(&execution);
        }
        outcome
    }

    /// Answers a call that a trigger makes, under this id. The execution, if the call got past its input checks, is for
    /// the trigger to record.
    pub(crate) async fn execute_caused(
        &self,
        call: Call<'_>,
        id: ExecutionId,
        cause: Cause,
    ) -> (Result<Answer, CallError>, Option<Execution>) {
        self.attempt(call, Some((id, cause))).await
    }

    /// Calls an operation for a step of an execution. Recorded as an execution of its own.
    pub(crate) async fn execute_step(&self, call: StepCall<'_>) -> Result<Answer, CallError> {
        let started = Instant::now();
        let StepCall { application, entry, input, id, parent, spent, sink } = call;
        let wrong = violations(&entry.input, &input);
        if !wrong.is_empty() {
            return Err(CallErrorKind::InvalidInput { violations: wrong }.into());
        }
        let left = application.app.limits.timeout;
        let permit = tokio::time::timeout(left, application.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(CallErrorKind::Busy { retry_after: Duration::from_secs(1) }.into());
        };
        let body = input.to_string();
        let running = Running {
            id,
            application,
            entry,
            input,
            body: &body,
            started,
            started_at: OffsetDateTime::now_utc(),
            cause: None,
            parent: Some(parent),
            spent,
        };
        let span = spans::execution(&running.entry.reference, running.id);
        let outcome = self.answer(&running, sink).instrument(span.clone()).await;
        spans::record_outcome(&span, &outcome);
        let (outcome, execution) = span.in_scope(|| self.finish(running, outcome));
        if let Some(execution) = execution {
            self.executions.record(&execution);
        }
        outcome
    }

    async fn attempt(
        &self,
        call: Call<'_>,
        caused: Option<(ExecutionId, Cause)>,
    ) -> (Result<Answer, CallError>, Option<Execution>) {
        let started = Instant::now();
        let (application, entry) = match self.find(call.app, call.operation) {
            Ok(found) => found,
            Err(kind) => return (Err(kind.into()), None),
        };
        let Ok(_permit) = application.permits.try_acquire() else {
            return (Err(CallErrorKind::Busy { retry_after: Duration::from_secs(1) }.into()), None);
        };
        let (body, input) = match read(call.body) {
            Ok(read) => read,
            Err(kind) => return (Err(kind.into()), None),
        };
        if matches!(entry.definition, Definition::Workflow) {
            // Written down when it ends, by whoever has it then.
            return (self.walk(&application, &entry, input, call.sink, caused).await, None);
        }
        let wrong = violations(&entry.input, &input);
        if !wrong.is_empty() {
            return (Err(CallErrorKind::InvalidInput { violations: wrong }.into()), None);
        }
        let (id, cause) = caused.map_or_else(|| (ExecutionId(Uuid::now_v7()), None), |(id, cause)| (id, Some(cause)));
        let running = Running {
            id,
            application: &application,
            entry: &entry,
            input,
            body,
            started,
            started_at: OffsetDateTime::now_utc(),
            cause,
            parent: None,
            spent: Usage::NONE,
        };
        let span = spans::execution(&running.entry.reference, running.id);
        let outcome = self.answer(&running, call.sink).instrument(span.clone()).await;
        spans::record_outcome(&span, &outcome);
        span.in_scope(|| self.finish(running, outcome))
    }

    fn find(&self, app: &str, operation: &str) -> Result<(Arc<Application>, Arc<OperationEntry>), CallErrorKind> {
        let application = callable(&self.registry, app)?;
        let entry = operation.parse().ok().and_then(|name| application.offered(&name)).cloned();
        let entry = entry.ok_or_else(|| CallErrorKind::UnknownOperation {
            app: app.to_owned(),
            name: operation.to_owned(),
            nearest: nearest(operation, application.offers().map(|entry| entry.reference.operation.as_str())),
        })?;
        Ok((application, entry))
    }

    async fn answer(&self, running: &Running<'_>, sink: Option<&mut dyn TokenSink>) -> Result<Served, Failed> {
        let active = running.entry.code.active();
        let defined = match running.entry.definition {
            Definition::Prompt(_) => Defined::Prompt,
            Definition::Component(_) => Defined::Component,
            Definition::Worker(_) | Definition::Workflow => Defined::Worker,
        };
        match plan(defined, active.is_some(), rand::random(), self.config.audit_share) {
            Plan::HandWritten => self.ask_hand_written(running).await,
            Plan::Sandbox => self.ask_sandbox(running).await,
            Plan::Model => self.ask_model(running, sink, None).await,
            Plan::Code { audit } => {
                let Some(active) = active else { return self.ask_model(running, sink, None).await };
                match self.ask_code(running, active.component.as_ref()).await {
                    Ok((output, text)) => {
                        if audit {
                            self.auditor.ask_again(
                                running.application.app.limits.budget,
                                running.entry,
                                &running.input,
                                &output,
                            );
                        }
                        Ok(Served { output, text, path: ServedBy::Component, fallback: None, usage: None, model: None })
                    }
                    Err(reason) => {
                        running.entry.metrics.record_fallback(reason);
                        self.ask_model(running, sink, Some(reason)).await
                    }
                }
            }
        }
    }

    /// The answer of code that Nexus wrote, or why the model has to be asked.
    async fn ask_code(&self, running: &Running<'_>, code: &dyn Component) -> Result<(Value, String), FallbackReason> {
        let deadline = self.config.component_deadline.min(running.left());
        let (answer, fuel) = spans::run(code, running.body, deadline).await;
        if let Some(fuel) = fuel {
            running.entry.metrics.record_fuel(fuel);
        }
        match answer {
            Ok(ComponentAnswer::Value(text)) => {
                let output: Value = serde_json::from_str(&text).map_err(|_| FallbackReason::OutputSchema)?;
                if running.entry.output.is_valid(&output) {
                    Ok((output, text))
                } else {
                    Err(FallbackReason::OutputSchema)
                }
            }
            Ok(ComponentAnswer::Abstain(_)) => Err(FallbackReason::Abstain),
            Ok(ComponentAnswer::Failure(reason)) => {
                tracing::debug!(operation = %running.entry.reference, reason, "code failed");
                Err(FallbackReason::Failure)
            }
            Err(fault) => {
                running.entry.metrics.record_component_fault();
                tracing::warn!(operation = %running.entry.reference, %fault, "code was stopped");
                Err(fallback_for(&fault))
            }
        }
    }

    async fn ask_hand_written(&self, running: &Running<'_>) -> Result<Served, Failed> {
        let Definition::Component(component) = &running.entry.definition else {
            return Err(failed(ServedBy::Component, CallErrorKind::Render("no component".to_owned())));
        };
        let refused = |reason: String| failed(ServedBy::Component, CallErrorKind::ComponentRefused { reason });
        let text = match spans::run(component.as_ref(), running.body, running.left()).await.0 {
            Ok(ComponentAnswer::Value(text)) => text,
            Ok(ComponentAnswer::Abstain(reason) | ComponentAnswer::Failure(reason)) => return Err(refused(reason)),
            Err(fault) => {
                running.entry.metrics.record_component_fault();
                return Err(failed(ServedBy::Component, CallErrorKind::Component(fault)));
            }
        };
        let output: Value = serde_json::from_str(&text)
            .map_err(|error| refused(format!("the component's answer is not JSON: {error}")))?;
        let wrong = violations(&running.entry.output, &output);
        if wrong.is_empty() {
            Ok(Served { output, text, path: ServedBy::Component, fallback: None, usage: None, model: None })
        } else {
            Err(failed(ServedBy::Component, CallErrorKind::OutputInvalid { violations: wrong }))
        }
    }

    /// The answer of a program in a sandbox.
    async fn ask_sandbox(&self, running: &Running<'_>) -> Result<Served, Failed> {
        let path = ServedBy::Model;
        let Definition::Worker(told) = &running.entry.definition else {
            return Err(failed(path, CallErrorKind::Work(WorkError::NoSandbox("it is no worker's".to_owned()))));
        };
        let (app, left) = (&running.application.app, running.left());
        let work = Work {
            execution: running.id,
            application: Arc::clone(running.application),
            operation: running.entry.reference.operation.clone(),
            definition: Arc::clone(told),
            input: running.input.clone(),
            until: Instant::now() + left,
            run: None,
        };
        let done = self.in_flight.cancellable(running.id, &app.name, self.sandboxes.work(work, left)).await;
        let output = done.ok_or(CallErrorKind::Cancelled).and_then(|outcome| match outcome {
            Ok(Brought::Output(output)) => Ok(output),
            Ok(Brought::Problem(problem)) => Err(CallErrorKind::Work(WorkError::Failed(problem.to_string()))),
            Err(error) => Err(CallErrorKind::Work(error)),
        });
        let output = output.map_err(|kind| failed(path, kind))?;
        let wrong = violations(&running.entry.output, &output);
        if wrong.is_empty() {
            let text = output.to_string();
            Ok(Served { output, text, path, fallback: None, usage: None, model: None })
        } else {
            Err(failed(path, CallErrorKind::OutputInvalid { violations: wrong }))
        }
    }

    async fn ask_model(
        &self,
        running: &Running<'_>,
        sink: Option<&mut dyn TokenSink>,
        fallback: Option<FallbackReason>,
    ) -> Result<Served, Failed> {
        let fail = |kind, usage| Failed { kind, path: ServedBy::Model, fallback, usage };
        let request = request(running.entry, &running.input, running.left())
            .map_err(|message| fail(CallErrorKind::Render(message), None))?;
        let asked = Instant::now();
        let app = &running.application.app;
        let payer = Payer { app: &app.name, budget: app.limits.budget, execution: true, spent: running.spent };
        let generated = self.in_flight.cancellable(running.id, &app.name, self.budgets.generate(payer, &request, sink));
        let generated = generated.await.ok_or_else(|| fail(CallErrorKind::Cancelled, None))?;
        let generation = generated.map_err(|error| {
            let usage = error.usage();
            running.entry.metrics.record_usage(&usage);
            fail(error.into(), Some(usage))
        })?;
        running.entry.metrics.record_usage(&generation.usage);
        if generation.repaired {
            running.entry.metrics.record_model_repair();
        }
        if generation.by.alias == request.model {
            keep_trace(&self.traces, running.entry, &running.input, &generation, Origin::Call, asked.elapsed()).await;
        } else {
            // The version names the model that was asked for: what another one says must teach no code.
            running.entry.metrics.record_model_fallback();
        }
        let text = generation.value.to_string();
        let Generation { value: output, usage, by, .. } = generation;
        Ok(Served { output, text, path: ServedBy::Model, fallback, usage: Some(usage), model: Some(by) })
    }

    fn finish(
        &self,
        running: Running<'_>,
        outcome: Result<Served, Failed>,
    ) -> (Result<Answer, CallError>, Option<Execution>) {
        let duration = running.started.elapsed();
        let id = running.id;
        let (path, fallback, usage) = match &outcome {
            Ok(served) => (served.path, served.fallback, served.usage),
            Err(failed) => (failed.path, failed.fallback, failed.usage),
        };
        let error = outcome.as_ref().err().map(|failed| failed.kind.code());
        let metrics = &running.entry.metrics;
        metrics.record_call(path, micros(duration));
        if let Some(code) = error {
            metrics.record_error(path, code);
        }
        let caused = running.cause.is_some() || running.parent.is_some();
        let kept = path == ServedBy::Model || error.is_some() || caused || self.sampler.take();
        let execution = kept.then(|| {
            let output = outcome.as_ref().ok().map(|served| served.output.clone());
            Execution {
                id,
                operation: running.entry.reference.clone(),
                revision: running.entry.revision.clone(),
                version: running.entry.version.clone(),
                started_at: running.started_at,
                duration_us: micros(duration),
                path,
                fallback,
                usage,
                model: outcome.as_ref().ok().and_then(|served| served.model.clone()),
                cause: running.cause,
                parent: running.parent,
                input: running.input,
                output,
                error: error.map(str::to_owned),
                problem: None,
            }
        });
        match &outcome {
            Ok(_) => tracing::debug!(path = path.as_str(), ?duration, "answered"),
            Err(failed) => {
                tracing::info!(path = path.as_str(), code = failed.kind.code(), "not answered");
                tracing::debug!(error = %failed.kind, "why it was not answered");
            }
        }
        let outcome = match outcome {
            Ok(Served { text: output, model, .. }) => {
                Ok(Answer { execution: id, path, fallback, output, usage, model, duration })
            }
            Err(failed) => Err(CallError { execution: Some(id), kind: failed.kind }),
        };
        (outcome, execution)
    }
}

/// The application that takes calls under this name.
pub(crate) fn callable(registry: &ApplicationRegistry, app: &str) -> Result<Arc<Application>, CallErrorKind> {
    let application = registry.callable(app).ok_or_else(|| {
        let names = registry.names();
        CallErrorKind::UnknownApp {
            name: app.to_owned(),
            nearest: nearest(app, names.iter().map(nexus_model::AppName::as_str)),
        }
    })?;
    application.map_err(|inactive| CallErrorKind::Inactive { app: app.to_owned(), reason: inactive.told() })
}

fn failed(path: ServedBy, kind: CallErrorKind) -> Failed {
    Failed { kind, path, fallback: None, usage: None }
}

/// The text and the value of a body of JSON.
pub(crate) fn read(body: &[u8]) -> Result<(&str, Value), CallErrorKind> {
    let text = std::str::from_utf8(body).map_err(|error| CallErrorKind::InvalidJson { detail: error.to_string() })?;
    let value = serde_json::from_str(text).map_err(|error| CallErrorKind::InvalidJson { detail: error.to_string() })?;
    Ok((text, value))
}

/// What the model is asked for this input.
pub(crate) fn request(entry: &OperationEntry, input: &Value, timeout: Duration) -> Result<GenerateRequest, String> {
    let (Definition::Prompt(template), nexus_model::Implementation::Prompt(prompt)) =
        (&entry.definition, &entry.operation.implementation)
    else {
        return Err("the operation has no prompt".to_owned());
    };
    let messages = template.render(input).map_err(|error| error.to_string())?;
    Ok(GenerateRequest {
        model: prompt.model.clone(),
        messages,
        parameters: prompt.parameters,
        schema: Arc::clone(&entry.operation.output),
        timeout,
        fallback: true,
    })
}

/// Keeps a model's answer for the oracle, if the oracle may ever look at it. That it could not be kept is no reason to
/// fail the call.
pub(crate) async fn keep_trace(
    traces: &TraceBook,
    entry: &OperationEntry,
    input: &Value,
    generation: &Generation,
    origin: Origin,
    latency: Duration,
) {
    if entry.operation.optimize.mode == nexus_model::OptimizeMode::Off {
        return;
    }
    let trace = Trace {
        input: input.clone(),
        output: generation.value.clone(),
        origin,
        usage: generation.usage,
        latency_us: micros(latency),
    };
    if let Err(error) = traces.offer(&entry.reference, &entry.version, &trace).await {
        tracing::warn!(operation = %entry.reference, %error, "a trace was lost");
    }
}

fn fallback_for(fault: &ComponentFault) -> FallbackReason {
    match fault {
        ComponentFault::Deadline(_) | ComponentFault::Fuel => FallbackReason::Deadline,
        ComponentFault::Limit(_) | ComponentFault::Stack | ComponentFault::Exhausted => FallbackReason::Limit,
        ComponentFault::Trap(_) => FallbackReason::Trap,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Takes a bounded number of samples a second.
pub(crate) struct Sampler {
    per_second: u64,
    begun: Instant,
    /// The running second in the upper half, the samples taken in it in the lower.
    taken: AtomicU64,
}

impl Sampler {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: u64::from(per_second), begun: Instant::now(), taken: AtomicU64::new(0) }
    }

    fn take(&self) -> bool {
        self.take_at(self.begun.elapsed().as_secs())
    }

    fn take_at(&self, second: u64) -> bool {
        const COUNT: u64 = u32::MAX as u64;
        let next = |taken: u64| {
            if taken >> 32 != second {
                Some((second << 32) | 1)
            } else if taken & COUNT < self.per_second {
                Some(taken + 1)
            } else {
                None
            }
        };
        self.per_second > 0 && self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Sampler;

    #[test]
    fn a_second_has_its_share_of_samples() {
        let sampler = Sampler::new(3);
        let count = |second| (0..10).filter(|_| sampler.take_at(second)).count();
        assert_eq!([count(0), count(1), count(1), count(7)], [3, 3, 0, 3]);
        assert!(!Sampler::new(0).take_at(5));
    }
}
