//! Has executions go on: in a sandbox, until they end or wait.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nexus_model::{Durability, Execution, ExecutionId, OperationRef, ServedBy, StoreError, Write};
use nexus_workflow::{ErrorType, Moment, WorkflowError};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    CANCELLED, Durable, Ended, MAX_LOST, STORE_PATIENCE, Status, bytes,
    news::Told,
    record::{History, Open, ParkedFor, begun_key, history_key, journal_key, open_key},
    run::Run,
};
use crate::{
    Core,
    work::{Brought, Work, WorkError},
};

/// The wait before a sandbox is asked for again that could not be had.
const PAUSE: Duration = Duration::from_secs(1);
/// The wait after a sandbox was lost; it doubles with each that is lost at the same step.
const LOST_PAUSE: Duration = Duration::from_millis(20);
/// The longest such wait.
const LONG_PAUSE: Duration = Duration::from_secs(30);
/// How long what an ended execution told is kept for those who watch it.
const LINGERS: Duration = Duration::from_secs(20);
/// Ended executions for which that is done at one time.
const MOST_LINGERING: usize = 1_000;

/// The store has it that another host holds the execution, or is out of reach for too long.
#[derive(Debug)]
pub(super) struct Fenced;

/// How a stay in a sandbox ended.
enum Stay {
    Ended(Result<Value, WorkflowError>, Moment),
    Parked,
    Over,
}

