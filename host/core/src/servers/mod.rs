//! The outside MCP servers of applications: what the definitions want is what the hub knows, and their tools are called within
//! the application's bounds.

mod add;
mod approve;
mod connect;
mod gate;
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nexus_mcp::hub::{HubCall, HubTool, McpHub};
use nexus_model::{
    AppName, CatalogueError, CatalogueTool, McpServer, PluginName, Share, ToolAnswered, canonical_json, sha256_hex,
};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::{
    Core,
    registry::Application,
    tools::{MAX_RESULT_BYTES, ToolScope},
};

pub use self::{
    add::{Addition, ImageMaking},
    approve::{Offer, ServerError, ServerStatus},
};
pub(crate) use self::{connect::Connecting, gate::ServerGate, tokens::VaultTokens};

/// How long a server may take to start and to begin a session.
const CONNECT: Duration = Duration::from_secs(30);

/// A program that the operator lets applications use as an MCP server. It is not isolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
}

/// The outside MCP servers of all applications.
pub(crate) struct Servers {
    pub(crate) hub: McpHub,
    pub(crate) connecting: Connecting,
    making: ImageMaking,
    /// Held while an image is made: one at a time.
    building: Semaphore,
    /// What the hub was told, by key.
    known: Mutex<BTreeMap<String, Told>>,
}

/// What the hub was told of a server.
#[derive(PartialEq)]
struct Told {
    /// The same for servers that are the same, whatever was approved of them.
    print: String,
    approved: Option<Arc<BTreeMap<String, Value>>>,
}

impl Servers {
    pub(crate) fn new(hub: McpHub, connecting: Connecting, making: ImageMaking) -> Self {
        Self { hub, connecting, making, building: Semaphore::new(1), known: Mutex::default() }
    }

