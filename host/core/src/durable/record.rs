//! What is written down of executions, and where.

use nexus_model::{AppName, Cause, ExecutionId, Key, OperationName, Parent, Revision, Usage, VersionHash};
use nexus_workflow::{Decision, Moment, Outcome, WorkflowError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

/// What an execution began with. Never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// Its operation.
    pub operation: OperationName,
    /// The application's definition that it goes by to its end.
    pub revision: Revision,
    /// The operation's version in it.
    pub version: VersionHash,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// The input.
    pub input: Value,
    /// What called, where no caller did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The step of another execution that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The place in the application's log of events before the first that it can listen to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_after: Option<String>,
    /// The execution that it does again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayOf>,
}

impl Begun {
    /// When it began, as the workflow knows it.
    pub(super) fn at(&self) -> Moment {
        Moment(i64::try_from(self.started_at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0))
    }
}

/// An execution that is done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayOf {
    /// The execution.
    pub execution: ExecutionId,
    /// Where its effects come from.
    pub effects: ReplayEffects,
}

/// Where the effects of a replay come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayEffects {
    /// Prompts and agents ask models again; what else had an effect, or came from outside, is what the execution recorded. What it
    /// did not record fails.
    #[default]
    Recorded,
    /// Everything is done again.
    Live,
}

/// Who has an execution that has not ended, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    /// The host that has it; nobody if it was given back.
    pub(super) holder: Option<String>,
    /// Grows with each host that takes it: what an earlier one writes is refused.
    pub(super) epoch: u64,
    /// It waits, in no sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) parked: Option<ParkedFor>,
}

/// What an execution waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ParkedFor {
    /// Until then at the latest.
    pub(super) until: Option<Moment>,
    /// Whether an event may come first.
    pub(super) listens: bool,
}

/// What is written down of one step that has an effect, or decides something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the journal. Numbers grow, with gaps: what only waited or had just begun when a host died was not written down.
    pub number: u64,
    /// The step: its name in the execution.
    pub step: String,
    /// Its task: a JSON Pointer into the document.
    pub pointer: String,
    /// What kind of effect it is, such as `tool`.
    pub kind: String,
    /// Of what, such as the name of the tool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// SHA-256 of the effect, in hexadecimal: two effects of the same hash are the same.
    pub effect: String,
    /// When it was begun first.
    pub begun: Moment,
    /// How often it was begun, as far as that is written down: of what is made again under the same key only what took a while is.
    pub begun_times: u32,
    /// How it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What was decided, if it decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// How many had ended when it had, itself among them.
    #[serde(default)]
    pub ended: u64,
    /// What models used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The execution that it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
    /// Which path answered, if it is a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<nexus_model::ServedBy>,
    /// The place of the event that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

/// All of an execution, once it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// How it began.
    pub begun: Begun,
    /// Its steps, in the order in which they were begun first.
    pub records: Vec<Record>,
    /// When it ended.
    pub ended: Moment,
    /// How.
    pub result: Result<Value, WorkflowError>,
    /// What models used in all of it.
    pub usage: Usage,
}

/// Executions that have not ended.
pub(super) fn open_key(app: &AppName, id: &str) -> Key {
    Key::of_app(app, "open", id)
}

/// What they began with.
pub(super) fn begun_key(app: &AppName, id: ExecutionId) -> Key {
    Key::of_app(app, "begun", id.to_string())
}

/// Their journals: one record a key, in their order.
pub(super) fn journal_key(app: &AppName, id: ExecutionId, number: u64) -> Key {
    Key::of_app(app, "journal", format!("{id}/{number:08}"))
}

/// What all keys of a journal begin with.
pub(super) fn journal_prefix(app: &AppName, id: ExecutionId) -> Key {
    Key::of_app(app, "journal", format!("{id}/"))
}

/// Those that have ended.
pub(super) fn history_key(app: &AppName, id: ExecutionId) -> Key {
    Key::of_app(app, "history", id.to_string())
}