impl Durable {
    /// Drives executions as they begin or come back, until the host stops.
    pub(crate) async fn drive_all(self: Arc<Self>, core: Core) {
        let taken = self.to_drive.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut to_drive) = taken else { return };
        while let Some(Some(run)) = self.cancel.run_until_cancelled(to_drive.recv()).await {
            let (durable, core, span) = (Arc::clone(&self), core.clone(), run.span.clone());
            let tasks = core.tasks().clone();
            tasks.spawn(async move { durable.drive(&core, run).await }.instrument(span));
        }
    }

    async fn drive(self: Arc<Self>, core: &Core, run: Arc<Run>) {
        match self.stay(core, &run).await {
            Stay::Ended(result, at) => self.finish(core, &run, result, at).await,
            Stay::Parked => self.park(core, &run).await,
            Stay::Over => self.let_go(&run).await,
        }
    }

    /// Keeps the execution in sandboxes, one after another if they are lost.
    async fn stay(&self, core: &Core, run: &Arc<Run>) -> Stay {
        let (mut lost, mut ended, mut pause) = (0, run.ended_steps(), PAUSE);
        loop {
            let work = Work {
                execution: run.id,
                application: Arc::clone(&run.application),
                operation: run.entry.reference.operation.clone(),
                definition: Arc::new(definition(run)),
                input: run.begun.input.clone(),
                until: Instant::now().into_std() + Duration::from_hours(24),
                run: Some(Arc::clone(run)),
            };
            let brought = tokio::select! {
                biased;
                () = run.over.cancelled() => return Stay::Over,
                () = run.parking.cancelled() => return Stay::Parked,
                brought = core.sandboxes().walk(work) => brought,
            };
            match brought {
                Ok(Brought::Output(output)) => return Stay::Ended(Ok(output), run.clock()),
                Ok(Brought::Problem(problem)) => return Stay::Ended(Err(*problem), run.clock()),
                Err(WorkError::Failed(why)) => return Stay::Ended(Err(runtime(why)), run.clock()),
                Err(WorkError::Busy { retry_after }) => {
                    if run.over.run_until_cancelled(tokio::time::sleep(retry_after.min(PAUSE))).await.is_none() {
                        return Stay::Over;
                    }
                }
                Err(WorkError::Lost(why)) => {
                    // A sandbox that got on may have been lost for a reason of its own.
                    lost = if run.ended_steps() > ended { 1 } else { lost + 1 };
                    ended = run.ended_steps();
                    tracing::warn!(execution = %run.id, why, lost, "a sandbox was lost; the execution goes on in another");
                    let wait = LOST_PAUSE * (1 << lost.min(MAX_LOST));
                    if run.over.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        return Stay::Over;
                    }
                    if lost >= MAX_LOST {
                        let why = format!("its sandbox was lost {lost} times at the same step: {why}");
                        return Stay::Ended(Err(runtime(why)), run.clock());
                    }
                }
                Err(error) => {
                    tracing::warn!(execution = %run.id, %error, "an execution waits for a sandbox");
                    if run.over.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return Stay::Over;
                    }
                    pause = (pause * 2).min(LONG_PAUSE);
                }
            }
        }
    }

    /// Writes down that an execution has ended, and all of it in one place; and tells whoever waits for it.
    pub(super) async fn finish(
        self: &Arc<Self>,
        core: &Core,
        run: &Arc<Run>,
        result: Result<Value, WorkflowError>,
        at: Moment,
    ) {
        let result = checked(run, result);
        let (app, id, records, usage) = (&run.application.app.name, run.id, run.records(), run.spent());
        let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
        let execution = execution(run, &result, at);
        let history = History { begun: run.begun.clone(), records, ended: at, result, usage };
        let ttl = Some(self.executions.kept_for());
        let mut writes = vec![
            Write::Delete { key: open_key(app, &id.to_string()) },
            Write::Delete { key: begun_key(app, id) },
            Write::Set { key: history_key(app, id), value: bytes(&history), ttl },
        ];
        match self.executions.write(&execution) {
            Ok(write) => writes.push(write),
            Err(error) => tracing::warn!(%error, "an execution could not be written down"),
        }
        writes.extend(numbers.into_iter().map(|number| Write::Delete { key: journal_key(app, id, number) }));
        if self.write(run, writes, Durability::Synced).await.is_err() {
            return self.let_go(run).await;
        }
        run.news.tell(match &history.result {
            Ok(output) => Told::Finished { output: Some(output.clone()), problem: None },
            Err(error) => Told::Finished { output: None, problem: serde_json::to_value(error).ok() },
        });
        run.entry.metrics.record_call(ServedBy::Model, execution.duration_us);
        if let Err(error) = &history.result {
            run.entry.metrics.record_error(ServedBy::Model, code(error));
        }
        self.executions.tell(&execution);
        crate::router::spans::record_end(&run.span, execution.error.as_deref());
        let ended = Arc::new(Ended { result: history.result, usage });
        if let Some(live) = self.live().get_mut(&id) {
            live.run = None;
            live.span = tracing::Span::none();
            live.status.send_replace(Status::Ended(ended));
        }
        run.over.cancel();
        if let Some(parent) = &run.begun.parent {
            self.wake(parent.execution).await;
        }
        self.linger(core, id);
    }

    /// Keeps what an ended execution told for a while, unless it does for many.
    fn linger(self: &Arc<Self>, core: &Core, id: ExecutionId) {
        if self.lingering.load(Ordering::Relaxed) >= MOST_LINGERING {
            self.live().remove(&id);
            return;
        }
        self.lingering.fetch_add(1, Ordering::Relaxed);
        let (durable, cancel) = (Arc::clone(self), self.cancel.clone());
        core.tasks().spawn(async move {
            cancel.run_until_cancelled(tokio::time::sleep(LINGERS)).await;
            durable.live().remove(&id);
            durable.lingering.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Lets an execution wait, in no sandbox.
    async fn park(self: &Arc<Self>, core: &Core, run: &Arc<Run>) {
        let waits = run.waits();
        let until = waits.until;
        let parked = Some(ParkedFor { until, listens: !waits.events.is_empty() });
        let open = Open { holder: Some(self.host.clone()), epoch: run.epoch, parked };
        let app = &run.application.app.name;
        let waiting = run.waiting_records().into_iter();
        let waiting = waiting.map(|record| Write::Set {
            key: journal_key(app, run.id, record.number),
            value: bytes(&record),
            ttl: None,
        });
        let waiting: Vec<_> = waiting.collect();
        if self.write(run, waiting, Durability::Soon).await.is_err()
            || self.hold(run, &open, Durability::Soon).await.is_err()
        {
            return self.let_go(run).await;
        }
        run.news.tell(Told::Parked { until_unix_ms: until.map(|until| until.0) });
        if let Some(live) = self.live().get_mut(&run.id) {
            live.run = None;
            live.status.send_replace(Status::Parked(until));
        }
        let (id, after, patterns) = (run.id, waits.after.clone(), waits.events.clone());
        self.parked.wait(id, app, waits);
        // One that came before it was known that somebody waits for it.
        if !patterns.is_empty() && core.events.is_there_like(app, after, &patterns).await {
            self.wake(id).await;
        }
    }

    /// Writes down who holds an execution from now on.
    pub(super) async fn hold(&self, run: &Run, open: &Open, durability: Durability) -> Result<(), Fenced> {
        let key = open_key(&run.application.app.name, &run.id.to_string());
        let value = bytes(open);
        let write = Write::Set { key, value: value.clone(), ttl: None };
        self.write(run, vec![write], durability).await?;
        *run.fence.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = value;
        Ok(())
    }

    /// The execution is this host's no more.
    async fn let_go(self: &Arc<Self>, run: &Arc<Run>) {
        if self.cancel.is_cancelled() {
            // So that the next host need not wait.
            let open = Open { holder: None, epoch: run.epoch, parked: None };
            let _ = self.hold(run, &open, Durability::Synced).await;
        }
        run.over.cancel();
        let mut live = self.live();
        let same = |live: &super::Live| live.run.as_ref().is_some_and(|other| Arc::ptr_eq(other, run));
        if live.get(&run.id).is_some_and(same)
            && let Some(live) = live.remove(&run.id)
        {
            live.status.send_replace(Status::Elsewhere);
        }
    }

    /// Writes under the fence of an execution. While the store is out of reach it is tried again, for a minute at the most.
    pub(super) async fn write(&self, run: &Run, batch: Vec<Write>, durability: Durability) -> Result<(), Fenced> {
        let key = open_key(&run.application.app.name, &run.id.to_string());
        let fence = run.fence.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let until = Instant::now() + STORE_PATIENCE;
        loop {
            match self.runtime.write_if(&key, &fence, batch.clone(), durability).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    tracing::warn!(execution = %run.id, "another host has taken an execution over");
                    run.over.cancel();
                    return Err(Fenced);
                }
                Err(error @ (StoreError::Unavailable(_) | StoreError::Busy(_))) if Instant::now() < until => {
                    tracing::warn!(execution = %run.id, %error, "an execution waits for the store");
                    if !crate::start::wait(PAUSE, &self.cancel).await {
                        return Err(Fenced);
                    }
                }
                Err(error) => {
                    tracing::error!(execution = %run.id, %error, "an execution is let go: it cannot be written down");
                    run.over.cancel();
                    return Err(Fenced);
                }
            }
        }
    }
}

