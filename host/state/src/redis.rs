//! Runtime state in a Redis, alone or as a cluster.

mod address;
mod backoff;
mod link;
mod scripts;
mod stream_ids;
mod streams;
mod values;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_model::{
    Batch, ConsumerGroup, Delivery, Durability, Entry, Key, PendingEntry, Quota, RuntimeStore, StoreError, StreamStart,
};
use redis::Cmd;
use secrecy::{SecretSlice, SecretString};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::address::{AddressError, RedisAddress};
use self::{
    link::{Link, Order},
    scripts::{Invocation, Scripts},
};
use crate::{OpenError, waiters::Waiters};

/// The oldest version that has all that is used.
const OLDEST: u32 = 7;

/// What is trusted and shown where a Redis is reached over TLS, as PEM.
#[derive(Debug, Clone, Default)]
pub struct RedisTls {
    /// The authorities that are trusted, in place of the system's.
    pub authorities: Option<Vec<u8>>,
    /// This host's own certificate and its private key, for a Redis that asks for them.
    pub identity: Option<(Vec<u8>, SecretSlice<u8>)>,
}

/// How a Redis is used.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Where it is.
    pub address: RedisAddress,
    /// What it asks for.
    pub password: Option<SecretString>,
    /// For an address over TLS.
    pub tls: RedisTls,
    /// Commands in flight at one time; more wait.
    pub in_flight: usize,
    /// How long a command may take, the wait for its place included.
    pub deadline: Duration,
    /// What each application may keep.
    pub quota: Quota,
}

impl RedisConfig {
    /// The defaults: 256 commands in flight, a second for each.
    pub fn new(address: RedisAddress) -> Self {
        Self {
            address,
            password: None,
            tls: RedisTls::default(),
            in_flight: 256,
            deadline: Duration::from_secs(1),
            quota: Quota::default(),
        }
    }
}

/// The [`RuntimeStore`] in a Redis of version 7 or later (or what speaks its protocol), for any number of hosts.
///
/// **What is kept.** A value is a string under its key, so Redis itself lets it go when its time is up. Beside it each
/// application has an index of its keys in order (a sorted set) and one of those that expire; both are changed by the
/// script that changes the value, in the application's slot, so they agree. A key costs about 200 bytes for that, a
/// write one logarithmic step more, a list one more round trip. Keys that Redis has expired leave the index with the
/// application's next writes and lists, a bounded number with each; a list passes over them.
///
/// **When Redis is gone.** A command that is not answered within its deadline shuts the way to Redis, or in a cluster to
/// that application's slot: from then on everything fails at once, and one task tries to connect, with waits that grow
/// to a second. No caller waits for that. A change that was not acknowledged may still have been made.
///
/// **What is durable** is what Redis makes durable: see [`Durability::Synced`]. A Redis without an append-only file, or
/// one that evicts keys, is warned of at the start.
#[derive(Debug)]
pub struct RedisStore {
    link: Arc<Link>,
    scripts: Scripts,
    quota: Quota,
    waiters: Waiters,
    server: RedisServerInfo,
}

/// What a Redis says of itself. In a cluster, one of its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisServerInfo {
    /// Its version.
    pub version: String,
    /// It keeps no append-only file: a crash of it loses what was acknowledged.
    pub forgets: bool,
    /// It removes keys when it is full.
    pub evicts: bool,
}

impl RedisStore {
    /// Connects, and starts the task that connects again, on `tasks`; it ends with `cancel`, or when the store is closed.
    pub async fn open(config: RedisConfig, tasks: &TaskTracker, cancel: CancellationToken) -> Result<Self, OpenError> {
        let (address, quota) = (config.address.to_string(), config.quota);
        let link = Arc::new(Link::open(config).await.map_err(|error| refused(&address, &error))?);
        let mut store = Self {
            link: Arc::clone(&link),
            scripts: Scripts::new(),
            quota,
            waiters: Waiters::default(),
            server: RedisServerInfo::default(),
        };
        store.server = store.look_at_server(&address).await?;
        tasks.spawn(link.keep_open(probe, cancel));
        Ok(store)
    }

    /// What the server said of itself when it was connected to first.
    pub fn server(&self) -> &RedisServerInfo {
        &self.server
    }

    /// Ends the task. Later calls fail; closing twice is fine.
    pub fn close(&self) {
        self.link.close();
    }

