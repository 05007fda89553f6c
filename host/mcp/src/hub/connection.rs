//! One connection to a server, from its beginning to its end.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use rmcp::{
    RoleClient,
    model::ProtocolVersion,
    service::{
        ClientCacheConfig, ClientInitializeError, ClientLifecycleMode, Peer, RunningService, ServiceError,
        serve_client_with_lifecycle_and_ct,
    },
    transport::{
        AuthError, Transport,
        async_rw::AsyncRwTransport,
        streamable_http_client::{HttpStatusError, StreamableHttpError},
    },
};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    changes::Changes,
    client::Client,
    error::Fault,
    http::{self, Auth},
    in_flight::InFlight,
    launch::Process,
    lines::{Ending, Lines},
    oauth,
    probed::Probed,
    spec::{Connect, HubConfig, ServerSpec},
    web::{Web, WebError, cause, causes},
};

/// How long it is waited for that the server can say something on its own account.
const LISTENING: Duration = Duration::from_millis(500);

/// What keeps a server from answering.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It went wrong.
    Fault(Fault),
    /// The server wants another token, and says which.
    Challenge(String),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A session with a server. It ends, and the server's process with it, when this is dropped.
pub(crate) struct Connection {
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) changes: Arc<Changes>,
    peer: Peer<RoleClient>,
    ending: Arc<OnceLock<Ending>>,
    longest: usize,
    /// Whether its end was counted as a failure.
    blamed: AtomicBool,
    running: RunningService<RoleClient, Client>,
    process: Option<Box<dyn Process>>,
    ended: CancellationToken,
    _end: DropGuard,
}

/// All that a session begins with.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) spec: Arc<ServerSpec>,
    pub(crate) auth: Auth,
    pub(crate) web: Web,
    pub(crate) config: Arc<HubConfig>,
    /// Whether the server is known to know only the older revision.
    pub(crate) legacy: bool,
    pub(crate) cancel: CancellationToken,
}

impl Opening {
    /// Begins a session: of the newest revision, or of the one before where the server knows no other.
    pub(crate) async fn open(self) -> Result<Connection, Trouble> {
        match self.clone().begin().await {
            // It did not understand the question, and may well understand the older one.
            Err((_, true)) if !self.legacy => {
                let older = Self { legacy: true, ..self };
                older.begin().await.map_err(|(trouble, _)| trouble)
            }
            begun => begun.map_err(|(trouble, _)| trouble),
        }
    }

    /// Tells of trouble also whether the server answered at all.
    async fn begin(self) -> Result<Connection, (Trouble, bool)> {
        let (ending, ended) = (Arc::new(OnceLock::new()), self.cancel.child_token());
        let (in_flight, changes) = (Arc::new(InFlight::new(self.config.answer)), Arc::<Changes>::default());
        let client = Client { in_flight: Arc::clone(&in_flight), changes: Arc::clone(&changes) };
        let longest = self.spec.result_bytes;
        let (running, process) = match &self.spec.connect {
            Connect::Http { url, .. } => {
                let (calls, listening) = (self.config.calls, CancellationToken::new());
                let transport = http::transport(url.clone(), self.auth, self.web, longest, calls, listening.clone());
                let transport = transport.await.map_err(|fault| (fault.into(), false))?;
                let running = session(client, Probed::new(transport), self.legacy, ended.clone()).await;
                if running.as_ref().is_ok_and(|running| !is_modern(running.peer())) {
                    // A server without sessions is not listened to.
                    let _ = timeout(LISTENING, listening.cancelled()).await;
                }
                (running, None)
            }
            Connect::Stream(launcher) => {
                let started = launcher.launch().await;
                let started = started.map_err(|error| (Fault::Launch(error.to_string()).into(), false))?;
                let output = Lines::new(started.output, longest, Arc::clone(&ending));
                let transport = AsyncRwTransport::new_client(output, started.input).with_max_line_length(usize::MAX);
                (session(client, Probed::new(transport), self.legacy, ended.clone()).await, Some(started.process))
            }
        };
        let running = running.map_err(|error| {
            let answered = answered(&error);
            let ended = ended_because(&ending, longest, process.as_deref());
            (not_begun(error, ended), answered)
        })?;
        let peer = running.peer().clone();
        // The hub keeps lists itself, where it can be sure how old they are.
        peer.set_response_cache_config(ClientCacheConfig::disabled()).await;
        let end = ended.clone().drop_guard();
        let blamed = AtomicBool::new(false);
        Ok(Connection { in_flight, changes, peer, ending, longest, blamed, running, process, ended, _end: end })
    }
}

impl Connection {
    pub(crate) fn peer(&self) -> &Peer<RoleClient> {
        &self.peer
    }

