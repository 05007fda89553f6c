//! What all tasks have in common: condition, data flow, time-out.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;

use super::{
    checked,
    scope::{Frame, Run, State, Stop},
};
use crate::{
    document::{Duration, Flow, Task, Transform},
    effects::ProgressPhase,
    error::ErrorType,
    step::StepId,
};

impl Run<'_> {
    /// Runs a task; its output and what comes next.
    pub(super) fn task<'r>(
        &'r self,
        task: &'r Task,
        raw: Value,
        at: &'r StepId,
        state: &'r mut State,
    ) -> BoxFuture<'r, Result<(Value, Flow), Stop>> {
        async move {
            self.count(at)?;
            if state.nesting >= self.limits.nesting {
                let most = self.limits.nesting;
                return Err(Stop::bound(format!("tasks are nested at most {most} deep"), at.pointer()));
            }
            let deadlines = state.deadlines.len();
            state.nesting += 1;
            let done = self.guarded(task, raw, at, state).await;
            state.nesting -= 1;
            state.deadlines.truncate(deadlines);
            done.map_err(|stop| {
                self.tell(at, task, state, ProgressPhase::Faulted);
                match stop {
                    Stop::Deadline(index) if index >= deadlines => {
                        Stop::error(ErrorType::Timeout, "the task's time is over", at.pointer())
                    }
                    stop => stop.at(at.pointer()),
                }
            })
        }
        .boxed()
    }

    async fn guarded(&self, task: &Task, raw: Value, at: &StepId, state: &mut State) -> Result<(Value, Flow), Stop> {
        let mut frame = Frame {
            task: Some(task),
            pointer: at.pointer(),
            started: state.clock,
            raw_input: Some(&raw),
            ..Frame::default()
        };
        if let Some(condition) = &task.condition
            && !self.holds(condition, &raw, &frame, state).await?
        {
            self.tell(at, task, state, ProgressPhase::Skipped);
            return Ok((raw, Flow::Continue));
        }
        self.tell(at, task, state, ProgressPhase::Started);
        checked(&task.input, &raw, "the task's input")?;
        let input = self.mapped(&task.input, raw.clone(), &frame, state).await?;
        frame.input = Some(&input);
        if let Some(timeout) = &task.timeout {
            let after = self.duration(timeout, &input, &frame, state).await?;
            state.deadlines.push(state.clock.plus(after));
        }
        let (raw_output, flow) = self.kind(task, &input, &frame, at, state).await?;
        let raw_output = self.bounded(raw_output, at.pointer())?;
        frame.raw_output = Some(&raw_output);
        let output = self.mapped(&task.output, raw_output.clone(), &frame, state).await?;
        checked(&task.output, &output, "the task's output")?;
        frame.output = Some(&output);
        self.export(&task.export, &output, &frame, state).await?;
        self.tell(at, task, state, ProgressPhase::Completed);
        Ok((output, flow.unwrap_or(task.then)))
    }

    /// What a mapping makes of a value.
    pub(super) async fn mapped(
        &self,
        transform: &Transform,
        value: Value,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<Value, Stop> {
        match &transform.mapping {
            None => Ok(value),
            Some(mapping) => self.resolve(mapping, &value, frame, state).await,
        }
    }

    /// Makes the context what `export` says.
    pub(super) async fn export(
        &self,
        export: &Transform,
        output: &Value,
        frame: &Frame<'_>,
        state: &mut State,
    ) -> Result<(), Stop> {
        if let Some(mapping) = &export.mapping {
            state.context = Arc::new(self.resolve(mapping, output, frame, state).await?);
        }
        checked(export, &state.context, "the context")
    }

    /// How long a duration is.
    pub(super) async fn duration(
        &self,
        duration: &Duration,
        input: &Value,
        frame: &Frame<'_>,
        state: &State,
    ) -> Result<std::time::Duration, Stop> {
        match duration {
            Duration::Fixed(duration) => Ok(*duration),
            Duration::Computed(expression) => {
                let value = self.evaluate(expression, input, frame, state).await?;
                crate::document::duration_from(&value)
                    .map_err(|why| Stop::error(ErrorType::Expression, format!("not a duration: {why}"), frame.pointer))
            }
        }
    }
}
