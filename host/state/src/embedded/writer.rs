//! The one thread that changes the file, in groups.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nexus_model::{Durability, StoreError};
use redb::Database;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{tables::Tables, unavailable};
use crate::Clock;

/// What may wait for the writer, in units of [`UNIT_BYTES`]: 64 MiB or 1,024 changes.
pub(super) const QUEUE_UNITS: usize = 1_024;
const UNIT_BYTES: usize = 64 << 10;
/// Changes committed together at most.
const GROUP: usize = 512;
/// How long a commit waits for more changes while there are many: a commit of one costs about as much as one of twenty.
const GATHER: Duration = Duration::from_micros(500);
/// From how many changes in the last commit on there are many.
const MANY: usize = 4;
/// How long an unsynced change may wait for its fsync.
const SOON: Duration = Duration::from_millis(900);
/// How often an idle writer looks for expired entries.
const IDLE: Duration = Duration::from_secs(1);
/// Expired entries removed with each group, and by an idle writer.
const SWEEP_BUSY: usize = 32;
const SWEEP_IDLE: usize = 1_000;

pub(super) type JobSender = SyncSender<Job>;
type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Apply = Box<dyn FnOnce(&mut Tables<'_>) -> Applied + Send>;

/// A change, and where its answer goes.
pub(super) struct Job {
    durability: Durability,
    apply: Apply,
    place: OwnedSemaphorePermit,
}

/// A change that waits for its commit.
struct Applied {
    /// The transaction is broken by it.
    broken: Option<StoreError>,
    acknowledge: Acknowledge,
}

impl Job {
    pub(super) fn new<T: Send + 'static>(
        durability: Durability,
        place: OwnedSemaphorePermit,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError> + Send + 'static,
        answer: oneshot::Sender<Result<T, StoreError>>,
    ) -> Self {
        let apply = move |tables: &mut Tables<'_>| {
            let outcome = change(tables);
            let broken = match &outcome {
                Err(error @ StoreError::Unavailable(_)) => Some(error.clone()),
                _ => None,
            };
            // Whoever asked may have gone.
            let acknowledge = move |committed: Result<(), StoreError>| drop(answer.send(committed.and(outcome)));
            Applied { broken, acknowledge: Box::new(acknowledge) }
        };
        Self { durability, apply: Box::new(apply), place }
    }
}

/// The share of the queue that a change of so many bytes takes.
pub(super) fn units(bytes: usize) -> u32 {
    u32::try_from((1 + bytes / UNIT_BYTES).min(QUEUE_UNITS)).unwrap_or(1)
}

/// Starts the writer. It ends once its sender is dropped, and all changes are durable by then.
pub(super) fn start(
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
) -> io::Result<(JobSender, JoinHandle<Result<(), StoreError>>)> {
    let (sender, jobs) = sync_channel(QUEUE_UNITS);
    let writer = Writer { database, clock, jobs, unsynced_since: None, last: 0 };
    let thread = thread::Builder::new().name("nexus-store".into()).spawn(move || writer.run())?;
    Ok((sender, thread))
}

struct Writer {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
    jobs: Receiver<Job>,
    unsynced_since: Option<Instant>,
    /// Changes in the last commit.
    last: usize,
}

