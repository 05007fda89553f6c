//! The files that records are kept in: one JSON object a line, in segments that are named after their first record.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{read, record::LogRecord};
use crate::{LogFormat, Redactor};

/// A segment is this part of what is kept, within the two bounds below.
const SEGMENTS: u64 = 16;
const MIN_SEGMENT: u64 = 64 << 10;
const MAX_SEGMENT: u64 = 8 << 20;
/// One write ends with the record that reaches this many bytes.
const WRITE_BYTES: usize = 256 << 10;

/// How much of the log is kept. The oldest segment goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Bytes, all segments together.
    pub bytes: u64,
    /// The age of the youngest record of a segment at which the segment goes.
    pub age: Duration,
}

impl Retention {
    fn segment_bytes(self) -> u64 {
        (self.bytes / SEGMENTS).clamp(MIN_SEGMENT, MAX_SEGMENT)
    }

    /// How long one segment is written to.
    fn segment_age(self) -> Duration {
        self.age / 8
    }
}

/// A segment: its first record's number and its path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    fn new(dir: &Path, first: u64) -> Self {
        Self { first, path: dir.join(format!("{first:020}.jsonl")) }
    }
}

/// All segments, oldest first. Files of other names are passed over.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(first) = name.filter(|name| name.len() == 20).and_then(|name| name.parse().ok()) {
            found.push(Segment { first, path });
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Writes segments. There is one writer for a folder.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    dir: PathBuf,
    retention: Retention,
    file: File,
    /// Bytes of whole lines in the segment.
    length: u64,
    begun: SystemTime,
    next: u64,
}

impl SegmentWriter {
    /// Goes on where the last writer stopped. What it left of a line that it did not finish is cut off.
    pub(super) fn open(dir: PathBuf, retention: Retention) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let segments = list(&dir)?;
        let segment = segments.last().cloned().unwrap_or_else(|| Segment::new(&dir, 1));
        let mut file = open(&segment)?;
        let (length, next) = repair(&mut file, segment.first)?;
        let begun = file.metadata()?.created().unwrap_or_else(|_| SystemTime::now());
        Ok(Self { dir, retention, file, length, begun, next })
    }

    /// The number that the next record gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Writes the first of these records down, as many as one write takes, and gives them their numbers; says how many.
    /// After an error none of them is there.
    pub(super) fn append(&mut self, records: &mut [LogRecord]) -> io::Result<usize> {
        if self.length > 0 && self.is_full() {
            self.begin()?;
        }
        let (mut lines, mut count) = (String::new(), 0);
        for (record, id) in records.iter_mut().zip(self.next..) {
            record.id = id;
            lines.push_str(&record.line(LogFormat::Json, false));
            count += 1;
            if lines.len() >= WRITE_BYTES {
                break;
            }
        }
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // A half line would swallow the next one. Where it cannot be cut off, the next segment begins clean.
            let cut = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            if cut.is_err() {
                self.length = u64::MAX;
            }
            return Err(error);
        }
        self.length += lines.len() as u64;
        self.next += count as u64;
        Ok(count)
    }

    /// Removes what is no longer kept; says how many segments went.
    pub(super) fn retire(&mut self, now: SystemTime) -> io::Result<usize> {
        if self.length > 0 && now.duration_since(self.begun).is_ok_and(|age| age > self.retention.segment_age()) {
            self.begin()?;
        }
        let mut segments = Vec::new();
        for segment in list(&self.dir)? {
            let metadata = fs::metadata(&segment.path)?;
            segments.push((segment, metadata.len(), metadata.modified().unwrap_or(now)));
        }
        // The last one is being written.
        segments.pop();
        let mut bytes = self.length.saturating_add(segments.iter().map(|(_, length, _)| length).sum());
        let mut gone = 0;
        for (segment, length, modified) in segments {
            let old = now.duration_since(modified).is_ok_and(|age| age > self.retention.age);
            if !old && bytes <= self.retention.bytes {
                break;
            }
            fs::remove_file(&segment.path)?;
            bytes = bytes.saturating_sub(length);
            gone += 1;
        }
        Ok(gone)
    }

    fn is_full(&self) -> bool {
        self.length >= self.retention.segment_bytes()
    }

    fn begin(&mut self) -> io::Result<()> {
        self.file = open(&Segment::new(&self.dir, self.next))?;
        (self.length, self.next) = repair(&mut self.file, self.next)?;
        self.begun = SystemTime::now();
        Ok(())
    }
}

