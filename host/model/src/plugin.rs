//! Plugins: components written by people whose exported functions are tools; what they may use, and the port to them.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ComponentFault, GuestServices, LoadError, PluginName, SecretName};

/// A plugin of an application, as `app.yaml` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    /// Its name, which is the namespace of its tools.
    pub name: PluginName,
    /// The path of the component within the application's folder.
    pub path: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Where the component came from, if it was not made here: an OCI reference with its digest.
    pub source: Option<String>,
    /// What it may use.
    pub grants: Grants,
}

/// What a component may use beyond inert WASI. What is not granted is denied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a grant of its own")]
pub struct Grants {
    /// `wasi:http/outgoing-handler`, to these origins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// `wasi:config/store`, with these values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<BTreeMap<String, String>>,
    /// `wasi:keyvalue`, on the application's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Access>,
    /// `wasi:logging/logging`, to the log of the host.
    #[serde(skip_serializing_if = "is_false")]
    pub logging: bool,
    /// `wasi:clocks` that go; without the grant they stand still.
    #[serde(skip_serializing_if = "is_false")]
    pub clocks: bool,
    /// `wasi:random` that is random; without the grant it repeats itself.
    #[serde(skip_serializing_if = "is_false")]
    pub random: bool,
    /// A folder of the application's own, open at `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<Access>,
    /// `nexus:host/tools`: the tools that it may call, with `*` at the end for all that begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// `nexus:host/events`: the types of events that it may publish, with `*` at the end for all that begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// `nexus:host/llm`: the models that it may ask, by alias.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// `nexus:mcp/client`: the one who called the tool may be told of it and asked.
    #[serde(skip_serializing_if = "is_false")]
    pub caller: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How far something may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It may be read.
    Read,
    /// It may be read and changed.
    ReadWrite,
}

/// An origin that a component may send requests to: as text, or with a credential that the host adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "HttpGrantForm", into = "HttpGrantForm")]
pub struct HttpGrant {
    /// Scheme, host and port as the origin of a URL (RFC 6454): `https://api.example.com`.
    pub origin: String,
    /// What the host adds to each request; the component never sees it.
    pub credential: Option<Credential>,
}

/// A secret that the host puts into a field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The field: `authorization` by default.
    #[serde(default = "authorization")]
    pub header: String,
    /// What stands before the secret: `Bearer ` by default, if the field is `authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The secret's name.
    pub secret: SecretName,
}

fn authorization() -> String {
    "authorization".to_owned()
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum HttpGrantForm {
    Origin(String),
    WithCredential { origin: String, credential: Credential },
}

impl From<HttpGrantForm> for HttpGrant {
    fn from(form: HttpGrantForm) -> Self {
        match form {
            HttpGrantForm::Origin(origin) => Self { origin, credential: None },
            HttpGrantForm::WithCredential { origin, credential } => Self { origin, credential: Some(credential) },
        }
    }
}

impl From<HttpGrant> for HttpGrantForm {
    fn from(grant: HttpGrant) -> Self {
        match grant.credential {
            None => Self::Origin(grant.origin),
            Some(credential) => Self::WithCredential { origin: grant.origin, credential },
        }
    }
}

/// A function of a component, as a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSignature {
    /// `function`, or `interface.function` where the function is in an exported interface.
    pub name: String,
    /// What the component's WIT says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema 2020-12 of the arguments: an object with one property per parameter.
    pub input: Arc<Value>,
    /// JSON Schema 2020-12 of the result; `None` where the function returns nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Arc<Value>>,
    /// Whether the result is content in the words of MCP: a `list<content>` of `nexus:mcp/types`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub content: bool,
}

/// What a component is, found without running it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginFacts {
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// Its exported functions, by name.
    pub tools: Vec<ToolSignature>,
    /// Its exported functions that are no tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// The interfaces that it imports, with their versions.
    pub imports: Vec<String>,
    /// The least grants without which it cannot be linked.
    pub grants: Vec<GrantNeed>,
    /// Its world as WIT text.
    pub wit: String,
    /// What it offers to MCP clients beside tools.
    #[serde(default, skip_serializing_if = "Offers::is_empty")]
    pub offers: Offers,
}

/// What a component offers to MCP clients beside tools: which interfaces of `nexus:mcp` it exports. Their functions are no
/// tools; [`LinkedPlugin::call`] has them as `interface#function`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// [`Offers::RESOURCES`].
    pub resources: bool,
    /// [`Offers::PROMPTS`].
    pub prompts: bool,
}

impl Offers {
    /// The interface of a plugin that has resources.
    pub const RESOURCES: &'static str = "nexus:mcp/resources@0.1.0";
    /// The interface of a plugin that has prompts.
    pub const PROMPTS: &'static str = "nexus:mcp/prompts@0.1.0";

    /// Whether there are only tools.
    pub fn is_empty(&self) -> bool {
        !self.resources && !self.prompts
    }
}

/// An exported function that is no tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `function`, or `interface#function`.
    pub function: String,
    /// Why.
    pub reason: String,
}

/// A grant that a component needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantNeed {
    /// The interface that is imported.
    pub import: String,
    /// The lines below `grants:` that would grant it, as YAML.
    pub yaml: String,
}

/// What a tool said.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolOutcome {
    /// Its result: `null` where it returns nothing.
    Value(Value),
    /// The `err` of its `result`: the tool's own error, which is not a fault of the component.
    Error(Value),
}

/// Why a tool gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolFault {
    /// The plugin has no such tool.
    #[error("there is no tool `{0}`")]
    Unknown(String),
    /// The arguments do not fit the tool's types.
    #[error("{path}: expected {expected}, got {got}", path = if path.is_empty() { "the arguments" } else { path })]
    Arguments {
        /// Where: `lines[3].qty`.
        path: String,
        /// What the type is.
        expected: String,
        /// What is there, cut short.
        got: String,
    },
    /// The component could not be made ready.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The component failed.
    #[error(transparent)]
    Component(#[from] ComponentFault),
}

/// A plugin that is ready: its component is linked with what it was granted.
#[async_trait]
pub trait LinkedPlugin: Send + Sync + fmt::Debug {
    /// Calls a tool in a fresh instance. `arguments` is an object with one property per parameter. Never takes longer than
    /// `deadline`, by more than a tick of the engine.
    async fn call(
        &self,
        tool: &str,
        arguments: &Value,
        services: Arc<dyn GuestServices>,
        deadline: Duration,
    ) -> Result<ToolOutcome, ToolFault>;
}

/// Makes components of plugins ready.
#[async_trait]
pub trait PluginHost: Send + Sync {
    /// What a component is. Costs a compilation (in a limited child process) the first time; after that it is read from
    /// the cache.
    async fn inspect(&self, component: &[u8]) -> Result<Arc<PluginFacts>, LoadError>;

    /// What the component of this digest is, if the cache knows it.
    async fn known(&self, digest: &str) -> Option<Arc<PluginFacts>>;

    /// Links a component with what it is granted.
    async fn link(&self, component: &[u8], grants: &Grants) -> Result<Arc<dyn LinkedPlugin>, LoadError>;
}
