//! Writes that nobody waits for.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nexus_model::{Batch, Durability, RuntimeStore, StoreError, Write};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::TaskTracker;

/// What waits for the store at the most: so many values, and so many bytes of them.
const QUEUE: usize = 8_192;
const QUEUE_BYTES: usize = 64 << 20;
/// Waiters for the store at the most.
const BARRIERS: usize = 1_024;
/// Values that are written together at the most.
const BATCH: usize = 512;
/// Time between two tries while the store is out of reach.
const AGAIN: Duration = Duration::from_millis(200);

type Lost = Box<dyn Fn(u64) + Send + Sync>;

enum Note {
    Keep(Write),
    /// Answered once everything before it is written, or the store has refused.
    Barrier(oneshot::Sender<Result<(), StoreError>>),
}

/// Writes values in the background, in batches, each of one application.
///
/// While the store is out of reach they are kept in memory, within a bound of 8,192 values and 64 MiB; what does not fit
/// is lost and counted. The one application whose part of a store is out of reach holds nobody else up.
pub(crate) struct WriteBehind {
    notes: mpsc::Sender<Note>,
    load: Arc<Load>,
    lost: Arc<Lost>,
}

/// What waits.
#[derive(Default)]
struct Load {
    values: AtomicUsize,
    bytes: AtomicUsize,
}

