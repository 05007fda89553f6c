//! Workflows as they are once checked.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{OperationName, Prompt};

/// A workflow of an application, checked and complete.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowDefinition {
    /// The document's path within the application's folder.
    pub path: String,
    /// The document.
    pub document: Arc<Value>,
    /// SHA-256, in hexadecimal, of the document as canonical JSON.
    pub digest: String,
    /// SHA-256, in hexadecimal, of the document and of all prompts and schemas that its tasks name.
    pub version: String,
    /// `document.namespace`, `document.name` and `document.version`: by what other workflows of the application run it.
    pub reference: (String, String, String),
    /// The operations made of its tasks `call: prompt`, by the tasks' JSON Pointers in the document.
    pub prompts: BTreeMap<String, OperationName>,
    /// Its tasks `call: agent`, by their JSON Pointers in the document.
    pub agents: BTreeMap<String, AgentTask>,
    /// Whether it has a task `listen`.
    pub listens: bool,
    /// What becomes of calls that were begun and whose end nobody knows, because a host died, by the JSON Pointers of
    /// their tasks. [`InterruptedPolicy::Retry`] where none is said.
    pub interrupted: BTreeMap<String, InterruptedPolicy>,
}

/// What files a task `call: agent` names, read.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentTask {
    /// The prompt with which it begins, if it names one.
    pub prompt: Option<Arc<Prompt>>,
    /// JSON Schema 2020-12 of its answer, if it names one.
    pub output: Option<Arc<Value>>,
}

/// What becomes of a call that was begun and whose end nobody knows. Said by a task in `metadata.interrupted`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterruptedPolicy {
    /// It is made again with the same idempotency key: who honours the key has the effect once.
    #[default]
    Retry,
    /// It is made again under a new key: the effect is had at least once.
    RetryAnew,
    /// It is not made again, and fails with an error of the type `runtime` and the status 409: the effect is had at most
    /// once.
    Fail,
}

/// The step of a workflow that an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOf {
    /// The operation that has the workflow.
    pub operation: OperationName,
    /// The JSON Pointer of the task in the document.
    pub pointer: String,
}
