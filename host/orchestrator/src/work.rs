//! What the host and the program say to each other about an execution of a workflow.

use nexus_workflow::{Decision, Grants, Limits, Moment, Outcome, Progress, WorkflowError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The tools of the host that every program has.
pub(crate) const NEXT: &str = "core.work.next";
pub(crate) const DOCUMENT: &str = "core.work.document";
pub(crate) const JOURNAL: &str = "core.work.journal";
pub(crate) const PERFORM: &str = "core.work.perform";
pub(crate) const DECIDE: &str = "core.work.decide";
pub(crate) const STEP: &str = "core.work.step";
pub(crate) const FINISH: &str = "core.work.finish";

/// An execution of a workflow, as the host gives it.
#[derive(Debug, Deserialize)]
pub(crate) struct Given {
    /// Its id.
    pub(crate) execution: String,
    pub(crate) definition: Definition,
    /// Its input.
    #[serde(default)]
    pub(crate) input: Value,
    /// The first part of its journal.
    #[serde(default)]
    pub(crate) journal: Vec<Record>,
    /// What to ask for the next part with, if there is one.
    #[serde(default)]
    pub(crate) journal_next: Option<Value>,
}

/// What is to be run, and how it begins.
#[derive(Debug, Deserialize)]
pub(crate) struct Definition {
    pub(crate) workflow: Named,
    pub(crate) start: Beginning,
    #[serde(default)]
    pub(crate) grants: Grants,
}

/// SHA-256 of a document, by which it is known.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) digest: String,
}

/// The document of an execution.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    /// Nothing if the execution is over.
    #[serde(default)]
    pub(crate) document: Option<Value>,
}

/// What of a [`nexus_workflow::Start`] is neither the execution's id nor its input.
#[derive(Debug, Deserialize)]
pub(crate) struct Beginning {
    pub(crate) at: Moment,
    #[serde(default)]
    pub(crate) runtime: Option<Value>,
    #[serde(default)]
    pub(crate) limits: Limits,
}

/// A part of a journal.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    pub(crate) journal: Vec<Record>,
    /// What to ask for the next part with, if there is one.
    #[serde(default)]
    pub(crate) journal_next: Option<Value>,
}

/// What is written down of a step.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) step: String,
    #[serde(default)]
    pub(crate) outcome: Option<Outcome>,
    #[serde(default)]
    pub(crate) decision: Option<Decision>,
}

/// What the host says to an effect.
#[derive(Debug, Deserialize)]
pub(crate) struct Performed {
    #[serde(default)]
    pub(crate) outcome: Option<Outcome>,
    /// The execution waits for something: it comes again when that is there.
    #[serde(default)]
    pub(crate) suspended: bool,
    /// The execution is over.
    #[serde(default)]
    pub(crate) cancelled: bool,
}

/// What the host says to a decision.
#[derive(Debug, Deserialize)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
}

/// A step, as people who watch are told of it.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) step: String,
    #[serde(flatten)]
    pub(crate) progress: Progress,
}

/// Why an execution is left before its end.
#[derive(Debug, Clone)]
pub(crate) enum Left {
    /// It is for the host to go on with: it waits, or is over.
    ToHost,
    /// It cannot be gone on with.
    Failed(WorkflowError),
}