impl Writer {
    fn run(mut self) -> Result<(), StoreError> {
        loop {
            let wait = self.unsynced_since.map_or(IDLE, |since| SOON.saturating_sub(since.elapsed()));
            match self.jobs.recv_timeout(wait) {
                Ok(first) => self.commit_group(first),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.idle() {
                        tracing::error!(%error, "the runtime store could not be synced");
                        self.unsynced_since = self.unsynced_since.map(|_| Instant::now());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.idle(),
            }
        }
    }

    /// Commits a change together with all that wait behind it.
    fn commit_group(&mut self, first: Job) {
        let mut group = vec![first];
        group.extend(self.jobs.try_iter().take(GROUP - 1));
        if self.last >= MANY && group.len() < GROUP {
            thread::sleep(GATHER);
            group.extend(self.jobs.try_iter().take(GROUP - group.len()));
        }
        self.last = group.len();
        let overdue = self.unsynced_since.is_some_and(|since| since.elapsed() >= SOON);
        let synced = overdue || group.iter().any(|job| job.durability == Durability::Synced);
        let mut waiting = Vec::with_capacity(group.len());
        let committed = self.commit(synced, |tables| {
            for job in group {
                let applied = (job.apply)(tables);
                waiting.push((applied.acknowledge, job.place));
                applied.broken.map_or(Ok(()), Err)?;
            }
            tables.sweep(SWEEP_BUSY).map(drop)
        });
        for (acknowledge, _place) in waiting {
            acknowledge(committed.clone());
        }
    }

    /// Syncs what is unsynced and removes expired entries.
    fn idle(&mut self) -> Result<(), StoreError> {
        self.last = 0;
        if self.unsynced_since.is_some() || self.expired()? {
            return self.commit(true, |tables| tables.sweep(SWEEP_IDLE).map(drop));
        }
        Ok(())
    }

    fn expired(&self) -> Result<bool, StoreError> {
        super::reader::any_expired(&self.database, self.clock.unix_millis()).map_err(|error| unavailable(&error))
    }

    fn commit(
        &mut self,
        synced: bool,
        change: impl FnOnce(&mut Tables<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write().map_err(|error| unavailable(&error.into()))?;
        let durability = if synced { redb::Durability::Immediate } else { redb::Durability::None };
        transaction.set_durability(durability).map_err(|error| unavailable(&error.into()))?;
        {
            let mut tables =
                Tables::open(&transaction, self.clock.unix_millis()).map_err(|error| unavailable(&error))?;
            change(&mut tables)?;
        }
        transaction.commit().map_err(|error| unavailable(&error.into()))?;
        self.unsynced_since = if synced { None } else { self.unsynced_since.or_else(|| Some(Instant::now())) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use redb::{StorageBackend, backends::InMemoryBackend};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{embedded::tables, memory::ManualClock};

    /// A file that counts its fsyncs.
    #[derive(Debug, Default)]
    struct Counting {
        file: InMemoryBackend,
        syncs: Arc<AtomicUsize>,
    }

    impl StorageBackend for Counting {
        fn len(&self) -> Result<u64, io::Error> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            self.file.set_len(len)
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.file.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            self.file.write(offset, data)
        }
    }

    /// The fsyncs of a writer that finds so many synced changes waiting.
    fn syncs(changes: usize) -> usize {
        let file = Counting::default();
        let syncs = Arc::clone(&file.syncs);
        let database = Arc::new(Database::builder().create_with_backend(file).unwrap());
        tables::create(&database).unwrap();
        let places = Arc::new(Semaphore::new(changes));
        let (sender, jobs) = sync_channel(changes);
        let mut answers = Vec::new();
        for number in 0..changes {
            let (answer, answered) = oneshot::channel();
            let place = Arc::clone(&places).try_acquire_owned().unwrap();
            let key = number.to_be_bytes();
            let change = move |tables: &mut Tables<'_>| tables.set(&key, b"x", u64::MAX);
            sender.send(Job::new(Durability::Synced, place, change, answer)).unwrap();
            answers.push(answered);
        }
        drop(sender);
        let before = syncs.load(Ordering::Relaxed);
        Writer { database, clock: Arc::new(ManualClock::default()), jobs, unsynced_since: None, last: 0 }
            .run()
            .unwrap();
        assert!(answers.into_iter().all(|mut answered| matches!(answered.try_recv(), Ok(Ok(())))));
        syncs.load(Ordering::Relaxed) - before
    }

    #[test]
    fn changes_that_wait_share_an_fsync() {
        // Of one change, and of closing the file.
        let alone = syncs(1);
        assert_eq!((syncs(GROUP), syncs(GROUP + 1)), (alone, alone + 1));
    }
}
