//! One execution in the hands of this host: its journal, and what it does now.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nexus_model::{ExecutionId, Usage, WorkflowDefinition};
use nexus_workflow::{Decision, EventPattern, Moment, Outcome};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::{
    news::News,
    record::{Begun, Record},
};
use crate::registry::{Application, OperationEntry};

/// About how many bytes a record has that is begun, without its names.
const RECORD: usize = 256;

/// An execution that this host has.
pub(crate) struct Run {
    pub(crate) id: ExecutionId,
    /// As it was when the execution began.
    pub(crate) application: Arc<Application>,
    pub(crate) entry: Arc<OperationEntry>,
    pub(crate) workflow: Arc<WorkflowDefinition>,
    pub(crate) begun: Begun,
    /// What those who watch are told.
    pub(crate) news: Arc<News>,
    /// Ends when this host has it no more: it ended, or another took it, or the host stops.
    pub(crate) over: CancellationToken,
    /// Ends when it is to leave its sandbox, because all that it does is wait.
    pub(crate) parking: CancellationToken,
    /// What the execution is called in traces.
    pub(crate) span: Span,
    /// The bytes that the store has of who holds it: what is written under.
    pub(super) fence: Mutex<Vec<u8>>,
    pub(super) epoch: u64,
    /// The records of the execution that this one replays, once they are asked for.
    pub(super) replayed: OnceCell<Vec<Record>>,
    state: Mutex<State>,
}

struct State {
    records: Vec<Record>,
    by_step: HashMap<String, usize>,
    /// The bytes of each record, and of all.
    sizes: Vec<usize>,
    bytes: usize,
    ended: u64,
    clock: Moment,
    spent: Usage,
    /// Effects that are being had.
    busy: usize,
    /// Steps that wait, and what for.
    waiting: BTreeMap<String, Waits>,
    /// What it waited for when it was to leave its sandbox.
    parked: Waits,
}

/// A step that is begun.
pub(super) struct Beginning {
    pub(super) step: String,
    pub(super) pointer: String,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) effect: String,
}

/// What is known besides an outcome.
#[derive(Debug, Clone, Default)]
pub(super) struct Details {
    pub(super) usage: Option<Usage>,
    pub(super) execution: Option<ExecutionId>,
    pub(super) path: Option<nexus_model::ServedBy>,
    pub(super) event: Option<String>,
}

/// What an execution is made of.
pub(super) struct Made {
    pub(super) id: ExecutionId,
    pub(super) application: Arc<Application>,
    pub(super) entry: Arc<OperationEntry>,
    pub(super) workflow: Arc<WorkflowDefinition>,
    pub(super) begun: Begun,
    pub(super) fence: Vec<u8>,
    pub(super) epoch: u64,
    pub(super) over: CancellationToken,
    pub(super) span: Span,
}

