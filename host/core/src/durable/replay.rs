//! Does an execution again, on any revision, and says what came out otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use nexus_model::{AppName, ExecutionId, Revision, StoreError, Usage};
use nexus_workflow::{Call, Effect, NexusFunction, Outcome};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    BeginError, Durable, History, New, ReplayEffects, ReplayOf, Status,
    drive::runtime,
    perform::Had,
    record::Record,
    run::{Details, Run},
    workflow_of,
};

/// Why an execution is not done again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is not there any more, or has not ended, or was none of a workflow.
    #[error("there is no execution `{0}` of a workflow that has ended")]
    Unknown(ExecutionId),
    /// The application has no such revision.
    #[error("the application has no revision `{0}` without faults")]
    UnknownRevision(Revision),
    /// The revision has no such operation, or it is no workflow there.
    #[error("the operation `{operation}` is no workflow in the revision `{revision}`")]
    NoWorkflow {
        /// The operation.
        operation: String,
        /// The revision.
        revision: Revision,
    },
    /// The input is none of the operation in that revision.
    #[error("the input does not satisfy the operation's schema in the revision `{revision}`: {first}")]
    Input {
        /// The revision.
        revision: Revision,
        /// What is wrong first.
        first: String,
    },
    /// There is no room for it.
    #[error("{0}")]
    Busy(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a replay has otherwise than the execution that it did again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The execution that was done again.
    pub of: ExecutionId,
    /// Whether the results are the same: equal outputs, or equal errors.
    pub same_result: bool,
    /// The output before; nothing if it failed.
    pub output_before: Option<Value>,
    /// The output of the replay; nothing if it failed.
    pub output_after: Option<Value>,
    /// What models used before.
    pub usage_before: Usage,
    /// What they used in the replay.
    pub usage_after: Usage,
    /// Steps that are not the same, in their order.
    pub steps: Vec<StepDifference>,
}

/// A step that a replay has otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepDifference {
    /// The step.
    pub step: String,
    /// What kind of effect it is.
    pub kind: String,
    /// Of what.
    pub name: String,
    /// `added`, `removed`, `asked` (asked otherwise) or `answered` (asked the same, answered otherwise).
    pub change: &'static str,
    /// How it ended before.
    pub before: Option<Value>,
    /// How it ended in the replay.
    pub after: Option<Value>,
}

impl Durable {
    /// Begins to do an execution again, on a revision of its application.
    pub(crate) async fn replay(
        self: &Arc<Self>,
        app: &AppName,
        id: ExecutionId,
        revision: Option<Revision>,
        effects: ReplayEffects,
    ) -> Result<(ExecutionId, watch::Receiver<Status>), ReplayError> {
        let history = self.history(app, id).await?.ok_or(ReplayError::Unknown(id))?;
        let serving = self.registry.application(app.as_str()).map(|application| application.revision.clone());
        let revision = revision.or(serving).unwrap_or_else(|| history.begun.revision.clone());
        let application = self.registry.application_at(app, &revision).await;
        let application = application.map_err(|_| ReplayError::UnknownRevision(revision.clone()))?;
        let operation = &history.begun.operation;
        let none = || ReplayError::NoWorkflow { operation: operation.to_string(), revision: revision.clone() };
        let entry = application.operations.get(operation).filter(|entry| workflow_of(entry).is_some());
        let entry = entry.cloned().ok_or_else(none)?;
        let input = history.begun.input;
        if let Some(first) = nexus_definitions::violations(&entry.input, &input).first() {
            return Err(ReplayError::Input { revision, first: first.message.clone() });
        }
        let again = ExecutionId(Uuid::now_v7());
        let replay = Some(ReplayOf { execution: id, effects });
        let new = New { id: again, application, entry, input, cause: None, parent: None, replay };
        let status = self.begin(new).await.map_err(|error| match error {
            BeginError::Store(error) => ReplayError::Store(error),
            BeginError::TooMany => ReplayError::Busy(error.to_string()),
        })?;
        Ok((again, status))
    }

    /// What a replay that has ended has otherwise; nothing for an execution that is none.
    pub(crate) async fn comparison(&self, app: &AppName, id: ExecutionId) -> Result<Option<Comparison>, StoreError> {
        let Some(after) = self.history(app, id).await? else { return Ok(None) };
        let Some(replay) = &after.begun.replay else { return Ok(None) };
        let before = self.history(app, replay.execution).await?;
        Ok(before.map(|before| compare(replay.execution, &before, &after)))
    }

