//! One server: its connection, which is there when it is needed, and what is known of it.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rmcp::model::SubscriptionFilter;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    breaker::Breaker,
    changes::Changes,
    connection::{Connection, Opening, Trouble},
    error::Fault,
    http::Auth,
    lists::{self, Offered},
    pins::Approved,
    spec::{Connect, HubConfig, ServerSpec},
    web::Web,
};

/// How long a server that says that its tools are others is not looked at again.
const REST: Duration = Duration::from_millis(500);

/// A server that the hub knows.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) spec: Arc<ServerSpec>,
    pub(crate) auth: Auth,
    pub(crate) config: Arc<HubConfig>,
    pub(crate) tasks: TaskTracker,
    web: Web,
    cancel: CancellationToken,
    state: Mutex<State>,
    /// Held by the one who connects.
    connecting: Arc<tokio::sync::Mutex<()>>,
    /// Held by the one who looks at what it offers.
    listing: Arc<tokio::sync::Mutex<()>>,
    refreshing: AtomicBool,
    places: Arc<Semaphore>,
    /// How often what any server of the hub offers was another.
    seen: Arc<Changes>,
}

#[derive(Debug)]
struct State {
    connection: Option<Arc<Connection>>,
    breaker: Breaker,
    /// Whether it knew only the older revision when it was last asked.
    legacy: bool,
    approved: Arc<Approved>,
    /// What it offered last, over whatever connection.
    offered: Option<Arc<Offered>>,
    /// Whether that was over the connection that there is.
    current: bool,
}

