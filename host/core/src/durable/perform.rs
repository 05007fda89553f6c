//! Has the effects of executions, and writes them down.

use std::{pin::pin, sync::Arc, time::Duration};

use nexus_model::{Durability, InterruptedPolicy, Write, canonical_json, sha256_hex};
use nexus_workflow::{Call, Decision, Effect, ErrorType, Failure, Moment, NexusFunction, Outcome, WorkflowError};
use serde_json::Value;

use super::{
    Durable, MAX_JOURNAL, bytes,
    calls::{Calling, as_execution},
    drive::{Fenced, runtime},
    news::Told,
    now,
    record::{Record, ReplayEffects, journal_key},
    run::{Beginning, Busy, Details, Run, Waits},
};
use crate::Core;

/// How long an execution that only waits stays in its sandbox.
const STAY: Duration = Duration::from_millis(300);
/// After how long it is written down of an effect that it is begun, where only people ask.
const A_WHILE: Duration = Duration::from_millis(25);
/// How long another execution is waited for before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// A step that asks for an effect.
pub(crate) struct Asked {
    pub(crate) step: String,
    pub(crate) pointer: String,
    pub(crate) effect: Effect,
    pub(crate) deadline: Option<Moment>,
}

/// What a step that asks for an effect is told.
pub(crate) enum Performed {
    Outcome(Outcome),
    /// The execution leaves its sandbox: it waits.
    Suspended,
    /// The execution is over, here at least.
    Over,
}

/// An effect that has ended, before it is written down.
pub(super) struct Had {
    pub(super) result: Result<Value, Failure>,
    pub(super) details: Details,
}

impl Had {
    pub(super) fn of(result: Result<Value, WorkflowError>) -> Self {
        Self { result: result.map_err(Failure::Error), details: Details::default() }
    }

    pub(super) fn with(self, details: Details) -> Self {
        Self { details, ..self }
    }
}

impl Durable {
    /// Has an effect of an execution unless it is written down that it was had.
    pub(crate) async fn perform(self: &Arc<Self>, core: &Core, run: &Arc<Run>, asked: Asked) -> Performed {
        if let Some(outcome) = run.outcome(&asked.step) {
            return Performed::Outcome(outcome);
        }
        tokio::select! {
            biased;
            () = run.parking.cancelled() => {}
            performed = self.perform_new(core, run, asked) => return performed.unwrap_or(Performed::Over),
        }
        if run.over.is_cancelled() { Performed::Over } else { Performed::Suspended }
    }

    async fn perform_new(self: &Arc<Self>, core: &Core, run: &Arc<Run>, asked: Asked) -> Result<Performed, Fenced> {
        let Asked { step, pointer, effect, deadline } = asked;
        let Some(busy) = run.busy() else { return Ok(Performed::Suspended) };
        let (kind, name) = described(&effect);
        let policy = run.workflow.interrupted.get(&pointer).copied().unwrap_or_default();
        let beginning = Beginning { step, pointer, kind, name, effect: hash(&effect) };
        let (place, record) = run.begin(beginning, now());
        if record.begun_times == 1 {
            let (step, kind, name) = (record.step.clone(), record.kind.clone(), record.name.clone());
            run.news.tell(Told::Begun { step, kind, name });
        }
        if deadline.is_some_and(|deadline| deadline <= now().max(run.clock())) {
            let at = deadline.unwrap_or_default();
            let had = Had { result: Err(Failure::Deadline), details: Details::default() };
            return self.written(run, place, record, at, had).await;
        }
        if let Some(had) = self.again(run, &record, &effect, policy).await {
            return self.written(run, place, record, now(), had).await;
        }
        let had = match as_execution(&run.application, effect) {
            Effect::Wait(until) => {
                drop(busy);
                let (at, had) = self.wait(run, &record, until, deadline).await;
                return self.written(run, place, record, at, had).await;
            }
            Effect::Listen(patterns) => {
                drop(busy);
                self.listen_for(core, run, &record, patterns, deadline).await
            }
            effect
            @ (Effect::Call(Call::Function { function: NexusFunction::Operation, .. }) | Effect::Workflow(_)) => {
                self.begun_record(run, &record, policy).await?;
                self.call_execution(core, run, busy, &record, effect, deadline).await
            }
            effect @ (Effect::Call(_) | Effect::Emit(_)) => {
                let calling = Calling { core, run, record: &record, key: key(run, &record, policy) };
                // The execution of a prompt has its id by when it was begun.
                let seen = matches!(effect, Effect::Call(Call::Function { function: NexusFunction::Prompt, .. }));
                let having = within(deadline.map(left_until), calling.have(effect));
                let had = if policy == InterruptedPolicy::Retry {
                    // Who has the effect twice under one key has it once: that it is begun is for people to see, if it takes a while.
                    let mut having = pin!(having);
                    let soon = if seen { None } else { tokio::time::timeout(A_WHILE, &mut having).await.ok() };
                    if let Some(had) = soon {
                        had
                    } else {
                        let (begun, had) = tokio::join!(self.begun_record(run, &record, policy), having);
                        begun?;
                        had
                    }
                } else {
                    self.begun_record(run, &record, policy).await?;
                    having.await
                };
                let at = now();
                return self.written(run, place, record, at, had).await;
            }
        };
        self.written(run, place, record, now(), had).await
    }

