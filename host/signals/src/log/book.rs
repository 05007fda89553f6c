//! The log on disk: one task writes it, many read it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use nexus_model::AppName;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    follow::LogFollower,
    queue::LogRecords,
    read,
    record::{LogLevel, LogRecord},
    segments::{self, Retention, SegmentWriter},
};

/// Records that are taken from the queue at one time.
const BATCH: usize = 512;
/// Time between two looks for what is no longer kept, beside those after each batch.
const RETIRE_EVERY: Duration = Duration::from_mins(1);
/// Queries that read at one time; more wait.
const READERS: usize = 4;
/// Readers that follow at one time; more are refused.
const FOLLOWERS: usize = 64;
/// What one query reads from disk at the most; it then answers with what it has found, and where to go on.
const QUERY_BYTES: u64 = 64 << 20;

/// Why the log could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum LogBookError {
    /// The folder cannot be used.
    #[error("the log in `{}` cannot be used", .dir.display())]
    Open {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Records cannot be read.
    #[error("the log cannot be read")]
    Read(#[source] io::Error),
    /// Enough readers follow already.
    #[error("{FOLLOWERS} readers follow the log already")]
    TooManyFollowers,
}

/// Whose records a reader may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogScope {
    /// All, the host's own included.
    All,
    /// Those of these applications.
    Apps(Vec<AppName>),
}

/// Which records are wanted. What is `None` does not matter.
#[derive(Debug, Clone)]
pub struct LogFilter {
    /// Whose records may be seen at all.
    pub scope: LogScope,
    /// Of this application.
    pub app: Option<String>,
    /// Of this operation's name.
    pub operation: Option<String>,
    /// Of this execution.
    pub execution: Option<String>,
    /// That matter at least so much.
    pub level: Option<LogLevel>,
    /// With this text in the message, the target or a field; case does not matter.
    pub text: Option<String>,
    /// Not before this time.
    pub since: Option<OffsetDateTime>,
    /// Before this time.
    pub until: Option<OffsetDateTime>,
}

impl LogFilter {
    /// All records of a scope.
    pub fn all(scope: LogScope) -> Self {
        let (app, operation, execution, text) = (None, None, None, None);
        Self { scope, app, operation, execution, level: None, text, since: None, until: None }
    }

    /// Whether a record passes.
    pub fn admits(&self, record: &LogRecord) -> bool {
        let same = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        let context = &record.context;
        let visible = match &self.scope {
            LogScope::All => true,
            LogScope::Apps(apps) => {
                context.app.as_deref().is_some_and(|app| apps.iter().any(|name| name.as_str() == app))
            }
        };
        visible
            && same(&self.app, &context.app)
            && same(&self.operation, &context.operation)
            && same(&self.execution, &context.execution)
            && self.level.is_none_or(|least| record.level >= least)
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && self.text.as_deref().is_none_or(|text| says(record, &text.to_lowercase()))
    }
}

fn says(record: &LogRecord, lower: &str) -> bool {
    let holds = |text: &str| text.to_lowercase().contains(lower);
    holds(&record.message)
        || holds(&record.target)
        || record.fields.values().any(|value| value.as_str().map_or_else(|| holds(&value.to_string()), holds))
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPage {
    /// Newest first.
    pub records: Vec<LogRecord>,
    /// What to ask for records before, to go on; `None` when there are no older ones.
    pub next: Option<u64>,
    /// The number of the newest record of the log at that time; 0 for an empty log.
    pub newest: u64,
}

/// Records on disk, the newest of them within a bounded size and age.
///
/// Writing never makes anybody wait, and survives the end of the process at any moment: what was handed to the operating
/// system stays, and a last line that was not finished is cut off at the next start. What the queue had no room for is
/// counted, and said in the log itself.
#[derive(Debug)]
pub struct LogBook {
    pub(super) shelf: Arc<Shelf>,
    readers: Semaphore,
    followers: Arc<Semaphore>,
    close: CancellationToken,
    following: CancellationToken,
}

/// What readers share.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) dir: PathBuf,
    pub(super) newest: watch::Receiver<u64>,
    pub(super) tracker: TaskTracker,
}

impl LogBook {
    /// Opens the log in `dir` and writes down what comes out of the queue, until [`LogBook::close`]. `lost` is told how
    /// many records had no room. Blocks for a moment.
    pub fn start(
        dir: PathBuf,
        retention: Retention,
        records: LogRecords,
        lost: impl Fn(u64) + Send + 'static,
        tracker: &TaskTracker,
    ) -> Result<Self, LogBookError> {
        let opened = SegmentWriter::open(dir.clone(), retention);
        let writer = opened.map_err(|source| LogBookError::Open { dir: dir.clone(), source })?;
        let (tell, newest) = watch::channel(writer.next() - 1);
        let close = CancellationToken::new();
        let scribe = Scribe { writer: Some(writer), records, lost: Box::new(lost), failing: false, tell };
        tracker.spawn(scribe.run(close.clone(), tracker.clone()));
        let shelf = Arc::new(Shelf { dir, newest, tracker: tracker.clone() });
        let (readers, followers) = (Semaphore::new(READERS), Arc::new(Semaphore::new(FOLLOWERS)));
        Ok(Self { shelf, readers, followers, close, following: CancellationToken::new() })
    }