impl Server {
    pub(crate) fn new(
        mut spec: ServerSpec,
        config: &Arc<HubConfig>,
        web: &Web,
        tasks: &TaskTracker,
        cancel: CancellationToken,
        seen: &Arc<Changes>,
    ) -> Self {
        let auth = match &spec.connect {
            Connect::Http { url, auth } => Auth::new(&spec.key, url, auth, web, tasks),
            Connect::Stream(_) => Auth::None,
        };
        let state = State {
            connection: None,
            breaker: Breaker::new(config.breaker, spec.connect_timeout + spec.call_timeout),
            legacy: false,
            approved: Arc::new(Approved::new(spec.approved.take().unwrap_or_default())),
            offered: None,
            current: false,
        };
        Self {
            spec: Arc::new(spec),
            auth,
            config: Arc::clone(config),
            tasks: tasks.clone(),
            web: web.clone(),
            cancel,
            state: Mutex::new(state),
            connecting: Arc::default(),
            listing: Arc::default(),
            refreshing: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(config.calls)),
            seen: Arc::clone(seen),
        }
    }

    pub(crate) fn approved(&self) -> Arc<Approved> {
        Arc::clone(&self.state().approved)
    }

    pub(crate) fn approve(&self, approved: Approved) {
        self.state().approved = Arc::new(approved);
    }

    /// What it offered last, and for how long it is left alone, if it is.
    pub(crate) fn known(&self) -> (Option<Arc<Offered>>, Option<Duration>) {
        let state = self.state();
        (state.offered.clone(), state.breaker.closed_for(Instant::now()))
    }

    /// Whether there is a connection, and what it offers was looked at lately.
    pub(crate) fn is_fresh(&self) -> bool {
        let state = self.state();
        let live = state.connection.as_ref().filter(|connection| !connection.is_closed());
        live.zip(state.offered.as_ref()).is_some_and(|(live, offered)| state.current && !offered.is_stale(live))
    }

    /// Does something with the server, once more with another token where it wants one. Bounded by the bounds of what is done.
    pub(crate) async fn with<T, F>(self: Arc<Self>, work: impl Fn(Arc<Connection>) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let place = timeout(self.spec.connect_timeout, Arc::clone(&self.places).acquire_owned()).await;
        let _place = place.map_err(|_| Fault::Busy)?.map_err(|_| Fault::Down)?;
        self.state().breaker.admit(Instant::now()).map_err(|wait| Fault::Resting { wait })?;
        let mut renewed = false;
        loop {
            let generation = self.auth.generation();
            let (done, connection) = match Arc::clone(&self).connection().await {
                Ok(connection) => (work(Arc::clone(&connection)).await, Some(connection)),
                Err(trouble) => (Err(trouble), None),
            };
            match done {
                Ok(done) => {
                    self.state().breaker.succeeded();
                    return Ok(done);
                }
                Err(Trouble::Challenge(challenge)) if renewed => {
                    return Err(self.answered(self.auth.refused(&challenge)));
                }
                Err(Trouble::Challenge(challenge)) => {
                    renewed = true;
                    self.auth.clone().renew(generation, challenge).await.map_err(|fault| self.answered(fault))?;
                }
                Err(Trouble::Fault(fault)) => {
                    return Err(match connection {
                        Some(connection) => self.blame(&connection, fault),
                        None => fault,
                    });
                }
            }
        }
    }

    /// The connection that there is, or a new one. One at a time connects; the others wait for it.
    async fn connection(self: Arc<Self>) -> Result<Arc<Connection>, Trouble> {
        let patience = self.spec.connect_timeout;
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let _connecting = timeout(patience, Arc::clone(&self.connecting).lock_owned())
            .await
            .map_err(|_| Fault::ConnectTimeout(patience))?;
        if let Some(live) = self.live() {
            return Ok(live);
        }
        if let Some(wait) = self.state().breaker.closed_for(Instant::now()) {
            return Err(Fault::Resting { wait }.into());
        }
        let opening = Opening {
            spec: Arc::clone(&self.spec),
            auth: self.auth.clone(),
            web: self.web.clone(),
            config: Arc::clone(&self.config),
            legacy: self.state().legacy,
            cancel: self.cancel.clone(),
        };
        let opened = tokio::select! {
            opened = timeout(patience, opening.open()) => opened,
            () = self.cancel.clone().cancelled_owned() => return Err(Fault::Down.into()),
        };
        let opened = opened.unwrap_or_else(|_| Err(Fault::ConnectTimeout(patience).into()));
        match opened {
            Ok(connection) => {
                let connection = Arc::new(connection);
                let mut state = self.state();
                state.legacy = !connection.is_modern();
                state.connection = Some(Arc::clone(&connection));
                state.current = false;
                drop(state);
                self.listen(&connection);
                self.watch(&connection);
                Ok(connection)
            }
            Err(Trouble::Fault(fault)) => {
                let mut state = self.state();
                // It may be another one by now.
                state.legacy = false;
                if !matches!(fault, Fault::LoginFailed(_) | Fault::Secret(_) | Fault::Login { .. } | Fault::Down) {
                    state.breaker.gave_up(Instant::now(), rand::random());
                }
                Err(fault.into())
            }
            Err(challenge) => Err(challenge),
        }
    }

    /// Has the server tell when its tools change, where it does so only if it is asked.
    fn listen(&self, connection: &Connection) {
        let tells = |info: &rmcp::model::ServerPeerInfo| {
            info.capabilities.tools.as_ref().is_some_and(|tools| tools.list_changed == Some(true))
        };
        if !connection.is_modern() || !connection.peer().peer_info().is_some_and(|info| tells(&info)) {
            return;
        }
        let (peer, changes) = (connection.peer().clone(), Arc::clone(&connection.changes));
        let ended = connection.ended().clone();
        self.tasks.spawn(async move {
            let told = async {
                let mut told = peer.listen(SubscriptionFilter::builder().tools_list_changed().build()).await?;
                while told.next().await?.is_some() {
                    changes.note();
                }
                Ok::<_, rmcp::ServiceError>(())
            };
            tokio::select! {
                told = told => if let Err(error) = told {
                    tracing::debug!(%error, "an MCP server does not tell when its tools change");
                },
                () = ended.cancelled() => {}
            }
            // Nothing is heard of it any more.
            changes.note();
        });
    }

    /// Looks at what it offers after it has said that it is another, so that whoever waits for changes hears of it.
    fn watch(self: &Arc<Self>, connection: &Arc<Connection>) {
        let (mut told, ended) = (connection.changes.follow(), connection.ended().clone());
        let (server, connection) = (Arc::downgrade(self), Arc::downgrade(connection));
        self.tasks.spawn(async move {
            while let Some(Ok(())) = ended.run_until_cancelled(told.changed()).await {
                let (Some(server), Some(connection)) = (server.upgrade(), connection.upgrade()) else { return };
                let key = server.spec.key.clone();
                if let Some(Err(trouble)) = ended.run_until_cancelled(server.offered(connection)).await {
                    tracing::debug!(server = key, ?trouble, "an MCP server does not say what it offers now");
                }
                ended.run_until_cancelled(sleep(REST)).await;
            }
        });
    }

    /// What it offers, looked at now unless that was done lately.
    pub(crate) async fn offered(self: Arc<Self>, connection: Arc<Connection>) -> Result<Arc<Offered>, Trouble> {
        let patience = self.spec.call_timeout;
        let fresh = || {
            let state = self.state();
            state.offered.clone().filter(|offered| state.current && !offered.is_stale(&connection))
        };
        if let Some(offered) = fresh() {
            return Ok(offered);
        }
        let _listing = timeout(patience, Arc::clone(&self.listing).lock_owned())
            .await
            .map_err(|_| Fault::CallTimeout(patience))?;
        if let Some(offered) = fresh() {
            return Ok(offered);
        }
        let offered = timeout(patience, lists::tools(Arc::clone(&connection), self.config.lists)).await;
        let offered = Arc::new(offered.map_err(|_| Fault::CallTimeout(patience))??);
        let mut state = self.state();
        let before = state.offered.replace(Arc::clone(&offered));
        state.current = true;
        drop(state);
        if before.is_none_or(|before| before.tools != offered.tools) {
            self.seen.note();
        }
        Ok(offered)
    }

    /// Looks at what it offers in the background, where nobody does so already.
    pub(crate) fn refresh(self: &Arc<Self>) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            let look = Arc::clone(&server).with(|connection| {
                Arc::clone(&server).offered(connection)
            });
            tokio::select! {
                looked = look => if let Err(fault) = looked {
                    tracing::debug!(server = server.spec.key, %fault, "what an MCP server offers could not be looked at");
                },
                () = server.cancel.clone().cancelled_owned() => {}
            }
            server.refreshing.store(false, Ordering::Release);
        });
    }

    /// Counts what is a failure of the server; who is let through no more needs no connection.
    fn blame(&self, connection: &Arc<Connection>, fault: Fault) -> Fault {
        let failed = match &fault {
            // Many calls may have ended with it.
            Fault::Ended(_) | Fault::TooLarge(_) | Fault::Protocol(_) if connection.is_closed() => connection.blame(),
            Fault::CallTimeout(_) | Fault::Ended(_) => true,
            _ => return self.answered(fault),
        };
        let mut state = self.state();
        if failed && state.breaker.failed(Instant::now(), rand::random()) {
            state.connection.take_if(|live| Arc::ptr_eq(live, connection));
        }
        fault
    }

    /// It answered, whatever it said.
    fn answered(&self, fault: Fault) -> Fault {
        self.state().breaker.succeeded();
        fault
    }

    fn live(&self) -> Option<Arc<Connection>> {
        let mut state = self.state();
        if state.connection.as_ref().is_some_and(|connection| connection.is_closed()) {
            state.connection = None;
        }
        state.connection.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