    /// What a step is told without having its effect: in a replay, or when nobody knows whether it was had.
    async fn again(&self, run: &Run, record: &Record, effect: &Effect, policy: InterruptedPolicy) -> Option<Had> {
        if let Some(replay) = &run.begun.replay
            && replay.effects == ReplayEffects::Recorded
        {
            return self.recorded(run, replay.execution, record, effect).await;
        }
        let interrupted = record.begun_times > 1 && matches!(effect, Effect::Call(_) | Effect::Emit(_));
        (interrupted && policy == InterruptedPolicy::Fail).then(|| {
            let why = "the call was begun before, and how it ended is not known; `metadata.interrupted` says `fail`";
            Had::of(Err(runtime(why).with_status(409)))
        })
    }

    /// Writes down that an effect is begun. What must not be had twice is on the disk before.
    async fn begun_record(&self, run: &Run, record: &Record, policy: InterruptedPolicy) -> Result<(), Fenced> {
        let durability = match policy {
            // Who honours the key does not mind.
            InterruptedPolicy::Retry => Durability::Soon,
            InterruptedPolicy::RetryAnew | InterruptedPolicy::Fail => Durability::Synced,
        };
        self.put(run, record, durability).await.map(drop)
    }

    /// Writes a record down, and says how many bytes it has.
    async fn put(&self, run: &Run, record: &Record, durability: Durability) -> Result<usize, Fenced> {
        let key = journal_key(&run.application.app.name, run.id, record.number);
        let value = bytes(record);
        let size = value.len();
        self.write(run, vec![Write::Set { key, value, ttl: None }], durability).await?;
        Ok(size)
    }

    /// Writes down how an effect ended, and only then tells.
    async fn written(
        &self,
        run: &Run,
        place: usize,
        record: Record,
        at: Moment,
        had: Had,
    ) -> Result<Performed, Fenced> {
        // It is not parked meanwhile.
        let Some(_busy) = run.busy() else { return Ok(Performed::Suspended) };
        let Had { mut result, details } = had;
        if run.bytes() > MAX_JOURNAL {
            let why = format!("the journal of the execution has more than {MAX_JOURNAL} bytes");
            result = Err(Failure::Error(runtime(why).with_status(507)));
        }
        let record = run.ended(record, Outcome { at, result }, details);
        let size = self.put(run, &record, Durability::Synced).await?;
        let record = run.note(place, record, size);
        let outcome = record.outcome.clone();
        run.news.ended(record);
        outcome.map(Performed::Outcome).ok_or(Fenced)
    }