    /// Writes down what is in the queue and nothing more.
    pub fn close(&self) {
        self.stop_following();
        self.close.cancel();
    }

    /// Ends all followers.
    pub fn stop_following(&self) {
        self.following.cancel();
    }

    /// The newest records that pass the filter, at most `limit`, of those numbered below `before`. May find fewer than
    /// there are and say where to go on, when much had to be read.
    pub async fn query(&self, filter: LogFilter, before: Option<u64>, limit: usize) -> Result<LogPage, LogBookError> {
        // The semaphore is never closed.
        let _reader = self.readers.acquire().await;
        let (dir, newest) = (self.shelf.dir.clone(), *self.shelf.newest.borrow());
        let search = move || search(&dir, &filter, before.unwrap_or(u64::MAX), limit);
        let found = self.shelf.tracker.spawn_blocking(search).await;
        let (records, next) = found.map_err(io::Error::other).flatten().map_err(LogBookError::Read)?;
        Ok(LogPage { records, next, newest })
    }

    /// Follows the log from the record after number `after`, or from now on.
    pub fn follow(&self, filter: LogFilter, after: Option<u64>) -> Result<LogFollower, LogBookError> {
        let permit = Arc::clone(&self.followers).try_acquire_owned().map_err(|_| LogBookError::TooManyFollowers)?;
        let newest = *self.shelf.newest.borrow();
        // A number that this log has not reached is of another log.
        let after = after.unwrap_or(newest).min(newest);
        Ok(LogFollower::new(Arc::clone(&self.shelf), filter, after, self.following.clone(), permit))
    }
}

fn search(dir: &Path, filter: &LogFilter, before: u64, limit: usize) -> io::Result<(Vec<LogRecord>, Option<u64>)> {
    let (mut found, mut looked_at, mut read_down_to) = (Vec::new(), 0, before);
    for segment in segments::list(dir)?.iter().rev().filter(|segment| segment.first < before) {
        if looked_at >= QUERY_BYTES {
            return Ok((found, Some(read_down_to)));
        }
        let bytes = match std::fs::read(&segment.path) {
            Ok(bytes) => bytes,
            // It was the oldest, and has gone since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        looked_at += bytes.len() as u64;
        read_down_to = segment.first;
        let mut all_older = filter.since.is_some();
        for record in read::records(read::whole(&bytes)).rev().filter(|record| record.id < before) {
            all_older &= filter.since.is_some_and(|since| record.time < since);
            if filter.admits(&record) {
                let id = record.id;
                found.push(record);
                if found.len() == limit {
                    return Ok((found, (id > 1).then_some(id)));
                }
            }
        }
        if all_older {
            break;
        }
    }
    Ok((found, None))
}

/// Writes.
struct Scribe {
    /// Taken while it works on a blocking thread.
    writer: Option<SegmentWriter>,
    records: LogRecords,
    lost: Box<dyn Fn(u64) + Send>,
    failing: bool,
    tell: watch::Sender<u64>,
}

impl Scribe {
    async fn run(mut self, close: CancellationToken, tracker: TaskTracker) {
        let mut tick = tokio::time::interval(RETIRE_EVERY);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let open = tokio::select! {
                biased;
                () = close.cancelled() => false,
                count = self.records.receiver.recv_many(&mut batch, BATCH) => count > 0,
                _ = tick.tick() => true,
            };
            if !open {
                self.records.receiver.close();
                while let Ok(record) = self.records.receiver.try_recv() {
                    batch.push(record);
                }
            }
            batch = self.write(batch, &tracker).await;
            if !open {
                return;
            }
        }
    }

    async fn write(&mut self, mut batch: Vec<LogRecord>, tracker: &TaskTracker) -> Vec<LogRecord> {
        let lost = self.records.lost.swap(0, Relaxed);
        if lost > 0 {
            (self.lost)(lost);
            batch.push(LogRecord::of_the_log(LogLevel::Warn, format!("{lost} records had no room and were lost")));
        }
        let Some(mut writer) = self.writer.take() else { return batch };
        let written = tracker.spawn_blocking(move || {
            let (left, outcome) = append_all(&mut writer, &mut batch);
            let outcome = outcome.and_then(|()| writer.retire(SystemTime::now()).map(|_| ()));
            batch.clear();
            (writer, batch, left, outcome)
        });
        // The blocking thread does not panic, and nobody aborts it.
        let Ok((writer, batch, left, outcome)) = written.await else { return Vec::new() };
        let newest = writer.next() - 1;
        self.writer = Some(writer);
        self.tell.send_if_modified(|told| std::mem::replace(told, newest) != newest);
        if left > 0 {
            (self.lost)(left);
        }
        // Said once, not for each batch: it goes to standard error all the same.
        match (outcome, std::mem::replace(&mut self.failing, left > 0)) {
            (Err(error), false) => tracing::error!(%error, "the log cannot be kept on disk"),
            (Ok(()), true) => tracing::info!("the log is kept on disk again"),
            _ => {}
        }
        batch
    }
}

/// Says how many records were not written, and why.
fn append_all(writer: &mut SegmentWriter, records: &mut [LogRecord]) -> (u64, io::Result<()>) {
    let mut done = 0;
    while done < records.len() {
        match writer.append(&mut records[done..]) {
            Ok(count) => done += count,
            Err(error) => return ((records.len() - done) as u64, Err(error)),
        }
    }
    (0, Ok(()))
}
