//! Executions of workflows, as they are shown: how they stand, and what was written down of their steps.

use nexus_core::{Comparison, Record, Shown, Status};
use nexus_model::{AppName, ExecutionId};
use nexus_workflow::{Decision, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{CauseView, ExecutionView, ParentView, UsageView};

/// One step of an execution of a workflow that has an effect, or decides something.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Its name in the execution: the same in every replay.
    #[schema(example = "/do/1/classify")]
    pub step: String,
    /// The JSON Pointer of its task in the document.
    pub pointer: String,
    /// What kind of effect it is: `prompt`, `tool`, `turn` (of an agent's model), `http`, `wait`, `listen`, `emit`, …
    #[schema(example = "tool")]
    pub kind: String,
    /// Of what, such as the tool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `begun`, `completed`, `failed` or `decided`.
    #[schema(example = "completed")]
    pub state: String,
    /// When it was begun, as Unix time in milliseconds.
    pub begun_unix_ms: i64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_ms: Option<i64>,
    /// How often it was begun: more than once if a host or a sandbox was lost meanwhile.
    pub begun_times: u32,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Why it failed: problem details, or `"deadline"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Value>,
    /// What models used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// Which path answered, if it is a prompt: `component` or `model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The execution that it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
}

impl From<Record> for StepView {
    fn from(record: Record) -> Self {
        let Record { step, pointer, kind, name, begun, begun_times, outcome, decision, usage, path, execution, .. } =
            record;
        let ended_unix_ms = outcome.as_ref().map(|outcome| outcome.at.0);
        let (state, output, problem) = match (outcome, decision) {
            (Some(Outcome { result: Ok(output), .. }), _) => ("completed", Some(output), None),
            (Some(Outcome { result: Err(failure), .. }), _) => ("failed", None, serde_json::to_value(failure).ok()),
            (None, Some(decision)) => ("decided", Some(decided(decision)), None),
            (None, None) => ("begun", None, None),
        };
        Self {
            step,
            pointer,
            kind,
            name,
            state: state.to_owned(),
            begun_unix_ms: begun.0,
            ended_unix_ms,
            begun_times,
            output,
            problem,
            usage: usage.map(Into::into),
            path: path.map(|path| path.as_str().to_owned()),
            execution: execution.map(|id| id.to_string()),
        }
    }
}

fn decided(decision: Decision) -> Value {
    serde_json::to_value(decision).unwrap_or_default()
}

/// What a replay has otherwise than the execution that it did again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ComparisonView {
    /// The execution that was done again.
    pub of: String,
    /// Whether both have the same output, or the same error.
    pub same_result: bool,
    /// The output before; absent if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_before: Option<Value>,
    /// The output of the replay; absent if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_after: Option<Value>,
    /// What models used before.
    pub usage_before: UsageView,
    /// What they used in the replay.
    pub usage_after: UsageView,
    /// Steps that are not the same, in their order.
    pub steps: Vec<StepDifferenceView>,
}

/// A step that a replay has otherwise.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StepDifferenceView {
    /// The step.
    pub step: String,
    /// What kind of effect it is.
    pub kind: String,
    /// Of what.
    pub name: String,
    /// `added`, `removed`, `asked` (asked otherwise) or `answered` (asked the same, answered otherwise).
    #[schema(example = "answered")]
    pub change: String,
    /// How it ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it ended in the replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl From<Comparison> for ComparisonView {
    fn from(comparison: Comparison) -> Self {
        let steps = comparison.steps.into_iter().map(|step| StepDifferenceView {
            step: step.step,
            kind: step.kind,
            name: step.name,
            change: step.change.to_owned(),
            before: step.before,
            after: step.after,
        });
        Self {
            of: comparison.of.to_string(),
            same_result: comparison.same_result,
            output_before: comparison.output_before,
            output_after: comparison.output_after,
            usage_before: comparison.usage_before.into(),
            usage_after: comparison.usage_after.into(),
            steps: steps.collect(),
        }
    }
}

/// An execution of a workflow with its steps.
pub(super) fn view(app: &AppName, id: ExecutionId, shown: Shown) -> ExecutionView {
    let Shown { begun, status, records, ended } = shown;
    let begun_at = begun.started_at.unix_timestamp_nanos() / 1_000_000;
    let now =
        ended.map_or_else(|| time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000, |at| at.0.into());
    let (output, problem, usage) = match &status {
        Status::Ended(ended) => match &ended.result {
            Ok(output) => (Some(output.clone()), None, Some(ended.usage)),
            Err(error) => (None, serde_json::to_value(error).ok(), Some(ended.usage)),
        },
        _ => (None, None, records.iter().filter_map(|record| record.usage).reduce(|one, other| one + other)),
    };
    let waits_until_unix_ms = match &status {
        Status::Parked(until) => until.map(|until| until.0),
        _ => None,
    };
    ExecutionView {
        id: id.to_string(),
        app: app.to_string(),
        operation: begun.operation.to_string(),
        revision: begun.revision.to_string(),
        version: begun.version.to_string(),
        started_at: begun.started_at,
        duration_us: u64::try_from(now - begun_at).unwrap_or(0).saturating_mul(1_000),
        status: status.as_str().to_owned(),
        waits_until_unix_ms,
        path: nexus_model::ServedBy::Model.as_str().to_owned(),
        fallback: None,
        usage: usage.map(UsageView::from),
        model: None,
        cause: begun.cause.map(CauseView::from),
        parent: begun.parent.map(ParentView::from),
        replay_of: begun.replay.map(|replay| replay.execution.to_string()),
        input: begun.input,
        output,
        error: problem.as_ref().map(|_| status.as_str().to_owned()),
        problem,
        steps: Some(records.into_iter().map(StepView::from).collect()),
        comparison: None,
    }
}
