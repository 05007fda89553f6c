//! Runs a workflow: a function of its document, its input, and what the ports answer.

mod call;
mod fork;
mod http;
mod kinds;
mod list;
mod listen;
mod resolve;
mod retry;
mod scope;
mod task;

use std::sync::Arc;

use serde_json::{Value, json};

pub use retry::backoff_delay;

use crate::{
    document::{Transform, Workflow},
    effects::Effects,
    error::{ErrorType, WorkflowError},
    expression::Evaluate,
    limits::{Limits, too_large},
    moment::Moment,
    step::StepId,
};
use list::Ended;
use scope::{Frame, Run, State, Stop};

/// What an execution begins with. All of it belongs to the journal: a replay begins with the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The execution's id.
    pub execution: String,
    /// When it begins.
    pub at: Moment,
    /// Its input.
    pub input: Value,
    /// What runs it, for `$runtime`: an object with `name` and `version`.
    pub runtime: Value,
    /// Its bounds.
    pub limits: Limits,
}

impl Start {
    /// A beginning with the default bounds.
    pub fn new(execution: impl Into<String>, at: Moment, input: Value) -> Self {
        let runtime = json!({"name": "nexus", "version": env!("CARGO_PKG_VERSION"), "metadata": {}});
        Self { execution: execution.into(), at, input, runtime, limits: Limits::default() }
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Its output, or the error that nothing caught.
    pub result: Result<Value, WorkflowError>,
    /// When, by the last outcome.
    pub at: Moment,
}

/// Runs a workflow to its end.
///
/// The future holds nothing that a replay would not come to as well; dropping it cancels the execution, at any point. It is
/// `Send`, waits for nothing but the ports, and ends within the bounds of `start`.
pub async fn run(workflow: &Workflow, start: &Start, effects: &dyn Effects, evaluator: &dyn Evaluate) -> Finished {
    let run = Run::new(workflow, start, effects, evaluator);
    let mut state = State::new(start.at);
    let result = whole(&run, start, &mut state).await;
    let result = result.map_err(|stop| match stop {
        Stop::Error(error) | Stop::Bound(error) => error.at("/"),
        Stop::Deadline(_) => WorkflowError::new(ErrorType::Timeout, "the workflow's time is over").at("/"),
    });
    Finished { result, at: state.clock }
}

async fn whole(run: &Run<'_>, start: &Start, state: &mut State) -> Result<Value, Stop> {
    let workflow = run.workflow;
    if let Some(why) = too_large(&start.input, start.limits.value_bytes) {
        return Err(Stop::Bound(WorkflowError::new(ErrorType::Runtime, why)));
    }
    let frame = Frame::default();
    checked(&workflow.input, &start.input, "the workflow's input")?;
    let input = run.mapped(&workflow.input, start.input.clone(), &frame, state).await?;
    if let Some(timeout) = &workflow.timeout {
        let after = run.duration(timeout, &input, &frame, state).await?;
        state.deadlines.push(state.clock.plus(after));
    }
    // The specification's picture of the data flow: the transformed input is where the context begins.
    state.context = Arc::new(input.clone());
    let root = StepId::root();
    let (output, Ended::List | Ended::Workflow) = run.list(&workflow.tasks, input, &root.list("do"), state).await?;
    let output = run.mapped(&workflow.output, output, &frame, state).await?;
    checked(&workflow.output, &output, "the workflow's output")?;
    Ok(output)
}

/// Checks a value against its schema, if it has one.
fn checked(transform: &Transform, value: &Value, what: &str) -> Result<(), Stop> {
    match transform.schema.as_ref().and_then(|schema| schema.violations(value)) {
        None => Ok(()),
        Some(why) => {
            Err(Stop::Error(WorkflowError::new(ErrorType::Validation, format!("{what} breaks its schema: {why}"))))
        }
    }
}
