//! Runtime state in one durable file.

mod groups;
mod reader;
mod tables;
mod writer;

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use nexus_model::{
    Batch, ConsumerGroup, Delivery, Durability, Entry, Key, PendingEntry, Quota, RuntimeStore, StoreError, StreamStart,
    Write,
};
use redb::{Database, DatabaseError};
use tokio::sync::{Semaphore, oneshot};

use self::{
    groups::Place,
    reader::Page,
    tables::Tables,
    writer::{Job, JobSender},
};
use crate::{
    Clock, OpenError,
    bounds::{self, MAX_KEY_BYTES, MAX_WAIT, checked_name, checked_value},
    clock::millis,
    waiters::Waiters,
};

/// Memory for pages of the file, in bytes.
const CACHE_BYTES: usize = 64 << 20;
/// Scans that run at one time; more wait.
const SCANS: usize = 16;

/// The [`RuntimeStore`] in one file, for one host.
///
/// One thread writes. Changes that arrive while it waits for the disk are committed together, so that many synced
/// changes share one fsync. A change with [`Durability::Soon`] is on the disk after at most a second. Everything but
/// [`RuntimeStore::write`] is synced. A change whose future is dropped may still be made.
///
/// Single values are read on the caller's thread; lists and streams on the blocking pool. Values beyond their time are
/// invisible at once and removed in the background. Dropping the store makes all changes durable, as
/// [`EmbeddedStore::close`] does, but blocks for it and cannot say that it failed.
#[derive(Debug)]
pub struct EmbeddedStore {
    open: RwLock<Option<Open>>,
    clock: Arc<dyn Clock>,
    /// What waits for the writer, in units of [`writer::UNIT_BYTES`].
    queue: Arc<Semaphore>,
    scans: Arc<Semaphore>,
    waiters: Waiters,
    quota: Quota,
}

/// What is there until the store is closed.
#[derive(Debug)]
struct Open {
    database: Arc<Database>,
    jobs: JobSender,
    writer: JoinHandle<Result<(), StoreError>>,
}

/// What became of a batch.
type Applying = Result<(), StoreError>;

impl EmbeddedStore {
    /// Opens the file, or makes it (readable by its owner only). Blocks: after a crash the file is checked first.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let database = Arc::new(open_database(path)?);
        let (jobs, writer) = writer::start(Arc::clone(&database), Arc::clone(&clock))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self {
            open: RwLock::new(Some(Open { database, jobs, writer })),
            clock,
            queue: Arc::new(Semaphore::new(writer::QUEUE_UNITS)),
            scans: Arc::new(Semaphore::new(SCANS)),
            waiters: Waiters::default(),
            quota: Quota::default(),
        })
    }

    /// The same, with another quota for each application.
    #[must_use]
    pub fn with_quota(mut self, quota: Quota) -> Self {
        self.quota = quota;
        self
    }

    /// Makes every change durable and lets go of the file. Later calls fail; closing twice is fine.
    pub async fn close(&self) -> Result<(), StoreError> {
        let Some(open) = self.take() else { return Ok(()) };
        tokio::task::spawn_blocking(move || finish(open)).await.unwrap_or_else(|_| Err(stopped()))
    }

    fn take(&self) -> Option<Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map(|open| Arc::clone(&open.database)).ok_or_else(closed)
    }

    fn deadline(&self, ttl: Option<Duration>) -> u64 {
        ttl.map_or(tables::FOREVER, |ttl| self.clock.unix_millis().saturating_add(millis(ttl)))
    }

    /// Has the writer apply a change, and waits until it is committed.
    async fn change<T: Send + 'static>(
        &self,
        durability: Durability,
        bytes: usize,
        apply: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let units = writer::units(bytes);
        let place = Arc::clone(&self.queue).acquire_many_owned(units).await.map_err(|_| closed())?;
        let (answer, outcome) = oneshot::channel();
        self.enqueue(Job::new(durability, place, apply, answer))?;
        outcome.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// What applies a batch, and how many bytes it has.
    fn all_of(
        &self,
        batch: Batch,
    ) -> Result<(usize, impl FnOnce(&mut Tables<'_>) -> Applying + Send + 'static), StoreError> {
        let mut changes = Vec::with_capacity(batch.len());
        let (mut bytes, quota) = (0, self.quota);
        for write in batch {
            let change = match write {
                Write::Set { key, value, ttl } => {
                    bytes += value.len();
                    (checked_key(&key)?, Some((checked_value(&key, value)?, self.deadline(ttl))))
                }
                Write::Delete { key } => (checked_key(&key)?, None),
            };
            bytes += change.0.len();
            changes.push(change);
        }
        let apply = move |tables: &mut Tables<'_>| {
            let sizes =
                changes.iter().map(|(key, value)| (key.as_slice(), value.as_ref().map(|(value, _)| value.len())));
            tables.admit(&sizes.collect::<Vec<_>>(), &quota)?;
            changes.into_iter().try_for_each(|(key, value)| match value {
                Some((value, deadline)) => tables.set(&key, &value, deadline),
                None => tables.remove(&key),
            })
        };
        Ok((bytes, apply))
    }

    /// Hands over what a group was not given yet. A group that has everything costs no transaction of the writer.
    async fn deliver(&self, place: Place, consumer: String, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let looked = place.clone();
        match self.scan(move |database, _now| groups::any_new(database, &looked)).await? {
            None => Err(place.unknown()),
            Some(false) => Ok(Vec::new()),
            Some(true) => {
                let apply = move |tables: &mut Tables<'_>| tables.deliver(&place, &consumer, limit);
                self.change(Durability::Synced, MAX_KEY_BYTES, apply).await
            }
        }
    }

    fn enqueue(&self, job: Job) -> Result<(), StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().ok_or_else(closed)?.jobs.try_send(job).map_err(|_| stopped())
    }

    /// Reads a part of a table on the blocking pool.
    async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database, u64) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = Arc::clone(&self.scans).acquire_owned().await.map_err(|_| closed())?;
        let (database, now) = (self.database()?, self.clock.unix_millis());
        let scanned = tokio::task::spawn_blocking(move || {
            let _place = place;
            read(&database, now)
        });
        scanned.await.map_err(|_| stopped())?.map_err(|error| unavailable(&error))
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.take().map(finish) {
            tracing::error!(%error, "the runtime store was not closed cleanly");
        }
    }
}

