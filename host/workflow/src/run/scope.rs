//! What is known at a point of an execution.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};

use super::Start;
use crate::{
    document::{Task, Workflow},
    effects::{Effect, Effects, Failure, Outcome, Progress, ProgressPhase},
    error::{ErrorType, WorkflowError},
    expression::{Evaluate, Evaluation, Expression},
    limits::{Limits, too_large},
    moment::Moment,
    step::StepId,
};

/// Why a task does not end well.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// An error, which may be caught.
    Error(WorkflowError),
    /// The deadline with this index is over; who set it makes an error of it.
    Deadline(usize),
    /// A bound of the execution, which nothing catches.
    Bound(WorkflowError),
}

impl Stop {
    pub(super) fn error(kind: ErrorType, detail: impl Into<String>, at: &str) -> Self {
        Self::Error(WorkflowError::new(kind, detail).at(at))
    }

    pub(super) fn bound(detail: impl Into<String>, at: &str) -> Self {
        Self::Bound(WorkflowError::new(ErrorType::Runtime, detail).at(at))
    }

    /// The same, told of a task.
    pub(super) fn at(self, pointer: &str) -> Self {
        match self {
            Self::Error(error) => Self::Error(error.at(pointer)),
            Self::Bound(error) => Self::Bound(error.at(pointer)),
            Self::Deadline(index) => Self::Deadline(index),
        }
    }
}

/// What stays the same throughout an execution.
pub(super) struct Run<'a> {
    pub(super) workflow: &'a Workflow,
    pub(super) limits: Limits,
    pub(super) execution: &'a str,
    effects: &'a dyn Effects,
    evaluator: &'a dyn Evaluate,
    descriptor: Value,
    runtime: &'a Value,
    steps: AtomicU64,
}

/// What changes from task to task. Branches have one each.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// `$context`.
    pub(super) context: Arc<Value>,
    /// Variables of loops and handlers.
    pub(super) variables: BTreeMap<String, Value>,
    /// Deadlines, from the outermost to the innermost.
    pub(super) deadlines: Vec<Moment>,
    /// The time of the last outcome.
    pub(super) clock: Moment,
    /// Tasks around this point.
    pub(super) nesting: usize,
}

impl State {
    pub(super) fn new(clock: Moment) -> Self {
        Self { context: Arc::new(json!({})), variables: BTreeMap::new(), deadlines: Vec::new(), clock, nesting: 0 }
    }

    /// The earliest deadline, and which it is; the outermost of equals.
    fn deadline(&self) -> Option<(usize, Moment)> {
        self.deadlines.iter().copied().enumerate().min_by_key(|(index, at)| (*at, *index))
    }
}

/// The task that an expression belongs to, and its data so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frame<'a> {
    pub(super) task: Option<&'a Task>,
    pub(super) pointer: &'a str,
    pub(super) started: Moment,
    pub(super) raw_input: Option<&'a Value>,
    pub(super) input: Option<&'a Value>,
    pub(super) raw_output: Option<&'a Value>,
    pub(super) output: Option<&'a Value>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        workflow: &'a Workflow,
        start: &'a Start,
        effects: &'a dyn Effects,
        evaluator: &'a dyn Evaluate,
    ) -> Self {
        let descriptor = json!({
            "id": start.execution,
            "definition": *workflow.definition,
            "input": start.input,
            "startedAt": start.at.descriptor(),
        });
        Self {
            workflow,
            limits: start.limits,
            execution: &start.execution,
            effects,
            evaluator,
            descriptor,
            runtime: &start.runtime,
            steps: AtomicU64::new(0),
        }
    }

    pub(super) fn port(&self) -> &dyn Effects {
        self.effects
    }

    /// Counts a task.
    pub(super) fn count(&self, at: &StepId) -> Result<(), Stop> {
        if self.steps.fetch_add(1, Ordering::Relaxed) >= self.limits.steps {
            return Err(Stop::bound(format!("an execution has at most {} steps", self.limits.steps), at.pointer()));
        }
        Ok(())
    }

    pub(super) fn tell(&self, at: &StepId, task: &Task, state: &State, phase: ProgressPhase) {
        self.effects.step(at, Progress { task: task.name.clone(), at: state.clock, phase });
    }

    /// Has an effect, under the deadlines that are set.
    pub(super) async fn perform(&self, at: &StepId, effect: Effect, state: &mut State) -> Result<Value, Stop> {
        let deadline = state.deadline();
        if let Some((index, moment)) = deadline
            && state.clock > moment
        {
            return Err(Stop::Deadline(index));
        }
        let Outcome { at: ended, result } = self.effects.perform(at, effect, deadline.map(|(_, at)| at)).await;
        state.clock = state.clock.max(ended);
        match (result, deadline) {
            // An answer that came too late is none, so that the journal alone says how it went.
            (_, Some((index, moment))) if ended > moment => Err(Stop::Deadline(index)),
            (Err(Failure::Deadline), Some((index, _))) => Err(Stop::Deadline(index)),
            (Err(Failure::Deadline), None) => {
                Err(Stop::error(ErrorType::Runtime, "a deadline is over that nothing set", at.pointer()))
            }
            (Err(Failure::Error(error)), _) => {
                Err(Stop::Error(WorkflowError { instance: None, ..error }.at(at.pointer())))
            }
            (Ok(value), _) => self.bounded(value, at.pointer()),
        }
    }

    /// The value, if it is not too large.
    pub(super) fn bounded(&self, value: Value, pointer: &str) -> Result<Value, Stop> {
        match too_large(&value, self.limits.value_bytes) {
            None => Ok(value),
            Some(why) => Err(Stop::bound(why, pointer)),
        }
    }

    /// What an expression says of a value.
    pub(super) async fn evaluate(
        &self,
        expression: &Arc<Expression>,
        input: &Value,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<Value, Stop> {
        let variables: Vec<Value> =
            expression.variables().iter().map(|name| self.variable(name, frame, state)).collect();
        let evaluation = Evaluation { expression, input, variables: &variables };
        match self.evaluator.evaluate(evaluation).await {
            Ok(value) => self.bounded(value, frame.pointer),
            Err(why) => {
                let detail = format!("the expression `{}` fails: {why}", crate::fault::cut(expression.text(), 200));
                Err(Stop::error(ErrorType::Expression, detail, frame.pointer))
            }
        }
    }

    /// Whether an expression holds: its output is neither `false` nor `null`.
    pub(super) async fn holds(
        &self,
        expression: &Arc<Expression>,
        input: &Value,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<bool, Stop> {
        let value = self.evaluate(expression, input, frame, state).await?;
        Ok(!matches!(value, Value::Null | Value::Bool(false)))
    }

    fn variable(&self, name: &str, frame: &Frame<'_>, state: &State) -> Value {
        if let Some(value) = state.variables.get(name) {
            return value.clone();
        }
        let data = |value: Option<&Value>| value.cloned().unwrap_or_default();
        match name {
            "context" => (*state.context).clone(),
            "input" => data(frame.input),
            "output" => data(frame.output),
            "workflow" => self.descriptor.clone(),
            "runtime" => self.runtime.clone(),
            "task" => frame.task.map_or(Value::Null, |task| {
                json!({
                    "name": task.name,
                    "reference": task.pointer,
                    "definition": self.workflow.definition.pointer(&task.pointer),
                    "input": data(frame.raw_input),
                    "output": data(frame.raw_output),
                    "startedAt": frame.started.descriptor(),
                })
            }),
            _ => Value::Null,
        }
    }
}