    /// Refuses a server that is too old, and warns of one that loses what it is given.
    async fn look_at_server(&self, address: &str) -> Result<RedisServerInfo, OpenError> {
        let call = Invocation::new([Key::of_host("probe", "").to_string()]);
        let told = self.link.run("-", &Order::Script(&self.scripts.probe, call)).await;
        let (version, persistence, memory): (String, String, String) = told.map_err(|failure| {
            OpenError::Unreachable { address: address.to_owned(), reason: StoreError::from(failure).to_string() }
        })?;
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST) {
            let version = if version.is_empty() { "before 7".to_owned() } else { version };
            return Err(OpenError::TooOld { address: address.to_owned(), version });
        }
        let forgets = persistence.contains("aof_enabled:0");
        if forgets {
            tracing::warn!(
                address,
                "this Redis keeps no append-only file: a crash of it loses keys and decisions that were acknowledged; set \
                 `appendonly yes` there, and `appendfsync always` where not even a second may be lost"
            );
        }
        let evicts = memory.contains("maxmemory_policy:") && !memory.contains("maxmemory_policy:noeviction");
        if evicts {
            tracing::warn!(address, "this Redis removes keys when it is full; set `maxmemory-policy noeviction` there");
        }
        Ok(RedisServerInfo { version, forgets, evicts })
    }

    /// Sends a command of an application.
    async fn send<T: redis::FromRedisValue>(&self, owner: &str, command: Cmd) -> Result<T, link::Failure> {
        self.link.run(owner, &Order::Command(command)).await
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.close();
    }
}

/// Why there is no connection.
fn refused(address: &str, error: &redis::RedisError) -> OpenError {
    let (address, reason) = (address.to_owned(), error.to_string());
    // The TLS library's own words, which come through as text only.
    if reason.contains("invalid peer certificate") {
        OpenError::Untrusted { address, reason }
    } else {
        OpenError::Unreachable { address, reason }
    }
}

/// Asks for something in an application's slot.
fn probe(owner: &str) -> Cmd {
    let owner = if owner.is_empty() { "-" } else { owner };
    let mut command = redis::cmd("EXISTS");
    command.arg(format!("nexus:{{{owner}}}:"));
    command
}

#[async_trait]
impl RuntimeStore for RedisStore {
    async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("GET");
        command.arg(key.to_string());
        Ok(self.send(key.owner(), command).await?)
    }

    async fn write(&self, batch: Batch, _durability: Durability) -> Result<(), StoreError> {
        self.write_batch(batch).await
    }

    async fn write_if(
        &self,
        fence: &Key,
        expected: &[u8],
        batch: Batch,
        _durability: Durability,
    ) -> Result<bool, StoreError> {
        self.write_fenced(fence, expected, batch).await
    }

    async fn compare_and_set(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError> {
        self.set_if(key, expected, value, ttl).await
    }

    async fn increment(&self, key: &Key, by: i64, ttl: Option<Duration>) -> Result<i64, StoreError> {
        self.add(key, by, ttl).await
    }

    async fn list(&self, prefix: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.list_up(prefix, after, limit).await
    }

    async fn list_newest(&self, prefix: &Key, before: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.list_down(prefix, before, limit).await
    }

    async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, StoreError> {
        self.set_ttl(key, ttl).await
    }

    async fn append(&self, stream: &Key, value: Vec<u8>, keep: usize) -> Result<String, StoreError> {
        self.stream_append(stream, value, keep).await
    }

    async fn read(&self, stream: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.stream_read(stream, after, limit).await
    }

    async fn remove(&self, stream: &Key, ids: &[String]) -> Result<usize, StoreError> {
        self.stream_remove(stream, ids).await
    }

    async fn trim(&self, stream: &Key, keep: usize) -> Result<usize, StoreError> {
        self.stream_trim(stream, keep).await
    }

    async fn create_group(&self, group: &ConsumerGroup, start: StreamStart) -> Result<bool, StoreError> {
        self.group_create(group, start).await
    }

    async fn delete_group(&self, group: &ConsumerGroup) -> Result<bool, StoreError> {
        self.group_delete(group).await
    }

    async fn read_group(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.group_read(group, consumer, limit, wait).await
    }

    async fn claim(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        idle: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.group_claim(group, consumer, idle, limit).await
    }

    async fn acknowledge(&self, group: &ConsumerGroup, ids: &[String]) -> Result<usize, StoreError> {
        self.group_acknowledge(group, ids).await
    }

    async fn count_pending(&self, group: &ConsumerGroup) -> Result<usize, StoreError> {
        self.group_count(group).await
    }

    async fn list_pending(
        &self,
        group: &ConsumerGroup,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PendingEntry>, StoreError> {
        self.group_pending(group, after, limit).await
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.send::<()>("-", probe("-")).await?)
    }
}