#[async_trait]
impl RuntimeStore for EmbeddedStore {
    async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        let database = self.database()?;
        reader::get(&database, key.to_string().as_bytes(), self.clock.unix_millis())
            .map_err(|error| unavailable(&error))
    }

    async fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        bounds::owner(&batch)?;
        let (bytes, apply) = self.all_of(batch)?;
        self.change(durability, bytes, apply).await
    }

    async fn write_if(
        &self,
        fence: &Key,
        expected: &[u8],
        batch: Batch,
        durability: Durability,
    ) -> Result<bool, StoreError> {
        bounds::fenced_owner(fence, &batch)?;
        let (fence, expected) = (checked_key(fence)?, expected.to_vec());
        let (bytes, apply) = self.all_of(batch)?;
        let fenced = move |tables: &mut Tables<'_>| match tables.get(&fence)? {
            Some(record) if record.value == expected => apply(tables).map(|()| true),
            _ => Ok(false),
        };
        self.change(durability, bytes, fenced).await
    }

    async fn compare_and_set(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let value = checked_value(key, value)?;
        let (key, expected, deadline) = (checked_key(key)?, expected.map(<[u8]>::to_vec), self.deadline(ttl));
        let (bytes, quota) = (value.len() + expected.as_ref().map_or(0, Vec::len), self.quota);
        let apply = move |tables: &mut Tables<'_>| {
            let matches = tables.get(&key)?.map(|record| record.value) == expected;
            if matches {
                tables.admit(&[(&key, Some(value.len()))], &quota)?;
                tables.set(&key, &value, deadline)?;
            }
            Ok(matches)
        };
        self.change(Durability::Synced, bytes, apply).await
    }

    async fn increment(&self, key: &Key, by: i64, ttl: Option<Duration>) -> Result<i64, StoreError> {
        let (key, fresh_deadline, quota) = (checked_key(key)?, self.deadline(ttl), self.quota);
        let apply = move |tables: &mut Tables<'_>| {
            let record = tables.get(&key)?;
            let deadline = record.as_ref().map_or(fresh_deadline, |record| record.deadline);
            let sum = tables::sum(record.as_ref().map(|record| &*record.value), by)
                .ok_or_else(|| StoreError::NotANumber(String::from_utf8_lossy(&key).into_owned()))?;
            let text = sum.to_string();
            tables.admit(&[(&key, Some(text.len()))], &quota)?;
            tables.set(&key, text.as_bytes(), deadline)?;
            Ok(sum)
        };
        self.change(Durability::Synced, MAX_KEY_BYTES, apply).await
    }

    async fn list(&self, prefix: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let page = Page::after(prefix, after, limit);
        self.scan(move |database, now| reader::list(database, &page, now)).await
    }

    async fn list_newest(&self, prefix: &Key, before: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let page = Page::before(prefix, before, limit);
        self.scan(move |database, now| reader::list_newest(database, &page, now)).await
    }

    async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, StoreError> {
        let (key, deadline) = (checked_key(key)?, self.deadline(Some(ttl)));
        let apply = move |tables: &mut Tables<'_>| match tables.get(&key)? {
            Some(record) => tables.set(&key, &record.value, deadline).map(|()| true),
            None => Ok(false),
        };
        self.change(Durability::Synced, MAX_KEY_BYTES, apply).await
    }

    async fn append(&self, stream: &Key, value: Vec<u8>, keep: usize) -> Result<String, StoreError> {
        let value = checked_value(stream, value)?;
        let name = bounds::checked_key(stream)?;
        let (stream, bytes) = (name.clone().into_bytes(), MAX_KEY_BYTES + value.len());
        let apply = move |tables: &mut Tables<'_>| tables.append(&stream, &value, keep);
        let id = self.change(Durability::Synced, bytes, apply).await?;
        self.waiters.wake(&name);
        Ok(id)
    }

    async fn read(&self, stream: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let (stream, after) = (stream.to_string().into_bytes(), after.map(str::to_owned));
        self.scan(move |database, _now| reader::stream(database, &stream, after.as_deref(), limit)).await
    }

    async fn remove(&self, stream: &Key, ids: &[String]) -> Result<usize, StoreError> {
        let (stream, ids) = (checked_key(stream)?, ids.to_vec());
        let bytes = bytes_of(&ids);
        self.change(Durability::Synced, bytes, move |tables: &mut Tables<'_>| tables.remove_entries(&stream, &ids))
            .await
    }

    async fn trim(&self, stream: &Key, keep: usize) -> Result<usize, StoreError> {
        let stream = checked_key(stream)?;
        let apply = move |tables: &mut Tables<'_>| tables.trim(&stream, keep as u64);
        self.change(Durability::Synced, MAX_KEY_BYTES, apply).await
    }

    async fn create_group(&self, group: &ConsumerGroup, start: StreamStart) -> Result<bool, StoreError> {
        let place = place(group)?;
        let apply = move |tables: &mut Tables<'_>| tables.create_group(&place, start);
        self.change(Durability::Synced, MAX_KEY_BYTES, apply).await
    }

    async fn delete_group(&self, group: &ConsumerGroup) -> Result<bool, StoreError> {
        let place = place(group)?;
        let apply = move |tables: &mut Tables<'_>| tables.delete_group(&place);
        self.change(Durability::Synced, MAX_KEY_BYTES, apply).await
    }

    async fn read_group(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (place, consumer) = (place(group)?, checked_name(consumer)?);
        let stream = group.stream.to_string();
        // Nobody else writes to the file, so there is no need to look for what others append.
        self.waiters.read(&stream, wait, MAX_WAIT, || self.deliver(place.clone(), consumer.clone(), limit)).await
    }

    async fn claim(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        idle: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (place, consumer, millis) = (place(group)?, checked_name(consumer)?, millis(idle));
        let looked = place.clone();
        let due = self.scan(move |database, now| {
            groups::pending(database, &looked, None, limit, now, |entry| entry.idle >= idle)
        });
        let due: Vec<_> = due.await?.ok_or_else(|| place.unknown())?.into_iter().map(|entry| entry.id).collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let apply = move |tables: &mut Tables<'_>| tables.claim(&place, &consumer, millis, &due);
        self.change(Durability::Synced, MAX_KEY_BYTES, apply).await
    }

    async fn acknowledge(&self, group: &ConsumerGroup, ids: &[String]) -> Result<usize, StoreError> {
        let (place, ids) = (place(group)?, ids.to_vec());
        let bytes = bytes_of(&ids);
        self.change(Durability::Synced, bytes, move |tables: &mut Tables<'_>| tables.acknowledge(&place, &ids)).await
    }

    async fn count_pending(&self, group: &ConsumerGroup) -> Result<usize, StoreError> {
        let place = place(group)?;
        let looked = place.clone();
        let count = self.scan(move |database, _now| groups::count_pending(database, &looked)).await?;
        count.ok_or_else(|| place.unknown())
    }

    async fn list_pending(
        &self,
        group: &ConsumerGroup,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PendingEntry>, StoreError> {
        let (place, after) = (place(group)?, after.map(str::to_owned));
        let looked = place.clone();
        let listed =
            self.scan(move |database, now| groups::pending(database, &looked, after.as_deref(), limit, now, |_| true));
        listed.await?.ok_or_else(|| place.unknown())
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(closed)?;
        if open.writer.is_finished() {
            return Err(stopped());
        }
        reader::get(&open.database, b"", 0).map(drop).map_err(|error| unavailable(&error))
    }
}

fn open_database(path: &Path) -> Result<Database, OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    make_private(path).map_err(io_error)?;
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
    let database = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned() },
        DatabaseError::Storage(redb::StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            OpenError::Io { path: path.to_owned(), source }
        }
        other => OpenError::Damaged { path: path.to_owned(), source: Box::new(other.into()) },
    })?;
    tables::create(&database)
        .map_err(|source| OpenError::Damaged { path: path.to_owned(), source: Box::new(source) })?;
    Ok(database)
}

/// Makes an empty file that only its owner may read, unless there is one; the folder's entry is made durable.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Ends the writer, which commits what is left first.
fn finish(open: Open) -> Result<(), StoreError> {
    let Open { database, jobs, writer } = open;
    drop(jobs);
    let outcome = writer.join().unwrap_or_else(|_| Err(stopped()));
    drop(database);
    outcome
}

fn checked_key(key: &Key) -> Result<Vec<u8>, StoreError> {
    bounds::checked_key(key).map(String::into_bytes)
}

fn place(group: &ConsumerGroup) -> Result<Place, StoreError> {
    Ok(Place { stream: checked_key(&group.stream)?, group: checked_name(&group.name)? })
}

fn bytes_of(ids: &[String]) -> usize {
    ids.iter().map(String::len).sum()
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the store's writer has failed".into())
}

fn unavailable(error: &redb::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