impl Run {
    /// With what its journal has.
    pub(super) fn new(made: Made, news: Arc<News>, records: Vec<Record>) -> Self {
        let mut state = State::at(made.begun.at());
        for record in records {
            let bytes = super::bytes(&record).len();
            state.take(record, bytes);
        }
        let Made { id, application, entry, workflow, begun, fence, epoch, over, span } = made;
        let parking = over.child_token();
        let (fence, state) = (Mutex::new(fence), Mutex::new(state));
        Self {
            id,
            application,
            entry,
            workflow,
            begun,
            news,
            over,
            parking,
            span,
            fence,
            epoch,
            replayed: OnceCell::new(),
            state,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is written down of how a step ended.
    pub(super) fn outcome(&self, step: &str) -> Option<Outcome> {
        let state = self.state();
        state.record(step)?.outcome.clone()
    }

    /// What is written down of a decision.
    pub(super) fn decision(&self, step: &str) -> Option<Decision> {
        let state = self.state();
        state.record(step)?.decision
    }

    /// Takes note that a step begins; its place, and its record.
    pub(super) fn begin(&self, beginning: Beginning, now: Moment) -> (usize, Record) {
        let mut state = self.state();
        let now = state.clock.max(now);
        if let Some(&place) = state.by_step.get(&beginning.step)
            && let Some(record) = state.records.get_mut(place)
        {
            record.begun_times += 1;
            return (place, record.clone());
        }
        let Beginning { step, pointer, kind, name, effect } = beginning;
        let (kind, begun_times) = (kind.to_owned(), 1);
        let number = state.records.last().map_or(0, |last| last.number + 1);
        let record = Record {
            number,
            step,
            pointer,
            kind,
            name,
            effect,
            begun: now,
            begun_times,
            outcome: None,
            decision: None,
            ended: 0,
            usage: None,
            execution: None,
            path: None,
            event: None,
        };
        let bytes = RECORD + record.step.len() + record.pointer.len() + record.name.len();
        state.take(record.clone(), bytes);
        (state.records.len() - 1, record)
    }

    /// What a record becomes with an outcome. The time is not earlier than what came before. Nothing is noted yet.
    pub(super) fn ended(&self, mut record: Record, mut outcome: Outcome, details: Details) -> Record {
        let state = self.state();
        outcome.at = outcome.at.max(state.clock);
        let Details { usage, execution, path, event } = details;
        record.outcome = Some(outcome);
        (record.usage, record.execution, record.path, record.event) = (usage, execution, path, event);
        record
    }

    /// Takes note of what is written down, in so many bytes; the first outcome of a step stays.
    pub(super) fn note(&self, place: usize, mut record: Record, bytes: usize) -> Record {
        let mut state = self.state();
        state.ended += 1;
        record.ended = state.ended;
        if let Some(outcome) = &record.outcome {
            state.clock = state.clock.max(outcome.at);
        }
        if let Some(usage) = record.usage {
            state.spent = state.spent + usage;
        }
        if let Some(size) = state.sizes.get_mut(place) {
            let before = std::mem::replace(size, bytes);
            state.bytes = state.bytes - before + bytes;
        }
        if let Some(slot) = state.records.get_mut(place) {
            *slot = record.clone();
        }
        record
    }

    /// The records of steps that wait, which are not written down while they do.
    pub(super) fn waiting_records(&self) -> Vec<Record> {
        let waits = |record: &&Record| record.outcome.is_none() && ["wait", "listen"].contains(&record.kind.as_str());
        self.state().records.iter().filter(waits).cloned().collect()
    }

    /// How many steps have ended.
    pub(super) fn ended_steps(&self) -> u64 {
        self.state().ended
    }

    /// The bytes of the journal.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// All that is written down, in order.
    pub(super) fn records(&self) -> Vec<Record> {
        self.state().records.clone()
    }

    /// What a program is told of the journal: outcomes and decisions from a place on, about as many bytes as these, and the
    /// place of the next if there are more.
    pub(crate) fn journal_from(&self, after: usize, bytes: usize) -> (Vec<Value>, Option<usize>) {
        let (state, mut told, mut left) = (self.state(), Vec::new(), bytes);
        for (place, record) in state.records.iter().enumerate().skip(after) {
            let line = match (&record.outcome, &record.decision) {
                (Some(outcome), _) => json!({ "step": record.step, "outcome": outcome }),
                (None, Some(decision)) => json!({ "step": record.step, "decision": decision }),
                (None, None) => continue,
            };
            let size = line.to_string().len();
            if size > left && !told.is_empty() {
                return (told, Some(place));
            }
            left = left.saturating_sub(size);
            told.push(line);
        }
        (told, None)
    }

    /// What models used so far.
    pub(crate) fn spent(&self) -> Usage {
        self.state().spent
    }

    /// When the last of its steps ended.
    pub(super) fn clock(&self) -> Moment {
        self.state().clock
    }

    /// The place of the last event that a step listening to the same was given.
    pub(super) fn last_event(&self, effect: &str) -> Option<String> {
        let state = self.state();
        let same = state.records.iter().filter(|record| record.effect == effect);
        same.filter_map(|record| record.event.clone()).max()
    }

    /// An effect is being had for as long as the value lives; nothing if the execution is leaving its sandbox.
    pub(super) fn busy(&self) -> Option<Busy<'_>> {
        let mut state = self.state();
        if self.parking.is_cancelled() {
            return None;
        }
        state.busy += 1;
        Some(Busy(self))
    }

    /// A step waits for as long as the value lives.
    pub(super) fn waiting(&self, step: &str, waits: Waits) -> Waiting<'_> {
        self.state().waiting.insert(step.to_owned(), waits);
        Waiting { run: self, step: step.to_owned() }
    }

    /// Has it leave its sandbox if it does nothing but wait.
    pub(super) fn park_if_idle(&self) {
        let mut state = self.state();
        if state.busy > 0 || state.waiting.is_empty() {
            return;
        }
        let until = state.waiting.values().filter_map(|waits| waits.until).min();
        let events = state.waiting.values().flat_map(|waits| waits.events.iter().cloned()).collect();
        let listening = state.waiting.values().filter(|waits| !waits.events.is_empty());
        let after = listening.map(|waits| waits.after.clone()).min().flatten();
        state.parked = Waits { until, events, after };
        // Before anything else is begun.
        self.parking.cancel();
    }

    /// What it waited for when it was to leave its sandbox.
    pub(super) fn waits(&self) -> Waits {
        self.state().parked.clone()
    }
}

/// What a step waits for.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    /// Until then at the latest.
    pub(super) until: Option<Moment>,
    /// Events like one of these.
    pub(super) events: Vec<EventPattern>,
    /// Those that came after this place in the application's log.
    pub(super) after: Option<String>,
}

impl State {
    fn at(clock: Moment) -> Self {
        Self {
            records: Vec::new(),
            by_step: HashMap::new(),
            sizes: Vec::new(),
            bytes: 0,
            ended: 0,
            clock,
            spent: Usage::NONE,
            busy: 0,
            waiting: BTreeMap::new(),
            parked: Waits::default(),
        }
    }

    fn record(&self, step: &str) -> Option<&Record> {
        self.records.get(*self.by_step.get(step)?)
    }

    fn take(&mut self, record: Record, bytes: usize) {
        self.ended = self.ended.max(record.ended);
        if let Some(outcome) = &record.outcome {
            self.clock = self.clock.max(outcome.at);
        }
        if let Some(usage) = record.usage {
            self.spent = self.spent + usage;
        }
        self.by_step.insert(record.step.clone(), self.records.len());
        self.records.push(record);
        self.sizes.push(bytes);
        self.bytes += bytes;
    }
}

/// An effect that is being had.
pub(super) struct Busy<'a>(&'a Run);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.state().busy -= 1;
    }
}

/// A step that waits.
pub(super) struct Waiting<'a> {
    run: &'a Run,
    step: String,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.run.state().waiting.remove(&self.step);
    }
}