    /// Cancelled when this is dropped.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.peer.is_transport_closed() || self.running.is_closed()
    }

    /// Whether the server keeps to the revision without sessions.
    pub(crate) fn is_modern(&self) -> bool {
        is_modern(&self.peer)
    }

    /// Whether its end is told of for the first time.
    pub(crate) fn blame(&self) -> bool {
        !self.blamed.swap(true, Ordering::AcqRel)
    }

    /// An error of a request, in the hub's words.
    pub(crate) fn trouble(&self, error: &ServiceError) -> Trouble {
        if let Some(challenge) = error.auth_challenge() {
            return Trouble::Challenge(challenge.to_owned());
        }
        Trouble::Fault(match error {
            ServiceError::McpError(error) => refused(error),
            ServiceError::TransportSend(error) => self.not_sent(error.error.as_ref()),
            // rmcp says so of one answer, too, and not why it broke off.
            ServiceError::TransportClosed if !self.is_closed() => {
                Fault::Ended(format!("its answer broke off, or had more than {} bytes", self.longest))
            }
            ServiceError::TransportClosed => ended_because(&self.ending, self.longest, self.process.as_deref()),
            ServiceError::Cancelled { reason } => {
                Fault::Ended(format!("it was cancelled: {}", reason.as_deref().unwrap_or("nobody says why")))
            }
            other => Fault::Protocol(causes(other)),
        })
    }

    fn not_sent(&self, error: &(dyn std::error::Error + 'static)) -> Fault {
        if let Some(fault) = of_the_web(error) {
            return fault;
        }
        match cause::<StreamableHttpError<reqwest::Error>>(error) {
            Some(StreamableHttpError::ResponseBodyTooLarge { .. }) => Fault::TooLarge(self.longest),
            Some(StreamableHttpError::UnexpectedServerResponse(why)) => Fault::Protocol(why.to_string()),
            _ => Fault::Ended(causes(error)),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

fn is_modern(peer: &Peer<RoleClient>) -> bool {
    peer.peer_info().is_some_and(|info| info.protocol_version >= ProtocolVersion::V_2026_07_28)
}

fn session<T>(
    client: Client,
    transport: T,
    legacy: bool,
    ended: CancellationToken,
) -> BoxFuture<'static, Result<RunningService<RoleClient, Client>, ClientInitializeError>>
where
    T: Transport<RoleClient> + 'static,
{
    let lifecycle = if legacy {
        ClientLifecycleMode::Initialize
    } else {
        ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        }
    };
    serve_client_with_lifecycle_and_ct(client, transport, lifecycle, ended).boxed()
}

/// Whether a server answered, though not as it should have.
fn answered(error: &ClientInitializeError) -> bool {
    match error {
        ClientInitializeError::ExpectedInitResult(_)
        | ClientInitializeError::ExpectedInitResponse(_)
        | ClientInitializeError::JsonRpcError(_) => true,
        ClientInitializeError::TransportError { error, .. } => cause::<HttpStatusError>(error.error.as_ref()).is_some(),
        _ => false,
    }
}

fn not_begun(error: ClientInitializeError, ended: Fault) -> Trouble {
    if let Some(challenge) = error.auth_challenge() {
        return Trouble::Challenge(challenge.to_owned());
    }
    Trouble::Fault(match error {
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => return not_begun(*fallback, ended),
        ClientInitializeError::TransportError { error, .. } => {
            of_the_web(error.error.as_ref()).unwrap_or_else(|| match ended {
                Fault::Ended(why) => Fault::Connect(format!("{}: {why}", causes(error.error.as_ref()))),
                fault => fault,
            })
        }
        ClientInitializeError::ConnectionClosed(_) => match ended {
            Fault::Ended(why) => Fault::Connect(why),
            fault => fault,
        },
        ClientInitializeError::JsonRpcError(error) => refused(&error),
        ClientInitializeError::Cancelled => Fault::Down,
        other => Fault::Connect(other.to_string()),
    })
}

/// What went wrong before a server could answer.
fn of_the_web(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    if let Some(error) = cause::<WebError>(error) {
        return Some(Fault::Address(error.to_string()));
    }
    cause::<AuthError>(error).map(oauth::fault)
}

fn ended_because(ending: &OnceLock<Ending>, longest: usize, process: Option<&dyn Process>) -> Fault {
    match ending.get() {
        Some(Ending::TooLong) => Fault::TooLarge(longest),
        Some(Ending::Garbage) => Fault::Protocol("what it writes to its standard output are no messages".to_owned()),
        None => match process.map(Process::last_words) {
            Some(words) if !words.is_empty() => Fault::Ended(format!("it said last: {words}")),
            _ => Fault::Ended("it closed it".to_owned()),
        },
    }
}

fn refused(error: &rmcp::ErrorData) -> Fault {
    Fault::Refused { code: error.code.0, message: error.message.to_string() }
}