    /// Writes down a decision; the first stays.
    pub(crate) async fn decide(
        &self,
        run: &Run,
        step: String,
        pointer: String,
        decision: Decision,
    ) -> Option<Decision> {
        if let Some(known) = run.decision(&step) {
            return Some(known);
        }
        let _busy = run.busy()?;
        let beginning = Beginning { step, pointer, kind: "decision", name: String::new(), effect: String::new() };
        let (place, record) = run.begin(beginning, now());
        let record = Record { decision: Some(decision), ..record };
        let size = self.put(run, &record, Durability::Synced).await.ok()?;
        run.news.ended(run.note(place, record, size));
        Some(decision)
    }

    async fn wait(&self, run: &Run, record: &Record, until: Moment, deadline: Option<Moment>) -> (Moment, Had) {
        let end = deadline.map_or(until, |deadline| deadline.min(until));
        let replayed = run.begun.replay.is_some();
        if !replayed {
            let waits = Waits { until: Some(end), ..Waits::default() };
            self.until(run, record, waits, tokio::time::sleep(left_until(end))).await;
        }
        let result = if end < until { Err(Failure::Deadline) } else { Ok(Value::Null) };
        (end, Had { result, details: Details::default() })
    }

    /// Waits for `come`; meanwhile the execution is parked if it does nothing else.
    async fn until<T>(&self, run: &Run, record: &Record, waits: Waits, come: impl Future<Output = T>) -> T {
        let _waiting = run.waiting(&record.step, waits);
        let idle = async {
            loop {
                tokio::time::sleep(STAY).await;
                run.park_if_idle();
            }
        };
        tokio::select! {
            biased;
            arrived = come => arrived,
            never = idle => never,
        }
    }

    async fn listen_for(
        &self,
        core: &Core,
        run: &Run,
        record: &Record,
        patterns: Vec<nexus_workflow::EventPattern>,
        deadline: Option<Moment>,
    ) -> Had {
        let after = run.last_event(&record.effect).or_else(|| run.begun.events_after.clone());
        let waits = Waits { until: deadline, events: patterns.clone(), after: after.clone() };
        let found = core.events.next_like(&run.application.app.name, after, &patterns);
        let had = async {
            match found.await {
                Ok((place, event)) => Had::of(Ok(event)).with(Details { event: Some(place), ..Details::default() }),
                Err(error) => Had::of(Err(WorkflowError::new(ErrorType::Communication, error.to_string()))),
            }
        };
        self.until(run, record, waits, within(deadline.map(left_until), had)).await
    }

