//! The other half: what Nexus asks of MCP servers outside.
//!
//! [`McpHub`] knows servers by their keys. It connects to one when it is first needed, calls the tools of it that were approved
//! as they were approved, and keeps all others from noticing when it fails.

mod breaker;
mod changes;
mod client;
mod connection;
mod error;
mod exchange;
mod http;
mod in_flight;
mod launch;
pub(crate) mod lines;
mod lists;
mod oauth;
mod pins;
mod probed;
mod process;
mod server;
mod spec;
mod tools;
mod web;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

pub use self::{
    breaker::BreakerPolicy,
    error::{Fault, HubError},
    launch::{LaunchError, Launched, Launcher, Process},
    oauth::{Callback, Grant, KeyAlgorithm, LoginUrl, OAuthSpec, Registration, TokenStore},
    pins::{ChangeKind, ToolChange, diff, fingerprint},
    process::ProcessLauncher,
    spec::{Connect, HttpAuth, HubConfig, SecretSource, ServerSpec},
    tools::{Blocked, HubCall, HubTool, ServerTools},
};
use self::{
    changes::Changes,
    http::Auth,
    pins::Approved,
    server::Server,
    web::{Web, causes},
};

/// Connections to MCP servers outside. Cheap to clone; all clones are one hub.
#[derive(Debug, Clone)]
pub struct McpHub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<HubConfig>,
    web: Web,
    tasks: TaskTracker,
    cancel: CancellationToken,
    servers: RwLock<HashMap<String, Arc<Server>>>,
    changes: Arc<Changes>,
}

impl McpHub {
    /// Connects to nothing yet. What runs in the background is on the tracker, and ends with the token, as do all connections.
    ///
    /// # Errors
    /// The authorities that HTTP is checked with cannot be read.
    pub fn new(config: HubConfig, tasks: TaskTracker, cancel: CancellationToken) -> Result<Self, String> {
        let (config, servers) = (Arc::new(config), RwLock::default());
        let web = Web::new(&config).map_err(|error| causes(&error))?;
        Ok(Self(Arc::new(Inner { config, web, tasks, cancel, servers, changes: Arc::default() })))
    }

    /// Takes a server up, in place of the one that had its key. Calls that run end with the old one.
    pub fn serve(&self, spec: ServerSpec) {
        let inner = &self.0;
        let (key, cancel) = (spec.key.clone(), inner.cancel.child_token());
        let server = Server::new(spec, &inner.config, &inner.web, &inner.tasks, cancel, &inner.changes);
        let mut servers = inner.servers.write().unwrap_or_else(PoisonError::into_inner);
        let before = servers.insert(key, Arc::new(server));
        drop(servers);
        drop(before);
        inner.changes.note();
    }

    /// Replaces what is approved of a server; the connection stays.
    pub fn approve(&self, key: &str, approved: BTreeMap<String, Value>) -> Result<(), HubError> {
        self.server(key)?.approve(Approved::new(approved));
        self.0.changes.note();
        Ok(())
    }

    /// Forgets a server. Its connection ends with the last call that runs.
    pub fn remove(&self, key: &str) {
        let forgotten = self.0.servers.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        if forgotten.is_some() {
            self.0.changes.note();
        }
    }

    /// Counts up after [`McpHub::tools_cached`] may have another answer for some server: it offers other tools than before, others
    /// were approved, or it was taken up or forgotten. A server that is connected to and says that its tools are others is
    /// looked at for that, at most every half second; the others are when somebody asks for them. What comes while nobody
    /// looks at the count is one change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.follow()
    }

    /// The keys of all servers, in order.
    pub fn keys(&self) -> Vec<String> {
        let servers = self.0.servers.read().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<_> = servers.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Begins the login of a person who will be sent to `redirect` after it.
    pub fn begin_login<'a>(&'a self, key: &'a str, redirect: &'a Url) -> BoxFuture<'a, Result<LoginUrl, HubError>> {
        Box::pin(self.begin_login_plain(key, redirect))
    }

    async fn begin_login_plain(&self, key: &str, redirect: &Url) -> Result<LoginUrl, HubError> {
        let server = self.server(key)?;
        let Auth::Tokens(oauth) = &server.auth else { return Err(named(key, no_login())) };
        oauth.begin_login(redirect).await.map_err(|fault| named(key, fault))
    }

    /// Ends the login with what came back from it. Tokens are kept in the store of the server.
    pub fn finish_login<'a>(&'a self, key: &'a str, callback: &'a Callback) -> BoxFuture<'a, Result<(), HubError>> {
        Box::pin(self.finish_login_plain(key, callback))
    }

    async fn finish_login_plain(&self, key: &str, callback: &Callback) -> Result<(), HubError> {
        let server = self.server(key)?;
        let Auth::Tokens(oauth) = &server.auth else { return Err(named(key, no_login())) };
        oauth.finish_login(callback).await.map_err(|fault| named(key, fault))
    }

    fn server(&self, key: &str) -> Result<Arc<Server>, HubError> {
        let servers = self.0.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(key).cloned().ok_or_else(|| named(key, Fault::UnknownServer))
    }
}

fn no_login() -> Fault {
    Fault::LoginFailed("its definition knows of no login".to_owned())
}

fn named(server: &str, fault: Fault) -> HubError {
    HubError { server: server.to_owned(), fault }
}