    /// What a step of a replay is told from the record of the execution that it does again; nothing for what is done again.
    pub(super) async fn recorded(&self, run: &Run, of: ExecutionId, record: &Record, effect: &Effect) -> Option<Had> {
        match effect {
            Effect::Wait(_)
            | Effect::Call(
                Call::AgentStart { .. } | Call::AgentTurn(_) | Call::Function { function: NexusFunction::Prompt, .. },
            ) => return None,
            _ => {}
        }
        let app = &run.application.app.name;
        let read = || async {
            Ok::<_, StoreError>(self.history(app, of).await?.map(|history| history.records).unwrap_or_default())
        };
        let records = match run.replayed.get_or_try_init(read).await {
            Ok(records) => records,
            Err(error) => return Some(Had::of(Err(runtime(error.to_string()).with_status(503)))),
        };
        let same = |other: &&Record| other.effect == record.effect && other.outcome.is_some();
        let known = records.iter().filter(same).find(|other| other.step == record.step);
        let known = known.or_else(|| records.iter().find(same));
        if let Some(Record { outcome: Some(Outcome { result, .. }), event, .. }) = known {
            let details = Details { event: event.clone(), ..Details::default() };
            return Some(Had { result: result.clone(), details });
        }
        if let Effect::Emit(event) = effect {
            return Some(Had::of(Ok(event.clone())));
        }
        let what = format!("{} {}", record.kind, record.name);
        let why =
            format!("the execution that is done again did not record this: {}; `effects: live` has it", what.trim());
        Some(Had::of(Err(runtime(why).with_status(424))))
    }
}

fn compare(of: ExecutionId, before: &History, after: &History) -> Comparison {
    let by_step = |history: &History| -> BTreeMap<String, Record> {
        history.records.iter().map(|record| (record.step.clone(), record.clone())).collect()
    };
    let (then, now) = (by_step(before), by_step(after));
    let mut seen = BTreeSet::new();
    let order = after.records.iter().chain(&before.records).map(|record| record.step.as_str());
    let steps = order.filter(|step| seen.insert(*step)).filter_map(|step| difference(then.get(step), now.get(step)));
    Comparison {
        of,
        same_result: before.result == after.result,
        output_before: before.result.as_ref().ok().cloned(),
        output_after: after.result.as_ref().ok().cloned(),
        usage_before: before.usage,
        usage_after: after.usage,
        steps: steps.collect(),
    }
}

fn difference(before: Option<&Record>, after: Option<&Record>) -> Option<StepDifference> {
    let told = |record: &Record| -> Option<Value> {
        let Outcome { result, .. } = record.outcome.as_ref()?;
        match result {
            Ok(value) => Some(value.clone()),
            Err(failure) => serde_json::to_value(failure).ok(),
        }
    };
    let change = match (before, after) {
        (None, Some(_)) => "added",
        (Some(_), None) => "removed",
        (Some(one), Some(other)) if one.effect != other.effect => "asked",
        (Some(one), Some(other)) if told(one) != told(other) || one.decision != other.decision => "answered",
        (None, None) | (Some(_), Some(_)) => return None,
    };
    let shown = after.or(before)?;
    Some(StepDifference {
        step: shown.step.clone(),
        kind: shown.kind.clone(),
        name: shown.name.clone(),
        change,
        before: before.and_then(told),
        after: after.and_then(told),
    })
}

#[cfg(test)]
mod tests {
    use nexus_workflow::Moment;
    use serde_json::json;

    use super::*;

    fn record(step: &str, effect: &str, answer: Value) -> Record {
        let outcome = Some(Outcome { at: Moment(1), result: Ok(answer) });
        let (effect, text) = (effect.to_owned(), String::new);
        Record {
            number: 0,
            step: step.to_owned(),
            pointer: text(),
            kind: "tool".to_owned(),
            name: text(),
            effect,
            begun: Moment(0),
            begun_times: 1,
            outcome,
            decision: None,
            ended: 1,
            usage: None,
            execution: None,
            path: None,
            event: None,
        }
    }

    #[test]
    fn what_a_replay_has_otherwise_is_told_step_by_step() {
        let change = |before: Option<Record>, after: Option<Record>| {
            difference(before.as_ref(), after.as_ref()).map(|difference| difference.change)
        };
        let one = record("/do/0/a", "x", json!(1));
        assert_eq!(change(Some(one.clone()), Some(Record { begun: Moment(9), ..one.clone() })), None);
        assert_eq!(change(Some(one.clone()), Some(record("/do/0/a", "x", json!(2)))), Some("answered"));
        assert_eq!(change(Some(one.clone()), Some(record("/do/0/a", "y", json!(1)))), Some("asked"));
        assert_eq!(change(None, Some(one.clone())), Some("added"));
        assert_eq!(change(Some(one), None), Some("removed"));
    }
}
