//! Streamable HTTP.

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use nexus_model::ToolCatalogue;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    rounds::Rounds,
    server::{Seen, Server},
};

const SESSION: &str = "mcp-session-id";

/// The bounds of MCP over HTTP.
#[derive(Debug, Clone)]
pub struct McpHttpConfig {
    /// The longest body of a request, in bytes.
    pub body_bytes: usize,
    /// Sessions that may be open at one time. Clients of the newest revision need none.
    pub sessions: usize,
}

/// Why a request was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The session is not there, or another caller's: which of the two is not told.
    #[error("there is no such session")]
    Unknown,
    /// No more can be opened.
    #[error("all sessions that there may be are open")]
    Full,
}

/// Shows catalogues to MCP clients. Who may see which is decided by whoever calls it; that a session stays with the caller
/// that began it is decided here. Cloning it is cheap.
#[derive(Clone)]
pub struct McpService(Arc<Inner>);

struct Inner {
    service: StreamableHttpService<Server, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    /// Whose each session is.
    owners: Mutex<HashMap<String, String>>,
    most: usize,
}

impl McpService {
    /// Tasks that outlive a request run on the tracker; all of them, and all sessions, end with the token. `key` seals what
    /// clients keep for the server between the rounds of a request; replicas need the same.
    pub fn new(config: &McpHttpConfig, key: [u8; 32], tasks: TaskTracker, cancel: &CancellationToken) -> Self {
        let rounds = Arc::new(Rounds::new(key));
        let sessions = Arc::new(LocalSessionManager::default());
        // Host and Origin are checked at the door, for every path.
        let settings = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_max_request_body_bytes(config.body_bytes)
            .with_cancellation_token(cancel.child_token());
        let server = move || Ok(Server::new(Arc::clone(&rounds), tasks.clone()));
        let service = StreamableHttpService::new(server, Arc::clone(&sessions), settings);
        Self(Arc::new(Inner { service, sessions, owners: Mutex::default(), most: config.sessions }))
    }

    /// Answers a request of a caller that may see this catalogue.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn answer<B>(
        &self,
        mut request: Request<B>,
        catalogue: Arc<dyn ToolCatalogue>,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, SessionError>
    where
        B: Body + Send + 'static,
        B::Error: fmt::Display + Into<Box<dyn Error + Send + Sync>>,
    {
        let owner = catalogue.owner().to_owned();
        let session = session(request.headers());
        match &session {
            Some(session) if self.0.owners().get(session) != Some(&owner) => return Err(SessionError::Unknown),
            None if request.method() == Method::POST => self.make_room().await?,
            _ => {}
        }
        let ends = request.method() == Method::DELETE;
        request.extensions_mut().insert(Seen(catalogue));
        let response = self.0.service.handle(request).await;
        match (session, self::session(response.headers())) {
            (None, Some(begun)) => drop(self.0.owners().insert(begun, owner)),
            (Some(session), _) if ends => drop(self.0.owners().remove(&session)),
            _ => {}
        }
        Ok(response)
    }

    /// Forgets whose the sessions are that have ended.
    async fn make_room(&self) -> Result<(), SessionError> {
        if self.0.owners().len() < self.0.most {
            return Ok(());
        }
        let open = self.0.sessions.sessions.read().await;
        let mut owners = self.0.owners();
        owners.retain(|session, _| open.contains_key(session.as_str()));
        if owners.len() < self.0.most { Ok(()) } else { Err(SessionError::Full) }
    }
}

impl Inner {
    fn owners(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for McpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpService").finish_non_exhaustive()
    }
}

fn session(headers: &HeaderMap) -> Option<String> {
    headers.get(SESSION).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
}
