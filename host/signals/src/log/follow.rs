//! Reading on as the log grows.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::{
    book::{LogBookError, LogFilter, Shelf},
    read,
    record::LogRecord,
    segments::{self, Segment},
};

/// What is read from disk at one time.
const CHUNK: u64 = 1 << 20;

/// What a follower gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// The next records, oldest first.
    Records(Vec<LogRecord>),
    /// So many records were gone before they could be read; the number of the last of them.
    Gap {
        /// How many.
        missing: u64,
        /// The last one's number.
        until: u64,
    },
}

/// One reader that follows. It reads from disk at its own pace, so that a slow one costs no memory.
#[derive(Debug)]
pub struct LogFollower {
    shelf: Arc<Shelf>,
    newest: watch::Receiver<u64>,
    filter: LogFilter,
    place: Place,
    end: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl LogFollower {
    pub(super) fn new(
        shelf: Arc<Shelf>,
        filter: LogFilter,
        after: u64,
        end: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let place = Place { dir: shelf.dir.clone(), seen: after, segment: None, offset: 0 };
        Self { newest: shelf.newest.clone(), shelf, filter, place, end, _permit: permit }
    }

    /// Waits for the next records that pass the filter. `None` at the end: the log was closed, or followers were ended.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Followed>, LogBookError> {
        while !self.end.is_cancelled() {
            let known = *self.newest.borrow_and_update();
            if self.place.seen < known {
                match self.read(known).await.map_err(LogBookError::Read)? {
                    Followed::Records(mut records) => {
                        records.retain(|record| self.filter.admits(record));
                        if !records.is_empty() {
                            return Ok(Some(Followed::Records(records)));
                        }
                    }
                    gap @ Followed::Gap { .. } => return Ok(Some(gap)),
                }
                continue;
            }
            tokio::select! {
                () = self.end.cancelled() => {}
                changed = self.newest.changed() => if changed.is_err() {
                    break;
                }
            }
        }
        Ok(None)
    }

    async fn read(&mut self, known: u64) -> io::Result<Followed> {
        let mut place = self.place.clone();
        let read = self.shelf.tracker.spawn_blocking(move || {
            let read = place.read(known);
            (place, read)
        });
        let (place, read) = read.await.map_err(io::Error::other)?;
        self.place = place;
        read
    }
}

/// How far a reader has come.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
    /// The number of the last record that was read or is known to be gone.
    seen: u64,
    segment: Option<Segment>,
    offset: u64,
}

impl Place {
    /// The next records after `seen`, of which there are some up to `known`.
    fn read(&mut self, known: u64) -> io::Result<Followed> {
        let segments = segments::list(&self.dir)?;
        loop {
            let Some(segment) = self.current(&segments) else { return Ok(self.gap(known)) };
            if segment.first > self.seen + 1 {
                return Ok(self.gap(segment.first - 1));
            }
            let later = segments.iter().find(|other| other.first > segment.first).cloned();
            let (mut records, length) = match chunk(&segment.path, self.offset) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), 0),
                Err(error) => return Err(error),
            };
            self.offset += length;
            records.retain(|record| record.id > self.seen);
            if let Some(last) = records.last() {
                self.seen = last.id;
                return Ok(Followed::Records(records));
            }
            if length > 0 {
                continue;
            }
            let Some(later) = later else { return Ok(self.gap(known)) };
            (self.segment, self.offset) = (Some(later), 0);
        }
    }

    /// The segment to read: the one read last while it is there, otherwise the one that should hold the next record, or
    /// the first after it.
    fn current(&mut self, segments: &[Segment]) -> Option<Segment> {
        if let Some(segment) = &self.segment
            && segments.contains(segment)
        {
            return Some(segment.clone());
        }
        let wanted = self.seen + 1;
        let holding = segments.iter().rev().find(|segment| segment.first <= wanted).or(segments.first())?;
        (self.segment, self.offset) = (Some(holding.clone()), 0);
        Some(holding.clone())
    }

    fn gap(&mut self, until: u64) -> Followed {
        let missing = until - self.seen;
        self.seen = until;
        Followed::Gap { missing, until }
    }
}

/// The whole records from `offset` on, as many as one read holds, and how many bytes they took.
fn chunk(path: &Path, offset: u64) -> io::Result<(Vec<LogRecord>, u64)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(CHUNK).read_to_end(&mut bytes)?;
    let whole = read::whole(&bytes);
    Ok((read::records(whole).collect(), whole.len() as u64))
}
