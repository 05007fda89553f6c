//! Definitions as they are once checked. An [`App`] is immutable: a change makes a new one.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    AppName, McpServer, NanoUsd, OperationName, Plugin, PluginName, PromptTests, SandboxPool, StepOf, ToolUse, Trigger,
    VersionHash, WorkflowDefinition, canonical_json, sha256_hex,
};

/// An application, checked and complete.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name, which is the name of its folder.
    pub name: AppName,
    /// One line for people.
    pub description: String,
    /// Its operations.
    pub operations: BTreeMap<OperationName, Operation>,
    /// Its plugins.
    pub plugins: BTreeMap<PluginName, Plugin>,
    /// Outside MCP servers.
    pub servers: BTreeMap<PluginName, McpServer>,
    /// Which tools its executions may use.
    pub tools: ToolUse,
    /// The sandboxes that work for it, if it has any.
    pub sandbox: Option<SandboxPool>,
    /// What `core.config.get` tells.
    pub config: Map<String, Value>,
    /// Under what other names MCP clients see tools of its plugins: the tool of each.
    pub expose: BTreeMap<String, String>,
    /// Its limits.
    pub limits: Limits,
    /// What calls its operations without a caller, each name once.
    pub triggers: Vec<Trigger>,
    /// Which applications it calls, and which may call it.
    pub security: Security,
}

impl App {
    /// The operations that stand in `app.yaml`: those that people outside are shown and call. What is made of the steps of
    /// workflows is not among them.
    pub fn written_operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(|operation| operation.step.is_none())
    }
}

/// Which applications an application calls, and which may call it. Both sides must say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Those that it may call.
    pub may_call: BTreeSet<AppName>,
    /// Those that may call it.
    pub callable_by: BTreeSet<AppName>,
}

/// What an application may spend on models. No limit where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Money in a day, audits and compilations included.
    pub cost_per_day: Option<NanoUsd>,
    /// Tokens of prompts and answers in a day, audits and compilations included.
    pub tokens_per_day: Option<u64>,
    /// Money in one execution.
    pub cost_per_execution: Option<NanoUsd>,
    /// Tokens of prompts and answers in one execution.
    pub tokens_per_execution: Option<u64>,
}

/// What an application may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest a call may take, from the request's arrival to its answer.
    pub timeout: Duration,
    /// Calls of this application that may run at one time; more are turned away with 503.
    pub concurrency: usize,
    /// Calls that may be made in a minute, at each replica; more are turned away with 429. Any number if `None`.
    pub requests_per_minute: Option<NonZeroU32>,
    /// What it may spend on models.
    pub budget: Budget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            concurrency: 256,
            requests_per_minute: None,
            budget: Budget::default(),
        }
    }
}

/// One operation: a function from JSON to JSON.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name within the application.
    pub name: OperationName,
    /// One line for people and for models.
    pub description: String,
    /// JSON Schema 2020-12 of the input.
    pub input: Arc<Value>,
    /// JSON Schema 2020-12 of the output.
    pub output: Arc<Value>,
    /// Who answers.
    pub implementation: Implementation,
    /// Whether and when code may take over.
    pub optimize: Optimize,
    /// The step of a workflow that it is, if it is one. Such an operation stands in no `app.yaml`: it was made of the step, so
    /// that the oracle can look at it. Nobody outside is shown it or calls it.
    pub step: Option<StepOf>,
}

impl Operation {
    /// The version of this operation when `model` is the model behind its prompt's alias (empty for a component).
    pub fn version(&self, model: &str) -> VersionHash {
        let implementation = match &self.implementation {
            Implementation::Prompt(prompt) => prompt.version_parts(model),
            Implementation::Component { digest, .. } => serde_json::json!({ "component": digest }),
            Implementation::Worker(told) => serde_json::json!({ "worker": **told }),
            Implementation::Workflow(workflow) => serde_json::json!({ "workflow": workflow.version }),
        };
        let parts = serde_json::json!({
            "input": *self.input, "output": *self.output, "implementation": implementation,
        });
        VersionHash::from(sha256_hex(canonical_json(&parts)))
    }
}

/// Who answers an operation as it is defined.
#[derive(Debug, Clone)]
pub enum Implementation {
    /// A language model, asked with a prompt. The oracle may put code in front of it.
    Prompt(Arc<Prompt>),
    /// A component written by hand, of the world `nexus:operation/operation`.
    Component {
        /// Its path within the application's folder, where its bytes are.
        path: String,
        /// SHA-256 of the component, hexadecimal.
        digest: String,
    },
    /// A program in one of the application's sandboxes, which is told this beside the input.
    Worker(Arc<Value>),
    /// A workflow, which the host's own program in a sandbox walks.
    Workflow(Arc<WorkflowDefinition>),
}

/// A prompt template in the `.prompt.yml` form.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Its path within the application's folder.
    pub path: String,
    /// Its title.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The alias of a model; the server's settings say what stands behind it.
    pub model: String,
    /// How the model is asked.
    pub parameters: ModelParameters,
    /// What is sent, each content a minijinja template over `input` and, by their names, the fields of an input that has
    /// some.
    pub messages: Vec<MessageTemplate>,
    /// Examples, sent before the last message of the user: each input put in there, and its answer.
    pub examples: Vec<PromptExample>,
    /// What it is tested with.
    pub tests: Arc<PromptTests>,
}

impl Prompt {
    /// All that makes it another prompt where it changes, `model` being what stands behind its alias.
    pub fn version_parts(&self, model: &str) -> Value {
        let mut parts = serde_json::json!({
            "model": model,
            "parameters": self.parameters,
            "messages": self.messages,
        });
        // Prompts without examples keep the version that they had before there were any.
        if !self.examples.is_empty() {
            parts["examples"] = serde_json::json!(self.examples);
        }
        parts
    }
}

/// An input and the answer that it should have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptExample {
    /// The input.
    pub input: Value,
    /// The answer.
    pub output: Value,
}

/// Sampling settings of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelParameters {
    /// 0 to 2; the provider's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most tokens of an answer.
    #[serde(default, alias = "max_tokens", skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// 0 to 1; the provider's default where absent.
    #[serde(default, alias = "top_p", skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The instructions.
    System,
    /// The caller.
    User,
    /// The model.
    Assistant,
}

/// One message of a prompt, not rendered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageTemplate {
    /// Who speaks.
    pub role: Role,
    /// A minijinja template.
    pub content: String,
}

/// One message as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
}

/// Whether code may take over from the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizeMode {
    /// Compile and switch when the checks hold.
    Auto,
    /// Say that it would be worth it; compile only by hand.
    Recommend,
    /// Never.
    Off,
}

/// When code may take over from the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Optimize {
    /// Who decides.
    pub mode: OptimizeMode,
    /// The least share of handled inputs on which code and model must agree, over 0.5 and up to 1.
    pub agreement: f64,
    /// Distinct inputs that must have been answered before code is written; at least 30.
    pub min_inputs: usize,
}

impl Default for Optimize {
    fn default() -> Self {
        Self { mode: OptimizeMode::Recommend, agreement: 0.98, min_inputs: 100 }
    }
}