/// The output, if the operation's schema has it.
fn checked(run: &Run, result: Result<Value, WorkflowError>) -> Result<Value, WorkflowError> {
    let output = result?;
    let wrong = nexus_definitions::violations(&run.entry.output, &output);
    match wrong.first() {
        None => Ok(output),
        Some(first) => {
            let why =
                format!("the output does not satisfy the operation's schema at `{}`: {}", first.path, first.message);
            Err(WorkflowError::new(ErrorType::Validation, why).with_status(502))
        }
    }
}

/// What the program in the sandbox is told of a workflow.
fn definition(run: &Run) -> Value {
    let grants = json!({ "container": false, "script": false, "shell": false });
    json!({
        "workflow": { "digest": run.workflow.digest },
        "start": {
            "at": run.begun.at(),
            "runtime": { "name": "nexus", "version": env!("CARGO_PKG_VERSION"), "metadata": {} },
        },
        "grants": grants,
    })
}

pub(super) fn runtime(why: impl Into<String>) -> WorkflowError {
    WorkflowError::new(ErrorType::Runtime, why)
}

/// The error of an execution that somebody cancelled.
pub(super) fn cancelled() -> WorkflowError {
    runtime("the execution was cancelled").with_status(CANCELLED)
}

/// A stable word for what went wrong, as metrics and scripts have it.
pub(crate) fn code(error: &WorkflowError) -> &'static str {
    if error.status == CANCELLED {
        return "cancelled";
    }
    if error.status == 402 {
        return "budget_exceeded";
    }
    let kind = error.kind.rsplit('/').next().unwrap_or_default();
    match kind {
        "configuration" => "workflow_configuration",
        "validation" => "workflow_validation",
        "expression" => "workflow_expression",
        "authentication" => "workflow_authentication",
        "authorization" => "workflow_authorization",
        "timeout" => "workflow_timeout",
        "communication" => "workflow_communication",
        "runtime" => "workflow_runtime",
        _ => "workflow_error",
    }
}

fn execution(run: &Run, result: &Result<Value, WorkflowError>, at: Moment) -> Execution {
    let begun = run.begun.at();
    let reference = OperationRef { app: run.application.app.name.clone(), operation: run.begun.operation.clone() };
    Execution {
        id: ExecutionId(run.id.0),
        operation: reference,
        revision: run.begun.revision.clone(),
        version: run.begun.version.clone(),
        started_at: run.begun.started_at,
        duration_us: u64::try_from(at.0.max(super::now().0) - begun.0).unwrap_or(0).saturating_mul(1_000),
        path: ServedBy::Model,
        fallback: None,
        usage: Some(run.spent()),
        model: None,
        cause: run.begun.cause.clone(),
        parent: run.begun.parent.clone(),
        input: run.begun.input.clone(),
        output: result.as_ref().ok().cloned(),
        error: result.as_ref().err().map(|error| code(error).to_owned()),
        problem: result.as_ref().err().and_then(|error| serde_json::to_value(error).ok()),
    }
}