    /// Begins another execution, or an operation that is none, and waits for it.
    async fn call_execution(
        self: &Arc<Self>,
        core: &Core,
        run: &Arc<Run>,
        busy: Busy<'_>,
        record: &Record,
        effect: Effect,
        deadline: Option<Moment>,
    ) -> Had {
        let id = super::child_id(run.id, record.begun, &record.step);
        let calling = Calling { core, run, record, key: key(run, record, InterruptedPolicy::Retry) };
        let begun = match within_result(deadline.map(left_until), calling.begin_execution(id, effect)).await {
            Ok(begun) => begun,
            Err(had) => return had,
        };
        drop(busy);
        let details = Details { execution: Some(id), ..Details::default() };
        let Some(mut status) = begun.status else {
            return Had { result: begun.had, details: Details { path: begun.path, usage: begun.usage, ..details } };
        };
        let again = now().plus(LOOK_AGAIN);
        let waits = Waits { until: Some(deadline.map_or(again, |deadline| deadline.min(again))), ..Waits::default() };
        let ended = async {
            loop {
                if let super::Status::Ended(ended) = &*status.borrow_and_update() {
                    let had = Had::of(ended.result.clone());
                    return had.with(Details { usage: Some(ended.usage), ..details.clone() });
                }
                if status.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        self.until(run, record, waits, within(deadline.map(left_until), ended)).await
    }

    /// The place of the newest event of an application.
    pub(super) async fn newest_event(
        &self,
        app: &nexus_model::AppName,
    ) -> Result<Option<String>, nexus_model::StoreError> {
        let log = nexus_signals::EventLog::new(Arc::clone(&self.runtime), usize::MAX);
        log.newest(&Some(app.clone())).await
    }
}

/// The key by which whoever has the effect knows it.
fn key(run: &Run, record: &Record, policy: InterruptedPolicy) -> String {
    let plain = sha256_hex(format!("{}\n{}", run.id, record.step));
    match policy {
        InterruptedPolicy::RetryAnew if record.begun_times > 1 => format!("{plain}-{}", record.begun_times),
        _ => plain,
    }
}

/// The same for effects that are the same whenever they are had: what only says when or in which execution is left out.
fn hash(effect: &Effect) -> String {
    let mut effect = match effect {
        Effect::Wait(_) => return sha256_hex(b"wait"),
        effect => serde_json::to_value(effect).unwrap_or_default(),
    };
    if effect["effect"] == "emit"
        && let Some(event) = effect["of"].as_object_mut()
    {
        event.remove("id");
        event.remove("time");
    }
    sha256_hex(canonical_json(&effect))
}

/// What kind of effect it is, and of what.
fn described(effect: &Effect) -> (&'static str, String) {
    let text = |with: &Value, field: &str| with[field].as_str().unwrap_or_default().to_owned();
    match effect {
        Effect::Wait(_) => ("wait", String::new()),
        Effect::Listen(_) => ("listen", String::new()),
        Effect::Emit(event) => ("emit", text(event, "type")),
        Effect::Workflow(other) => ("workflow", format!("{}/{}", other.namespace, other.name)),
        Effect::Call(call) => match call {
            Call::Http(request) => ("http", format!("{} {}", request.method, request.url)),
            Call::Openapi { operation_id, .. } => ("openapi", operation_id.clone()),
            Call::Mcp { method, parameters, .. } => ("mcp", format!("{method} {}", text(parameters, "name"))),
            Call::Function { function, with } => match function {
                NexusFunction::Prompt => ("prompt", text(with, "prompt")),
                NexusFunction::Agent => ("agent", text(with, "model")),
                NexusFunction::Tool => ("tool", text(with, "tool")),
                NexusFunction::Operation => ("operation", text(with, "operation")),
            },
            Call::AgentStart { with } => ("agent", text(with, "model")),
            Call::AgentTurn(turn) => ("turn", turn.model.clone()),
            Call::Process { .. } => ("process", String::new()),
        },
    }
}

/// How long it is until a moment.
pub(super) fn left_until(moment: Moment) -> Duration {
    Duration::from_millis(u64::try_from(moment.0.saturating_sub(now().0)).unwrap_or(0))
}

async fn within(left: Option<Duration>, having: impl Future<Output = Had>) -> Had {
    let late = |_| Had { result: Err(Failure::Deadline), details: Details::default() };
    match left {
        Some(left) => tokio::time::timeout(left, having).await.unwrap_or_else(late),
        None => having.await,
    }
}

async fn within_result<T>(left: Option<Duration>, doing: impl Future<Output = Result<T, Had>>) -> Result<T, Had> {
    match left {
        Some(left) => match tokio::time::timeout(left, doing).await {
            Ok(done) => done,
            Err(_) => Err(Had { result: Err(Failure::Deadline), details: Details::default() }),
        },
        None => doing.await,
    }
}

/// How a step learns of an execution that it began.
pub(super) struct BegunExecution {
    /// Where its end is told; nowhere if it has one already, or is not waited for.
    pub(super) status: Option<tokio::sync::watch::Receiver<super::Status>>,
    /// What the step is told otherwise.
    pub(super) had: Result<Value, Failure>,
    pub(super) path: Option<nexus_model::ServedBy>,
    pub(super) usage: Option<nexus_model::Usage>,
}
