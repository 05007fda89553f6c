//! The port to runtime state.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{AppName, ConsumerGroup, Delivery, PendingEntry, StreamStart};

/// The kind of what an application itself keeps.
const STATE: &str = "state";

/// A key of the runtime store, written `nexus:{app}:{kind}:{key}`. What belongs to no application has the application
/// `-`. The braces make an application one slot of a Redis cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    app: Option<AppName>,
    kind: &'static str,
    name: String,
}

impl Key {
    /// A key of an application. `kind` holds no colon.
    pub fn of_app(app: &AppName, kind: &'static str, key: impl Into<String>) -> Self {
        Self { app: Some(app.clone()), kind, name: key.into() }
    }

    /// A key of the host itself.
    pub fn of_host(kind: &'static str, key: impl Into<String>) -> Self {
        Self { app: None, kind, name: key.into() }
    }

    /// A key of what an application itself keeps. It counts against the application's quota, which keys of the host about
    /// an application ([`Key::of_app`]) do not.
    pub fn of_state(app: &AppName, key: impl Into<String>) -> Self {
        Self::of_app(app, STATE, key)
    }

    /// Whether it counts against its application's quota.
    pub fn counts(&self) -> bool {
        self.app.is_some() && self.kind == STATE
    }

    /// The application's name, or `-`: what may change together.
    pub fn owner(&self) -> &str {
        self.app.as_ref().map_or("-", AppName::as_str)
    }

    /// The part before the last.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The last part.
    pub fn key(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nexus:{{{}}}:{}:{}", self.owner(), self.kind, self.name)
    }
}

/// A key below a prefix, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key's last part (see [`Key::key`]).
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
}

/// One change of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a value, which goes away after `ttl`.
    Set {
        /// The key.
        key: Key,
        /// The value.
        value: Vec<u8>,
        /// How long it stays; for ever if `None`.
        ttl: Option<Duration>,
    },
    /// Removes a value; removing what is not there is no error.
    Delete {
        /// The key.
        key: Key,
    },
}

impl Write {
    /// What is changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Set { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Changes that become visible together. They all belong to one application, or all to the host: only what lies in one
/// slot of a Redis cluster can change at once. A batch that is spread over several is refused by every driver.
pub type Batch = Vec<Write>;

/// What an application may keep for itself ([`Key::of_state`]). Streams do not count: each has its own bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// How many keys.
    pub keys: u64,
}

impl Default for Quota {
    /// 64 MiB in 100,000 keys.
    fn default() -> Self {
        Self { bytes: 64 << 20, keys: 100_000 }
    }
}

/// What of a [`Quota`] was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaKind {
    /// [`Quota::bytes`].
    Bytes,
    /// [`Quota::keys`].
    Keys,
}

/// When a change is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once it survives a crash of the machine. With Redis: once Redis has it, and what Redis makes of that is its
    /// operator's choice. With `appendfsync always` it is on the disk; with `everysec` a crash of Redis's machine may
    /// take the last second; without an append-only file it may take everything since the last snapshot.
    Synced,
    /// At once. A crash may lose the last second of such changes; a later synced change makes them durable too.
    Soon,
}

/// The runtime store failed. That something is not there is never an error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store is out of reach or broken.
    #[error("the runtime store is unavailable: {0}")]
    Unavailable(String),
    /// The value under this key is no number.
    #[error("`{0}` is not a number")]
    NotANumber(String),
    /// A key or value is larger than the store takes.
    #[error("`{key}` is too large: {size} bytes, at most {limit}")]
    TooLarge {
        /// The key.
        key: String,
        /// Its size or its value's, in bytes.
        size: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The store is there and slow: so many commands are in flight that none could be begun in this time.
    #[error("the runtime store is busy: no place was free within {} ms", .0.as_millis())]
    Busy(Duration),
    /// The application has used up what it may keep.
    #[error("the application `{app}` may keep {limit} {} of state, and has them", match .kind {
        QuotaKind::Bytes => "bytes",
        QuotaKind::Keys => "keys",
    })]
    Quota {
        /// The application.
        app: String,
        /// What was used up.
        kind: QuotaKind,
        /// How much it may keep.
        limit: u64,
    },
    /// The changes of a batch belong to several applications.
    #[error("a batch belongs to one application, and this one is spread over `{0}` and `{1}`")]
    Spread(String, String),
    /// The stream has no group of this name.
    #[error("the stream has no group `{0}`")]
    UnknownGroup(String),
}

