//! Outside MCP servers of an application, and what it lets its executions use.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{HttpGrant, PluginName, SecretName, TcpDestination};

/// The longest that a call of an outside server's tool may take, if the definition does not say.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(30);

/// An outside MCP server of an application, as `app.yaml` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct McpServer {
    /// Its name, which is the namespace of its tools; no plugin of the application has it.
    pub name: PluginName,
    /// Where it is, or how it is started.
    pub at: McpServerAt,
    /// Who has one connection together.
    pub share: Share,
    /// The longest that a call may take.
    pub timeout: Duration,
    /// The tools that were approved, whole, by name; `None` as long as none were.
    pub approved: Option<Arc<BTreeMap<String, Value>>>,
}

impl McpServer {
    /// The file of the application's folder that holds the approved tools.
    pub fn approved_file(name: &PluginName) -> String {
        format!("mcp/{name}.tools.json")
    }
}

/// Where an MCP server is, or how it is started.
#[derive(Debug, Clone, PartialEq)]
pub enum McpServerAt {
    /// A program in a container.
    Image(ServerImage),
    /// A program of the host's operator, who allowed it under this name in the settings. It is not isolated.
    Host(String),
    /// A server elsewhere, over streamable HTTP.
    Url {
        /// Its address.
        url: String,
        /// How the host proves who it is.
        auth: Option<ServerAuth>,
    },
}

/// An MCP server in a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerImage {
    /// The image: a reference with its digest, or an image's id.
    pub image: String,
    /// What is run in it; the image's own, if empty.
    #[serde(default)]
    pub command: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// What it may use.
    #[serde(default)]
    pub grants: ServerGrants,
}

/// A value of a server's environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// This text.
    Text(String),
    /// The value of a secret of the application.
    Secret {
        /// The secret's name.
        secret: SecretName,
    },
}

/// What a server in a container may use. What is not granted is denied.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerGrants {
    /// The origins that it may reach, through a proxy of the host's.
    pub http: BTreeSet<String>,
    /// Where else it may connect to. It does so by these names, as if there were nothing in between.
    pub tcp: BTreeSet<TcpDestination>,
    /// Where a folder of its own is, that outlives the container.
    pub volume: Option<String>,
}

/// Who has one connection to a server together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// All executions of the application.
    #[default]
    App,
    /// All applications that define the same server.
    Host,
}

/// How the host proves to a server who it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerAuth {
    /// With a secret of the application as a bearer token.
    Bearer {
        /// The secret's name.
        secret: SecretName,
    },
    /// OAuth 2.1, as itself.
    ClientCredentials {
        /// The client's id.
        client_id: String,
        /// The name of the secret that is the client's.
        secret: SecretName,
        /// What is asked for; what the server asks for, if empty.
        #[serde(default)]
        scopes: Vec<String>,
    },
    /// OAuth 2.1, as a person who logs in with `nexus mcp login`.
    Login {
        /// The client's id; the client registers itself, if left out.
        #[serde(default)]
        client_id: Option<String>,
        /// What is asked for; what the server asks for, if empty.
        #[serde(default)]
        scopes: Vec<String>,
    },
}

/// Which tools executions of an application may use, beside those of its operations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolUse {
    /// Names of tools, with `*` at the end for all that begin so. What is not named is denied.
    pub allow: Vec<String>,
    /// The origins that `core.http.request` and `core.openapi.call` may send requests to.
    pub http: Vec<HttpGrant>,
}

/// The sandboxes that work for an application.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxPool {
    /// The image: a reference with its digest, or an image's id.
    pub image: String,
    /// What is run in it; the image's own, if empty.
    pub command: Vec<String>,
    /// Sandboxes that there always are.
    pub min: usize,
    /// The most that there are.
    pub max: usize,
    /// Sandboxes that wait for work, beside those that have some.
    pub warm: usize,
    /// Executions that one has at one time.
    pub per_sandbox: usize,
    /// After how long without work one is stopped.
    pub idle: Duration,
    /// Its memory, in MiB.
    pub memory_mib: u64,
}