fn open(segment: &Segment) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&segment.path)
}

/// Cuts off an unfinished last line. Gives the length of what is left and the number of the next record.
fn repair(file: &mut File, first: u64) -> io::Result<(u64, u64)> {
    let mut bytes = Vec::new();
    Read::by_ref(file).take(MAX_SEGMENT * 8).read_to_end(&mut bytes)?;
    let whole = read::whole(&bytes);
    let length = whole.len() as u64;
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    let last = read::records(whole).next_back().map_or(first, |record| record.id + 1);
    Ok((length, last.max(first)))
}

impl LogRecord {
    /// What the log itself has to say.
    pub(super) fn of_the_log(level: super::LogLevel, message: String) -> Self {
        let mut record = Self::now(level, "nexus::log");
        record.message = message;
        record.cleaned(&Redactor::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Retention, SegmentWriter, list};
    use crate::log::{LogLevel, LogRecord, read};

    const KEEP: Retention = Retention { bytes: 1 << 20, age: Duration::from_hours(1) };

    fn said(texts: &[&str]) -> Vec<LogRecord> {
        texts.iter().map(|text| LogRecord::of_the_log(LogLevel::Info, (*text).to_owned())).collect()
    }

    fn all(dir: &std::path::Path) -> Vec<(u64, String)> {
        let bytes = list(dir).unwrap().into_iter().map(|segment| std::fs::read(segment.path).unwrap());
        let records = bytes.flat_map(|bytes| read::records(read::whole(&bytes)).collect::<Vec<_>>());
        records.map(|record| (record.id, record.message)).collect()
    }

    #[test]
    fn a_torn_line_is_cut_off_and_numbers_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SegmentWriter::open(dir.path().to_owned(), KEEP).unwrap();
        writer.append(&mut said(&["a", "b"])).unwrap();
        let path = &list(dir.path()).unwrap()[0].path;
        let whole = std::fs::read(path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(path, &whole[..cut]).unwrap();
            let mut writer = SegmentWriter::open(dir.path().to_owned(), KEEP).unwrap();
            writer.append(&mut said(&["c"])).unwrap();
            let found = all(dir.path());
            let ids: Vec<_> = found.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(found.last().unwrap().1, "c", "cut at {cut}");
        }
    }

    #[test]
    fn the_oldest_segment_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SegmentWriter::open(dir.path().to_owned(), KEEP).unwrap();
        let text = "x".repeat(8_000);
        for _ in 0..400 {
            writer.append(&mut said(&[&text])).unwrap();
            writer.retire(SystemTime::now()).unwrap();
        }
        let bytes: u64 = list(dir.path()).unwrap().iter().map(|s| s.path.metadata().unwrap().len()).sum();
        assert!((KEEP.bytes / 2..=KEEP.bytes + (64 << 10)).contains(&bytes), "{bytes}");
        let ids: Vec<_> = all(dir.path()).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, (401 - ids.len() as u64..=400).collect::<Vec<_>>());
        writer.retire(SystemTime::now() + KEEP.age * 2).unwrap();
        assert_eq!(all(dir.path()), [], "what is too old is gone, the segment being written included");
        writer.append(&mut said(&["later"])).unwrap();
        assert_eq!(all(dir.path()), [(401, "later".to_owned())]);
    }
}
