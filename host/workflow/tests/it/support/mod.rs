//! Ports that stand in for the world, and keep a journal.

mod world;

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::executor::block_on;
use nexus_workflow::{
    Decision, DirectEvaluator, Effect, Effects, Failure, Finished, Grants, Moment, Outcome, Progress, ProgressPhase,
    Start, StepId, Workflow, run,
};
use serde_json::Value;

use world::answer;

/// When executions of tests begin.
pub(crate) const BEGIN: Moment = Moment(1_700_000_000_000);

/// What was written down of an execution.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Journal {
    /// Outcomes.
    pub(crate) outcomes: BTreeMap<StepId, Outcome>,
    /// When the last of them came.
    pub(crate) latest: Moment,
    /// Decisions of forks.
    pub(crate) decisions: BTreeMap<StepId, Decision>,
}

/// A world that answers at once, and remembers what it was asked.
pub(crate) struct World {
    /// What is written down.
    pub(crate) journal: Mutex<Journal>,
    /// What was begun, which is what the journal did not have.
    pub(crate) begun: Mutex<Vec<(StepId, Effect)>>,
    /// What was told of steps.
    pub(crate) steps: Mutex<Vec<(StepId, Progress)>>,
    /// Events that are there to be listened to.
    events: Vec<Value>,
    /// How long each effect takes, in milliseconds.
    pace: i64,
    /// Effects after which nothing is answered any more, as after a crash.
    breaks_after: Option<usize>,
    /// In what order effects at the same time end.
    seed: Option<u64>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            journal: Mutex::default(),
            begun: Mutex::default(),
            steps: Mutex::default(),
            events: Vec::new(),
            pace: 1,
            breaks_after: None,
            seed: None,
        }
    }

    pub(crate) fn with_events(mut self, events: Vec<Value>) -> Self {
        self.events = events;
        self
    }

    pub(crate) fn with_pace(mut self, milliseconds: i64) -> Self {
        self.pace = milliseconds;
        self
    }

    pub(crate) fn with_journal(mut self, journal: Journal) -> Self {
        self.journal = Mutex::new(journal);
        self
    }

    pub(crate) fn breaking_after(mut self, effects: usize) -> Self {
        self.breaks_after = Some(effects);
        self
    }

    pub(crate) fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Lets others go first, more or less often.
    async fn dawdle(&self, at: &StepId) {
        let Some(seed) = self.seed else { return };
        let mut hasher = std::hash::DefaultHasher::new();
        (seed, at).hash(&mut hasher);
        for _ in 0..hasher.finish() % 7 {
            futures::pending!();
        }
    }

    pub(crate) fn begun(&self) -> Vec<(StepId, Effect)> {
        held(&self.begun).clone()
    }

    pub(crate) fn journal(&self) -> Journal {
        held(&self.journal).clone()
    }

    /// The names of the tasks that ended in some way, in order.
    pub(crate) fn tasks(&self, phase: ProgressPhase) -> Vec<String> {
        held(&self.steps).iter().filter(|(_, step)| step.phase == phase).map(|(_, step)| step.task.clone()).collect()
    }

    fn now(&self) -> Moment {
        held(&self.journal).latest.max(BEGIN)
    }

    fn write_down(&self, at: &StepId, outcome: &Outcome) {
        let mut journal = held(&self.journal);
        journal.latest = journal.latest.max(outcome.at);
        journal.outcomes.insert(at.clone(), outcome.clone());
    }

    fn perform_now(&self, at: &StepId, effect: Effect, deadline: Option<Moment>) -> Option<Outcome> {
        let recorded = held(&self.journal).outcomes.get(at).cloned();
        if recorded.is_some() {
            return recorded;
        }
        if self.breaks_after.is_some_and(|most| held(&self.begun).len() >= most) {
            return None;
        }
        let now = self.now();
        let ends = match &effect {
            Effect::Wait(until) => *until,
            _ => Moment(now.0 + self.pace),
        };
        let outcome = match deadline {
            Some(deadline) if deadline < ends => Outcome { at: deadline, result: Err(Failure::Deadline) },
            _ => {
                let result = self.happen(at, &effect)?;
                Outcome { at: ends, result }
            }
        };
        if deadline.is_none_or(|deadline| deadline >= now) {
            held(&self.begun).push((at.clone(), effect));
        }
        self.write_down(at, &outcome);
        Some(outcome)
    }

    /// `None`: it never ends.
    fn happen(&self, at: &StepId, effect: &Effect) -> Option<Result<Value, Failure>> {
        match effect {
            Effect::Call(call) => Some(Ok(answer(call))),
            Effect::Wait(_) => Some(Ok(Value::Null)),
            Effect::Emit(event) => Some(Ok(event.clone())),
            Effect::Workflow(reference) => {
                Some(Ok(serde_json::json!({"ran": reference.name, "with": reference.input})))
            }
            Effect::Listen(_) => {
                let number: usize = at.as_str().rsplit('/').next()?.parse().ok()?;
                self.events.get(number).cloned().map(Ok)
            }
        }
    }
}

#[async_trait]
impl Effects for World {
    async fn perform(&self, at: &StepId, effect: Effect, deadline: Option<Moment>) -> Outcome {
        self.dawdle(at).await;
        match self.perform_now(at, effect, deadline) {
            Some(outcome) => outcome,
            None => match deadline {
                Some(deadline) if self.breaks_after.is_none() => {
                    let outcome = Outcome { at: deadline, result: Err(Failure::Deadline) };
                    self.write_down(at, &outcome);
                    outcome
                }
                _ => futures::future::pending().await,
            },
        }
    }

    async fn recall(&self, at: &StepId) -> Option<Decision> {
        held(&self.journal).decisions.get(at).copied()
    }

    async fn decide(&self, at: &StepId, decision: Decision) -> Decision {
        *held(&self.journal).decisions.entry(at.clone()).or_insert(decision)
    }

    fn step(&self, at: &StepId, progress: Progress) {
        held(&self.steps).push((at.clone(), progress));
    }
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// YAML as JSON.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A workflow of some tasks, in YAML; further fields of the document may follow them.
pub(crate) fn document(tasks: &str) -> Value {
    let mut document = yaml(tasks);
    document["document"] = serde_json::json!({"dsl": "1.0.3", "namespace": "test", "name": "test", "version": "1.0.0"});
    document
}

pub(crate) fn read(document: &Value) -> Workflow {
    Workflow::read(document, Grants { container: true, script: true, shell: true }).unwrap_or_else(|faults| {
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}", said.join("\n"))
    })
}

/// Runs a workflow to its end in a world. `None` if the world stops answering.
pub(crate) fn run_in(world: &World, workflow: &Workflow, input: Value) -> Option<Finished> {
    let start = Start::new("execution-1", BEGIN, input);
    let evaluator = DirectEvaluator::default();
    let execution = run(workflow, &start, world, &evaluator);
    block_on(async {
        futures::pin_mut!(execution);
        // No effect dawdles for longer than that.
        for _ in 0..1000 {
            if let std::task::Poll::Ready(finished) = futures::poll!(execution.as_mut()) {
                return Some(finished);
            }
        }
        None
    })
}

/// The output of some tasks in a world that answers.
pub(crate) fn output(tasks: &str, input: Value) -> Value {
    finish(tasks, input).result.unwrap_or_else(|error| panic!("{error}"))
}

/// The end of some tasks in a world that answers.
pub(crate) fn finish(tasks: &str, input: Value) -> Finished {
    run_in(&World::new(), &read(&document(tasks)), input).expect("the world answers at once")
}
