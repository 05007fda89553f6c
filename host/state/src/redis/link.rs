//! The way to Redis: bounded, with a deadline, and shut while nobody is there.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_model::StoreError;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult,
    ServerErrorKind, TlsCertificates, aio::MultiplexedConnection, cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use secrecy::ExposeSecret;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    RedisConfig, RedisTls,
    backoff::Backoff,
    scripts::{Invocation, Script},
};

/// How often a command is sent that a cluster says it has not run, since the slot is moving.
const REDIRECTS: usize = 4;
/// How long a moving slot is given before each further try.
const REDIRECT_WAIT: Duration = Duration::from_millis(20);

/// What fails together: the whole of a single server, or what a cluster keeps in one slot.
type Shard = String;

/// A connection that many commands share.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn open(config: &RedisConfig) -> RedisResult<Self> {
        let mut nodes = config.address.nodes(config.password.as_ref())?;
        let certificates = config.address.is_tls().then(|| certificates(&config.tls));
        if config.address.is_cluster() {
            // What has been sent is not sent again: an increment would count twice.
            let mut client = ClusterClient::builder(nodes)
                .retries(0)
                .connection_timeout(config.deadline)
                .response_timeout(config.deadline);
            if let Some(certificates) = certificates {
                client = client.certs(certificates);
            }
            return Ok(Self::Cluster(client.build()?.get_async_connection().await?));
        }
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.deadline))
            .set_response_timeout(Some(config.deadline));
        let node = nodes.pop().ok_or((ErrorKind::InvalidClientConfig, "no node"))?;
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(node, certificates)?,
            None => Client::open(node)?,
        };
        Ok(Self::Single(client.get_multiplexed_async_connection_with_config(&settings).await?))
    }

    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// What is sent.
pub(super) enum Order<'a> {
    /// A command of Redis's own.
    Command(Cmd),
    /// A script of ours.
    Script(&'a Script, Invocation),
}

impl Order<'_> {
    /// Sends it, and again while a cluster says that its slot is on the move.
    async fn send<T: FromRedisValue>(&self, mut connection: Connection) -> RedisResult<T> {
        let mut left = REDIRECTS;
        loop {
            let answer = match self {
                Self::Command(command) => connection.query(command).await,
                Self::Script(script, call) => script.run(&mut connection, call).await,
            };
            left -= 1;
            match answer {
                Err(error) if is_on_the_move(&error) && left > 0 => sleep(REDIRECT_WAIT).await,
                other => return other,
            }
        }
    }
}

/// Why a command gave no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not sent, or nobody answered.
    Store(StoreError),
    /// The server answered with an error.
    Server(RedisError),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            Failure::Server(error) => Self::Unavailable(format!("Redis: {error}")),
        }
    }
}

/// The way to Redis.
pub(super) struct Link {
    config: RedisConfig,
    permits: Semaphore,
    state: Mutex<State>,
    wake: Notify,
    closed: CancellationToken,
}

struct State {
    connection: Connection,
    /// Counts connections, so that what happens to an old one is not held against a new one.
    generation: u64,
    /// What is shut, and why.
    shut: BTreeMap<Shard, String>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("address", &self.config.address).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects once; a server that is not there is an error.
    pub(super) async fn open(config: RedisConfig) -> RedisResult<Self> {
        let connection = timeout(config.deadline.saturating_mul(2), Connection::open(&config));
        let connection = connection.await.unwrap_or_else(|_| Err(no_answer(config.deadline)))?;
        Ok(Self {
            permits: Semaphore::new(config.in_flight),
            state: Mutex::new(State { connection, generation: 0, shut: BTreeMap::new() }),
            wake: Notify::new(),
            closed: CancellationToken::new(),
            config,
        })
    }