/// State that changes while Nexus runs: keys, executions, traces, metric windows.
///
/// Every driver passes the contract suite of `nexus-state`. Values are at most 8 MiB, keys at most 1 KiB, names of groups
/// and consumers at most 256 bytes. A stream and a value under the same key have nothing to do with each other.
#[async_trait]
pub trait RuntimeStore: Send + Sync {
    /// The value, unless there is none or its time has run out.
    async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError>;

    /// Applies all changes or none. They belong to one application or to the host (see [`Batch`]).
    async fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError>;

    /// Applies all changes if the value of `fence` is `expected`, or else none; says which. Nothing comes between the look and
    /// the changes. The fence belongs to whom the changes belong to, and may be among them.
    async fn write_if(
        &self,
        fence: &Key,
        expected: &[u8],
        batch: Batch,
        durability: Durability,
    ) -> Result<bool, StoreError>;

    /// Sets the value if the present one is `expected` (`None`: not there); says whether it did. Durable. Of several
    /// racing writers with the same expectation exactly one wins.
    async fn compare_and_set(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError>;

    /// Adds to a decimal number (0 where nothing is) and returns the sum; the `ttl` starts when the key is made.
    async fn increment(&self, key: &Key, by: i64, ttl: Option<Duration>) -> Result<i64, StoreError>;

    /// Entries whose key begins with `prefix`, in the order of their keys, after the key `after`, at most `limit`.
    async fn list(&self, prefix: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Entries as [`RuntimeStore::list`], from the last key backwards, before the key `before`.
    async fn list_newest(&self, prefix: &Key, before: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Changes when the value goes away; says whether there was one.
    async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, StoreError>;

    /// Adds an entry to a stream and returns its id; ids grow and sort as text. The oldest entries beyond `keep` go.
    async fn append(&self, stream: &Key, value: Vec<u8>, keep: usize) -> Result<String, StoreError>;

    /// Entries of a stream after the id `after`, oldest first, at most `limit`.
    async fn read(&self, stream: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Removes entries of a stream; says how many there were. Ids go on growing. A pending mark stays until the entry is
    /// acknowledged, or until somebody would claim it.
    async fn remove(&self, stream: &Key, ids: &[String]) -> Result<usize, StoreError>;

    /// Removes the oldest entries of a stream beyond `keep`; says how many. For pending marks as
    /// [`RuntimeStore::remove`].
    async fn trim(&self, stream: &Key, keep: usize) -> Result<usize, StoreError>;

    /// Makes a group, whether or not its stream is there yet; says whether it did. Where there is one of this name
    /// already, nothing changes. Durable.
    async fn create_group(&self, group: &ConsumerGroup, start: StreamStart) -> Result<bool, StoreError>;

    /// Ends a group and what is pending in it; says whether there was one. Durable.
    async fn delete_group(&self, group: &ConsumerGroup) -> Result<bool, StoreError>;

    /// Hands entries that nobody of the group was given yet to `consumer`, oldest first, at most `limit`. Where there is
    /// none, waits for one, for `wait` or 30 seconds at the most. That an entry is pending is durable before it is
    /// returned; if the future is dropped, some may be pending that nobody has seen, to be claimed later.
    async fn read_group(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// Hands entries that have been pending for `idle` or longer to `consumer`, oldest first, at most `limit`; their time
    /// starts again. Of several racing consumers one gets an entry. Entries that have left the stream are passed over,
    /// and their pending marks removed. Durable.
    async fn claim(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        idle: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// Says that entries are done with; says how many of them were pending. Durable.
    async fn acknowledge(&self, group: &ConsumerGroup, ids: &[String]) -> Result<usize, StoreError>;

    /// How many entries are pending.
    async fn count_pending(&self, group: &ConsumerGroup) -> Result<usize, StoreError>;

    /// Pending entries after the id `after`, oldest first, at most `limit`.
    async fn list_pending(
        &self,
        group: &ConsumerGroup,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PendingEntry>, StoreError>;

    /// Whether no other host can have the store while this one has it.
    fn is_exclusive(&self) -> bool;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
