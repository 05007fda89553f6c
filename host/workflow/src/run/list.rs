//! Tasks, one after the other.

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;

use super::scope::{Run, State, Stop};
use crate::{
    document::{Flow, TaskList},
    step::StepId,
};

/// What a list ended with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The list.
    List,
    /// The workflow.
    Workflow,
}

impl Run<'_> {
    /// Runs the tasks of a list; the last task's output. `at` is the list.
    pub(super) fn list<'r>(
        &'r self,
        list: &'r TaskList,
        input: Value,
        at: &'r StepId,
        state: &'r mut State,
    ) -> BoxFuture<'r, Result<(Value, Ended), Stop>> {
        async move {
            let mut value = input;
            let mut visits = vec![0_u64; list.tasks.len()];
            let mut index = 0;
            while let (Some(task), Some(visit)) = (list.tasks.get(index), visits.get_mut(index)) {
                let id = at.task(index, &task.name, *visit);
                *visit += 1;
                let (output, flow) = self.task(task, value, &id, state).await?;
                value = output;
                match flow {
                    Flow::Continue => index += 1,
                    Flow::Task(next) => index = next,
                    Flow::Exit => break,
                    Flow::End => return Ok((value, Ended::Workflow)),
                }
            }
            Ok((value, Ended::List))
        }
        .boxed()
    }
}
