//! What an operator does with outside servers: looks at them, approves their tools, logs in.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nexus_definitions::CommunityError;
use nexus_mcp::hub::{Callback, HubError, LoginUrl, ToolChange};
use nexus_model::{AppName, McpServer, McpServerAt, Share, canonical_json, sha256_hex};
use serde_json::{Value, json};
use url::Url;

use super::key;
use crate::{Core, Edit, WriteError, Written, sandboxes::SandboxStartError};

/// An outside server as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStatus {
    /// Its name in the application.
    pub name: String,
    /// What it is: the image, the name of a program of the host's, or an address.
    pub at: String,
    /// Who has one connection together.
    pub share: Share,
    /// The tools that can be called, as `{server}.{tool}`.
    pub tools: Vec<String>,
    /// Those that cannot, and why.
    pub blocked: BTreeMap<String, String>,
    /// Whether it has said what it offers since it was taken up.
    pub seen: bool,
    /// For how long it is left alone, if it has failed.
    pub resting: Option<Duration>,
}

/// What a server offers beside what was approved.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// SHA-256 of all that it offers, hexadecimal: who approves names it, so that nothing else is approved.
    pub digest: String,
    /// What is different, by tool.
    pub changes: Vec<ToolChange>,
}

/// Why an outside server could not be looked at, or its tools not be approved.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The application has no such server.
    #[error("`{app}` has no MCP server `{server}`")]
    Unknown {
        /// The application.
        app: AppName,
        /// What was asked for.
        server: String,
    },
    /// The server offers something else than what was looked at.
    #[error("the server offers something else by now: look at it again")]
    OtherOffer,
    /// It offers no tool of this name.
    #[error("the server offers no tool `{0}`")]
    NoTool(String),
    /// There is no such community server, or not like this.
    #[error(transparent)]
    Community(#[from] CommunityError),
    /// An image is being made already.
    #[error("another image is being made: try again when it is ready")]
    Building,
    /// The image could not be made.
    #[error("the image of the server could not be made")]
    Image(#[source] SandboxStartError),
    /// The server failed.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The approval could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Core {
    /// The outside servers of an application, by name; waits for none of them.
    pub fn mcp_servers(&self, app: &AppName) -> Vec<ServerStatus> {
        let Some(application) = self.registry.application(app.as_str()) else { return Vec::new() };
        application.app.servers.values().map(|server| self.status(app, server)).collect()
    }

    fn status(&self, app: &AppName, server: &McpServer) -> ServerStatus {
        let at = match &server.at {
            McpServerAt::Image(image) => image.image.clone(),
            McpServerAt::Host(program) => program.clone(),
            McpServerAt::Url { url, .. } => url.clone(),
        };
        let mut status = ServerStatus {
            name: server.name.to_string(),
            at,
            share: server.share,
            tools: Vec::new(),
            blocked: BTreeMap::new(),
            seen: false,
            resting: None,
        };
        // A server that could not be taken up has been told of in the log.
        if let Ok(known) = self.servers().hub.tools_cached(&key(app, server)) {
            status.tools = known.tools.iter().map(|tool| format!("{}.{}", server.name, tool.name)).collect();
            status.blocked =
                known.blocked.into_iter().map(|blocked| (blocked.name, blocked.fault.to_string())).collect();
            (status.seen, status.resting) = (known.seen, known.resting);
        }
        status
    }

    /// What a server offers beside what was approved. The server is started for it.
    pub async fn mcp_offer(&self, app: &AppName, server: &str) -> Result<Offer, ServerError> {
        let key = key(app, &self.server(app, server)?);
        let offered = self.servers().hub.offered(&key).await?;
        Ok(Offer { digest: digest(&offered), changes: self.servers().hub.diff(&key).await? })
    }

    /// Approves tools of a server as it offers them: those that are named, or all. What was approved before and is not named
    /// stays as it was. One commit; the tools can be called when it returns. `digest` says which offer is meant.
    pub async fn approve_mcp(
        &self,
        edit: &Edit,
        server: &str,
        tools: Option<&BTreeSet<String>>,
        meant: Option<&str>,
    ) -> Result<Written, ServerError> {
        let server = self.server(&edit.app, server)?;
        let offered = self.servers().hub.offered(&key(&edit.app, &server)).await?;
        if meant.is_some_and(|meant| meant != digest(&offered)) {
            return Err(ServerError::OtherOffer);
        }
        let approved = match tools {
            None => offered,
            Some(tools) => {
                let mut approved = server.approved.as_deref().cloned().unwrap_or_default();
                for tool in tools {
                    let object = offered.get(tool).ok_or_else(|| ServerError::NoTool(tool.clone()))?;
                    approved.insert(tool.clone(), object.clone());
                }
                approved
            }
        };
        let text = format!("{:#}\n", json!({ "tools": approved }));
        let written = self.registry.put_approval(edit, &server.name, &text).await?;
        self.servers().adjust(self);
        Ok(written)
    }

    /// Begins the login of a person at a server, who will be sent to `redirect` after it.
    pub async fn begin_mcp_login(&self, app: &AppName, server: &str, redirect: &Url) -> Result<LoginUrl, ServerError> {
        Ok(self.servers().hub.begin_login(&key(app, &self.server(app, server)?), redirect).await?)
    }

    /// Ends it with what came back.
    pub async fn finish_mcp_login(&self, app: &AppName, server: &str, callback: &Callback) -> Result<(), ServerError> {
        Ok(self.servers().hub.finish_login(&key(app, &self.server(app, server)?), callback).await?)
    }

    pub(super) fn server(&self, app: &AppName, name: &str) -> Result<McpServer, ServerError> {
        let application = self.registry.application(app.as_str());
        let found = application.and_then(|application| super::find(&application, name));
        found.ok_or_else(|| ServerError::Unknown { app: app.clone(), server: name.chars().take(80).collect() })
    }
}

fn digest(offered: &BTreeMap<String, Value>) -> String {
    sha256_hex(canonical_json(&json!(offered)))
}