impl Load {
    /// Takes a place for a value, if there is one.
    fn take(&self, bytes: usize) -> bool {
        let values = self.values.fetch_add(1, Ordering::Relaxed);
        let all_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = values < QUEUE && all_bytes + bytes <= QUEUE_BYTES;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.values.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl WriteBehind {
    /// Starts the writer; it ends when this is dropped, after a last try. `lost` is told how many values were lost.
    pub(crate) fn start(
        runtime: Arc<dyn RuntimeStore>,
        lost: impl Fn(u64) + Send + Sync + 'static,
        tracker: &TaskTracker,
    ) -> Self {
        let (notes, received) = mpsc::channel(QUEUE + BARRIERS);
        let (load, lost): (_, Arc<Lost>) = (Arc::new(Load::default()), Arc::new(Box::new(lost)));
        let writer = Writer { runtime, load: Arc::clone(&load), lost: Arc::clone(&lost), held: BTreeMap::new() };
        tracker.spawn(writer.run(received));
        Self { notes, load, lost }
    }

    /// Never waits. `false`: there is no room, and the value is counted as lost.
    pub(crate) fn keep(&self, write: Write) -> bool {
        let bytes = size(&write);
        if !self.load.take(bytes) {
            (self.lost)(1);
            return false;
        }
        let kept = self.notes.try_send(Note::Keep(write)).is_ok();
        if !kept {
            self.load.give_back(bytes);
            (self.lost)(1);
        }
        kept
    }

    /// Counts a value that was lost before it could be kept.
    pub(crate) fn count_lost(&self) {
        (self.lost)(1);
    }

    /// Waits until everything kept so far is in the store. Fails, without waiting for it to come back, when the store is
    /// out of reach.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        let (done, outcome) = oneshot::channel();
        let stopped = || StoreError::Unavailable("the host is stopping".to_owned());
        self.notes.send(Note::Barrier(done)).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

struct Writer {
    runtime: Arc<dyn RuntimeStore>,
    load: Arc<Load>,
    lost: Arc<Lost>,
    /// What is not written yet, by whom it belongs to.
    held: BTreeMap<String, VecDeque<Write>>,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        let mut received = Vec::with_capacity(BATCH);
        loop {
            let more = if self.held.is_empty() {
                notes.recv_many(&mut received, BATCH).await > 0
            } else {
                // A time that is over is a reason to try again; nothing that was received is lost by it.
                timeout(AGAIN, notes.recv_many(&mut received, BATCH)).await.map_or(true, |count| count > 0)
            };
            let mut barriers = Vec::new();
            for note in received.drain(..) {
                match note {
                    Note::Keep(write) => self.hold(write),
                    Note::Barrier(done) => barriers.push(done),
                }
            }
            let outcome = self.write_held().await;
            for done in barriers {
                // Whoever waited may have gone away.
                let _ = done.send(outcome.clone());
            }
            if !more {
                break;
            }
        }
        let left: usize = self.held.values().map(VecDeque::len).sum();
        if left > 0 {
            tracing::warn!(left, "what was still in memory is lost: the store is out of reach");
            (self.lost)(left as u64);
        }
    }

    fn hold(&mut self, write: Write) {
        self.held.entry(write.key().owner().to_owned()).or_default().push_back(write);
    }

    /// Writes what it can; says why something is left.
    async fn write_held(&mut self) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for (owner, mut waiting) in std::mem::take(&mut self.held) {
            while !waiting.is_empty() {
                let batch: Batch = waiting.iter().take(BATCH).cloned().collect();
                let (count, bytes): (usize, Vec<usize>) = (batch.len(), batch.iter().map(size).collect());
                match self.runtime.write(batch, Durability::Soon).await {
                    Err(error @ (StoreError::Unavailable(_) | StoreError::Busy(_))) => {
                        outcome = Err(error);
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(owner, count, %error, "the store refused what was to be kept");
                        (self.lost)(count as u64);
                    }
                    Ok(()) => {}
                }
                waiting.drain(..count);
                for bytes in bytes {
                    self.load.give_back(bytes);
                }
            }
            if !waiting.is_empty() {
                self.held.insert(owner, waiting);
            }
        }
        outcome
    }
}

fn size(write: &Write) -> usize {
    match write {
        Write::Set { key, value, .. } => key.key().len() + value.len(),
        Write::Delete { key } => key.key().len(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use nexus_model::{AppName, Key};
    use nexus_state::{EmbeddedStore, SystemClock, memory::MemoryRuntime};

    use super::*;

    fn write(app: &str, number: usize, bytes: usize) -> Write {
        let app: AppName = app.parse().unwrap();
        Write::Set { key: Key::of_app(&app, "test", format!("{number:05}")), value: vec![1; bytes], ttl: None }
    }

    fn start(runtime: Arc<dyn RuntimeStore>) -> (WriteBehind, Arc<AtomicU64>, TaskTracker) {
        let (lost, tracker) = (Arc::new(AtomicU64::new(0)), TaskTracker::new());
        let count = Arc::clone(&lost);
        let add = move |more| {
            count.fetch_add(more, SeqCst);
        };
        let behind = WriteBehind::start(runtime, add, &tracker);
        (behind, lost, tracker)
    }

    #[tokio::test]
    async fn what_is_kept_is_written_for_each_application() {
        let runtime: Arc<dyn RuntimeStore> = Arc::new(MemoryRuntime::default());
        let (behind, lost, _) = start(Arc::clone(&runtime));
        for number in 0..1_500 {
            assert!(behind.keep(write(if number % 3 == 0 { "one" } else { "two" }, number, 10)));
        }
        behind.settle().await.unwrap();
        for (app, count) in [("one", 500), ("two", 1_000)] {
            let prefix = Key::of_app(&app.parse().unwrap(), "test", "");
            assert_eq!(runtime.list(&prefix, None, usize::MAX).await.unwrap().len(), count);
        }
        assert_eq!(lost.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn while_the_store_is_gone_memory_is_bounded_and_losses_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&folder.path().join("runtime.redb"), Arc::new(SystemClock)).unwrap();
        store.close().await.unwrap();
        let (behind, lost, tracker) = start(Arc::new(store));
        let kept = (0..QUEUE + 100).filter(|number| behind.keep(write("one", *number, 10))).count();
        assert_eq!((kept, lost.load(SeqCst)), (QUEUE, 100), "by number");
        assert!(matches!(behind.settle().await, Err(StoreError::Unavailable(_))), "nobody waits for it");
        assert!(!behind.keep(write("one", 0, 1)));
        drop(behind);
        tracker.close();
        tracker.wait().await;
        assert_eq!(lost.load(SeqCst), QUEUE as u64 + 101, "what is still there at the end is lost");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let load = Load::default();
        assert!(load.take(QUEUE_BYTES - 1) && !load.take(2) && load.take(1) && !load.take(1));
        load.give_back(1);
        assert!(load.take(1));
    }
}
