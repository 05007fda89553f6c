//! Reading the file.

use std::ops::Bound;

use nexus_model::{Entry, Key};
use redb::{Database, ReadableDatabase, ReadableTable};

use super::tables::{DEADLINES, ENTRIES, LAST_ID, STREAMS, decode};

/// Sorts after every UTF-8 text that begins with what is before it.
const AFTER_ALL: u8 = 0xff;

type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A range of keys below a prefix.
pub(super) struct Page {
    /// Bytes before the key's last part.
    stem: usize,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    limit: usize,
}

impl Page {
    pub(super) fn after(prefix: &Key, after: Option<&str>, limit: usize) -> Self {
        let mut page = Self::all(prefix, limit);
        if let (Some(after), Bound::Included(first)) = (after, &page.from) {
            let after = [&first[..page.stem], after.as_bytes()].concat();
            if after >= *first {
                page.from = Bound::Excluded(after);
            }
        }
        page
    }

    pub(super) fn before(prefix: &Key, before: Option<&str>, limit: usize) -> Self {
        let mut page = Self::all(prefix, limit);
        if let (Some(before), Bound::Included(first), Bound::Excluded(last)) = (before, &page.from, &page.to) {
            let before = [&first[..page.stem], before.as_bytes()].concat();
            if before < *last {
                page.to = Bound::Excluded(before);
            }
        }
        page
    }

    fn all(prefix: &Key, limit: usize) -> Self {
        let first = prefix.to_string().into_bytes();
        let last = [&*first, &[AFTER_ALL]].concat();
        Self { stem: first.len() - prefix.key().len(), from: Bound::Included(first), to: Bound::Excluded(last), limit }
    }

    /// The range, unless it ends before it begins.
    fn range(&self) -> Option<KeyRange<'_>> {
        let (from, to) = (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice));
        let (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) = (from, to)
        else {
            return None;
        };
        (low < high).then_some((from, to))
    }
}

pub(super) fn get(database: &Database, key: &[u8], now: u64) -> Result<Option<Vec<u8>>, redb::Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let Some(record) = entries.get(key)? else { return Ok(None) };
    let (deadline, value) = decode(record.value());
    Ok((now < deadline).then(|| value.to_vec()))
}

pub(super) fn list(database: &Database, page: &Page, now: u64) -> Result<Vec<Entry>, redb::Error> {
    let Some(range) = page.range() else { return Ok(Vec::new()) };
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    take_live(entries.range::<&[u8]>(range)?, page, now)
}

pub(super) fn list_newest(database: &Database, page: &Page, now: u64) -> Result<Vec<Entry>, redb::Error> {
    let Some(range) = page.range() else { return Ok(Vec::new()) };
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    take_live(entries.range::<&[u8]>(range)?.rev(), page, now)
}

type Stored<'a> = (redb::AccessGuard<'a, &'static [u8]>, redb::AccessGuard<'a, &'static [u8]>);

fn take_live<'a>(
    stored: impl Iterator<Item = Result<Stored<'a>, redb::StorageError>>,
    page: &Page,
    now: u64,
) -> Result<Vec<Entry>, redb::Error> {
    let mut found = Vec::new();
    for stored in stored {
        if found.len() >= page.limit {
            break;
        }
        let (key, record) = stored?;
        let (deadline, value) = decode(record.value());
        if now < deadline {
            let key = String::from_utf8_lossy(&key.value()[page.stem..]).into_owned();
            found.push(Entry { key, value: value.to_vec() });
        }
    }
    Ok(found)
}

pub(super) fn stream(
    database: &Database,
    stream: &[u8],
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Entry>, redb::Error> {
    let after = after.unwrap_or("");
    if after >= LAST_ID {
        return Ok(Vec::new());
    }
    let streams = database.begin_read()?.open_table(STREAMS)?;
    let range =
        streams.range::<(&[u8], &str)>((Bound::Excluded((stream, after)), Bound::Excluded((stream, LAST_ID))))?;
    let entries = range.take(limit).map(|stored| {
        let (key, value) = stored?;
        Ok(Entry { key: key.value().1.to_owned(), value: value.value().to_vec() })
    });
    entries.collect()
}

/// Whether an entry is there that has expired.
pub(super) fn any_expired(database: &Database, now: u64) -> Result<bool, redb::Error> {
    let deadlines = database.begin_read()?.open_table(DEADLINES)?;
    Ok(deadlines.first()?.is_some_and(|(first, _)| first.value().0 <= now))
}