    /// Keeps the hub as the definitions want it.
    pub(crate) async fn follow(self: Arc<Self>, core: Core) {
        let mut swaps = core.registry.swaps();
        loop {
            swaps.mark_unchanged();
            self.adjust(&core);
            if swaps.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the hub of what is new, of what is another, and of what is gone.
    pub(crate) fn adjust(&self, core: &Core) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = BTreeSet::new();
        for name in core.registry.names() {
            let Some(application) = core.registry.application(name.as_str()) else { continue };
            for server in application.app.servers.values() {
                let key = key(&name, server);
                if !wanted.insert(key.clone()) {
                    continue;
                }
                let told = Told { print: print(server), approved: server.approved.clone() };
                let before = known.get(&key);
                if before == Some(&told) {
                    continue;
                }
                if before.is_some_and(|before| before.print == told.print) {
                    // A server that runs goes on.
                    let approved = told.approved.as_deref().cloned().unwrap_or_default();
                    if let Err(error) = self.hub.approve(&key, approved) {
                        tracing::error!(app = %name, server = %server.name, %error, "what was approved is not known");
                    }
                    known.insert(key, told);
                    continue;
                }
                match self.connecting.spec(&key, &application.app, server) {
                    Ok(spec) => self.hub.serve(spec),
                    Err(why) => {
                        tracing::error!(app = %name, server = %server.name, why, "an MCP server cannot be used");
                    }
                }
                known.insert(key, told);
            }
        }
        known.retain(|key, _| {
            let stays = wanted.contains(key);
            if !stays {
                self.hub.remove(key);
            }
            stays
        });
    }

    /// The tools of all servers of an application that can be called now, as they were approved. Waits for none of them.
    pub(crate) fn tools(&self, application: &Application) -> Vec<CatalogueTool> {
        let app = &application.app;
        let of_server = |server: &McpServer| {
            let tools = self.hub.tools_cached(&key(&app.name, server)).map(|tools| tools.tools).unwrap_or_default();
            tools.into_iter().map(|tool| shown(&server.name, &tool)).collect::<Vec<_>>()
        };
        app.servers.values().flat_map(of_server).collect()
    }

    /// Calls a tool of a server, as long as its own time-out and that of the execution allow.
    pub(crate) async fn call(
        &self,
        scope: &ToolScope,
        server: &McpServer,
        tool: &str,
        arguments: Value,
        idempotency_key: Option<&str>,
    ) -> Result<ToolAnswered, CatalogueError> {
        let key = key(&scope.application.app.name, server);
        let Value::Object(arguments) = arguments else {
            return Ok(ToolAnswered::Refused("invalid_arguments: the arguments are an object".to_owned()));
        };
        if let Some(why) = self.misfit(&key, tool, &arguments) {
            return Ok(ToolAnswered::Refused(format!("invalid_arguments: {why}")));
        }
        let mut meta = Map::new();
        if let Some(idempotency_key) = idempotency_key {
            meta.insert("nexus/idempotency-key".to_owned(), idempotency_key.into());
        }
        let left = scope.until.saturating_duration_since(Instant::now());
        let call = HubCall { tool: tool.to_owned(), arguments, meta, caller: Arc::clone(&scope.caller) };
        match tokio::time::timeout(left, self.hub.call(&key, call)).await {
            Ok(Ok(content)) => Ok(ToolAnswered::Content(content)),
            Ok(Err(error)) => {
                tracing::info!(server = key, code = error.code(), %error, "a tool of an MCP server gave no answer");
                Ok(ToolAnswered::Refused(format!("{}: {error}", error.code())))
            }
            Err(_) => Ok(ToolAnswered::Refused("deadline: the time of the execution is over".to_owned())),
        }
    }

    /// What is wrong with the arguments by the schema that was approved, if it is known.
    fn misfit(&self, key: &str, tool: &str, arguments: &Map<String, Value>) -> Option<String> {
        let tools = self.hub.tools_cached(key).ok()?;
        let found = tools.tools.iter().find(|known| known.name == tool)?;
        // A schema that cannot be read is the server's to check.
        let validator = nexus_definitions::schema_validator(found.object.get("inputSchema")?).ok()?;
        let wrong = nexus_definitions::violations(&validator, &Value::Object(arguments.clone()));
        let told: Vec<_> = wrong.iter().map(|wrong| format!("{}: {}", wrong.path, wrong.message)).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// The server of this name in an application.
pub(crate) fn find(application: &Application, name: &str) -> Option<McpServer> {
    application.app.servers.get(&name.parse::<PluginName>().ok()?).cloned()
}

/// What the hub knows a server by. Those that share one have approved the same.
pub(crate) fn key(app: &AppName, server: &McpServer) -> String {
    match server.share {
        Share::App => format!("{app}/{}", server.name),
        Share::Host => {
            let approved = canonical_json(&json!(server.approved.as_deref()));
            format!("*/{}", &sha256_hex(print(server) + &approved)[..16])
        }
    }
}

/// The same for servers that are the same, whatever was approved of them.
fn print(server: &McpServer) -> String {
    let at = match &server.at {
        nexus_model::McpServerAt::Image(image) => json!({ "image": image }),
        nexus_model::McpServerAt::Host(program) => json!({ "host": program }),
        nexus_model::McpServerAt::Url { url, auth } => json!({ "url": url, "auth": auth }),
    };
    let timeout = u64::try_from(server.timeout.as_millis()).unwrap_or(u64::MAX);
    sha256_hex(canonical_json(&json!([at, timeout])))
}

fn shown(server: &PluginName, tool: &HubTool) -> CatalogueTool {
    let object = &tool.object;
    let field = |name: &str| object.get(name).cloned();
    CatalogueTool {
        name: format!("{server}.{}", tool.name),
        description: field("description").and_then(|text| text.as_str().map(ToOwned::to_owned)),
        input: Arc::new(field("inputSchema").unwrap_or_else(|| json!({ "type": "object" }))),
        output: field("outputSchema").map(Arc::new),
        read_only: object.pointer("/annotations/readOnlyHint") == Some(&Value::Bool(true)),
    }
}