    /// Ends it: every later command fails.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Runs a command of the application `tag`. Fails at once while the way is shut. Otherwise it ends within the
    /// deadline, the wait for a place among the commands in flight included; what is not answered by then may still be
    /// done.
    pub(super) async fn run<T: FromRedisValue>(&self, tag: &str, order: &Order<'_>) -> Result<T, Failure> {
        self.way(tag).map_err(Failure::Store)?;
        let end = Instant::now() + self.config.deadline;
        let Ok(place) = timeout_at(end, self.permits.acquire()).await else {
            return Err(Failure::Store(StoreError::Busy(self.config.deadline)));
        };
        let _place = place.map_err(|_| Failure::Store(closed()))?;
        // It may have been shut while this waited.
        let (connection, generation) = self.way(tag).map_err(Failure::Store)?;
        let outcome = timeout_at(end, order.send(connection)).await;
        match outcome.unwrap_or_else(|_| Err(no_answer(self.config.deadline))) {
            Ok(value) => Ok(value),
            Err(error) if is_loss(&error) => {
                let why = error.to_string();
                self.shut(tag, generation, &why);
                Err(Failure::Store(out_of_reach(&why)))
            }
            Err(error) => Err(Failure::Server(error)),
        }
    }

    /// Opens again what is shut, until `cancel` or the end of the store. `probe` asks for something of a shard.
    pub(super) async fn keep_open(self: Arc<Self>, probe: fn(&str) -> Cmd, cancel: CancellationToken) {
        tokio::select! {
            () = self.closed.cancelled() => {}
            () = cancel.cancelled() => {}
            () = self.reopen_always(probe) => {}
        }
    }

    async fn reopen_always(&self, probe: fn(&str) -> Cmd) {
        loop {
            self.wake.notified().await;
            let mut backoff = Backoff::default();
            while !self.is_open() {
                self.reopen(probe).await;
                if self.is_open() {
                    break;
                }
                sleep(backoff.next(rand::random())).await;
            }
        }
    }

    /// Connects anew, since an old connection may wait for minutes on a network that is there again, and takes the new
    /// one if it reaches something that was out of reach.
    async fn reopen(&self, probe: fn(&str) -> Cmd) {
        let shut: Vec<Shard> = self.state().shut.keys().cloned().collect();
        let limit = self.config.deadline;
        let connection = timeout(limit.saturating_mul(2), Connection::open(&self.config)).await;
        let Ok(Ok(mut connection)) = connection else { return };
        let mut found = Vec::new();
        for shard in shut {
            let command = probe(&shard);
            if let Ok(Ok(())) = timeout(limit, connection.query::<()>(&command)).await {
                found.push(shard);
            }
        }
        let mut state = self.state();
        if !found.is_empty() {
            state.generation += 1;
            state.connection = connection;
        }
        for shard in &found {
            state.shut.remove(shard);
        }
        drop(state);
        for shard in found {
            tracing::info!(address = %self.config.address, shard, "Redis is back");
        }
    }

    fn is_open(&self) -> bool {
        self.state().shut.is_empty()
    }

    /// The connection, unless it is known to lead nowhere.
    fn way(&self, tag: &str) -> Result<(Connection, u64), StoreError> {
        if self.closed.is_cancelled() {
            return Err(closed());
        }
        let state = self.state();
        match state.shut.get(self.shard(tag)) {
            Some(why) => Err(out_of_reach(why)),
            None => Ok((state.connection.clone(), state.generation)),
        }
    }

    fn shut(&self, tag: &str, generation: u64, why: &str) {
        let mut state = self.state();
        if state.generation != generation || state.shut.contains_key(self.shard(tag)) {
            return;
        }
        state.shut.insert(self.shard(tag).to_owned(), why.to_owned());
        drop(state);
        tracing::warn!(address = %self.config.address, shard = self.shard(tag), why, "Redis is out of reach");
        self.wake.notify_one();
    }

    fn shard<'t>(&self, tag: &'t str) -> &'t str {
        if self.config.address.is_cluster() { tag } else { "" }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn certificates(tls: &RedisTls) -> TlsCertificates {
    let identity = tls.identity.as_ref();
    TlsCertificates {
        client_tls: identity.map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.clone(),
            client_key: key.expose_secret().to_vec(),
        }),
        root_cert: tls.authorities.clone(),
    }
}

fn is_on_the_move(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved, TryAgain};
    matches!(error.kind(), ErrorKind::Server(Ask | Moved | TryAgain))
}

/// Whether nobody is there, or somebody who cannot serve now.
fn is_loss(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::AuthenticationFailed
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly) => true,
        _ => error.is_unrecoverable_error() || is_on_the_move(error),
    }
}

fn no_answer(deadline: Duration) -> RedisError {
    let text = format!("no answer within {} ms", deadline.as_millis());
    std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
}

fn out_of_reach(why: &str) -> StoreError {
    StoreError::Unavailable(format!("Redis is out of reach: {why}"))
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}
