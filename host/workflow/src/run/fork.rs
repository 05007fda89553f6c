//! Tasks at the same time.

use std::{sync::Arc, task::Poll};

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value};

use super::{
    kinds::Done,
    scope::{Run, State, Stop},
};
use crate::{
    document::{Flow, TaskList},
    effects::Decision,
    step::StepId,
};

/// How a branch ended.
struct BranchEnd {
    result: Result<(Value, Flow), Stop>,
    state: State,
}

type Branch<'r> = BoxFuture<'r, BranchEnd>;

impl Run<'_> {
    /// Runs the branches; the list of their outputs, or the output of the first to succeed.
    ///
    /// What ends a `fork` before all its branches have ended (one that wins, fails or ends the workflow) is a decision that the port
    /// writes down: a replay runs that branch alone, so that it begins no effect of the others again. Each branch has
    /// a context of its own; [`merged`] says what becomes of them.
    pub(super) async fn fork(
        &self,
        branches: &TaskList,
        compete: bool,
        input: &Value,
        at: &StepId,
        state: &mut State,
    ) -> Done {
        let list = at.list("fork").list("branches");
        let ids: Vec<StepId> =
            branches.tasks.iter().enumerate().map(|(index, task)| list.task(index, &task.name, 0)).collect();
        let begin = |index: usize| -> Option<Branch<'_>> {
            let (task, id) = (branches.tasks.get(index)?, ids.get(index)?);
            let (input, mut state) = (input.clone(), state.clone());
            let run = async move {
                let result = self.task(task, input, id, &mut state).await;
                BranchEnd { result, state }
            };
            Some(run.boxed())
        };
        if let Some(decision) = self.port().recall(at).await {
            let Some(branch) = begin(decision.branch()) else {
                return Err(Stop::bound("the journal names a branch that is not there", at.pointer()));
            };
            let end = branch.await;
            return decided(end, state);
        }
        let mut running: Vec<Option<Branch<'_>>> = (0..branches.tasks.len()).map(begin).collect();
        let mut ended: Vec<Option<BranchEnd>> = running.iter().map(|_| None).collect();
        let first = all_or_decisive(&mut running, &mut ended, compete).await;
        if let Some(decision) = first {
            let decision = self.port().decide(at, decision).await;
            let end = match ended.get_mut(decision.branch()).and_then(Option::take) {
                Some(end) => end,
                None => match running.get_mut(decision.branch()).and_then(Option::take) {
                    Some(branch) => branch.await,
                    None => return Err(Stop::bound("the journal names a branch that is not there", at.pointer())),
                },
            };
            drop(running);
            return decided(end, state);
        }
        drop(running);
        joined(ended.into_iter().flatten().collect(), compete, state)
    }
}

/// Waits until a branch decides the `fork`, or all have ended. Of branches that end in one turn, the earliest decides.
async fn all_or_decisive(
    running: &mut [Option<Branch<'_>>],
    ended: &mut [Option<BranchEnd>],
    compete: bool,
) -> Option<Decision> {
    std::future::poll_fn(|context| {
        for (branch, end) in running.iter_mut().zip(ended.iter_mut()) {
            if let Some(future) = branch
                && let Poll::Ready(done) = future.poll_unpin(context)
            {
                *end = Some(done);
                *branch = None;
            }
        }
        let decisive = ended.iter().enumerate().filter_map(|(index, end)| {
            let end = end.as_ref()?;
            let decision = match &end.result {
                Ok((_, Flow::End)) => Decision::Ended(index),
                Ok(_) if compete => Decision::Won(index),
                Err(Stop::Error(_)) if compete => return None,
                Err(_) => Decision::Failed(index),
                Ok(_) => return None,
            };
            Some(((end.state.clock, index), decision))
        });
        match decisive.min_by_key(|(order, _)| *order) {
            Some((_, decision)) => Poll::Ready(Some(decision)),
            None if running.iter().all(Option::is_none) => Poll::Ready(None),
            None => Poll::Pending,
        }
    })
    .await
}

/// The branch that decided, as the end of the `fork`.
fn decided(end: BranchEnd, state: &mut State) -> Done {
    state.clock = state.clock.max(end.state.clock);
    let (value, flow) = end.result?;
    state.context = end.state.context;
    Ok((value, (flow == Flow::End).then_some(Flow::End)))
}

/// All branches, as the end of the `fork`. Where they compete, all have failed: the error of the first counts.
fn joined(ends: Vec<BranchEnd>, compete: bool, state: &mut State) -> Done {
    let mut outputs = Vec::with_capacity(ends.len());
    let before = Arc::clone(&state.context);
    for end in ends {
        state.clock = state.clock.max(end.state.clock);
        let (value, _) = end.result?;
        outputs.push(value);
        if end.state.context != before {
            state.context = Arc::new(merged(&before, &state.context, &end.state.context));
        }
    }
    Ok((if compete { Value::Null } else { Value::Array(outputs) }, None))
}

/// The context after another branch: the fields that the branch changed are changed, or, if a context is no object, the
/// branch's context. So branches that export to different fields do not undo each other, and of two that export to the same
/// the later in the document stays.
fn merged(before: &Value, so_far: &Value, branch: &Value) -> Value {
    let (Value::Object(old), Value::Object(so_far), Value::Object(new)) = (before, so_far, branch) else {
        return branch.clone();
    };
    let mut fields: Map<String, Value> = so_far.clone();
    fields.retain(|name, _| !old.contains_key(name) || new.contains_key(name));
    for (name, value) in new {
        if old.get(name) != Some(value) {
            fields.insert(name.clone(), value.clone());
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merged;

    #[test]
    fn branches_change_the_fields_that_they_export() {
        let before = json!({"a": 1, "b": 1, "c": 1});
        let first = merged(&before, &before, &json!({"a": 2, "b": 1, "c": 1}));
        assert_eq!(merged(&before, &first, &json!({"a": 1, "b": 2, "d": 3})), json!({"a": 2, "b": 2, "d": 3}));
        assert_eq!(merged(&before, &first, &json!(5)), json!(5));
    }
}
