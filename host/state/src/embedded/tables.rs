//! What the file holds, and the changes that a write transaction makes to it.

use nexus_model::{Quota, StoreError};
use redb::{Database, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::unavailable;
use crate::quota::{Outlook, Usage, counted};

/// Key → deadline (8 bytes, big endian, Unix milliseconds) and value.
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Deadline and key of each entry that has a deadline, to find what has expired.
pub(super) const DEADLINES: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("deadlines");
/// Stream and id → value.
pub(super) const STREAMS: TableDefinition<'_, (&[u8], &str), &[u8]> = TableDefinition::new("streams");
/// Stream → the last id (milliseconds, number) and how many entries there are.
const TAILS: TableDefinition<'_, &[u8], (u64, u64, u64)> = TableDefinition::new("tails");

/// Application → the bytes and the number of its keys that count.
const USAGE: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("usage");
/// Stream and group → the id of the last entry that was handed to a consumer; empty before the first.
pub(super) const GROUPS: TableDefinition<'_, (&[u8], &str), &str> = TableDefinition::new("groups");
/// Stream, group and id → who has the entry.
pub(super) const PENDING: TableDefinition<'_, Mark<'_>, Held<'_>> = TableDefinition::new("pending");

/// Stream, group and id.
type Mark<'a> = (&'a [u8], &'a str, &'a str);
/// The consumer that has an entry, since when (Unix milliseconds), and how often the entry was handed over.
type Held<'a> = (&'a str, u64, u64);

/// The deadline of what never expires.
pub(super) const FOREVER: u64 = u64::MAX;
/// Ids of one millisecond.
const IDS_PER_MILLI: u64 = 1_000_000;

/// Expired entries that are removed where an application has no room.
const SWEEP_FOR_ROOM: usize = 1_000;

/// A value that has not expired.
pub(super) struct Record {
    pub(super) deadline: u64,
    pub(super) value: Vec<u8>,
}

/// Splits a stored record into deadline and value.
pub(super) fn decode(record: &[u8]) -> (u64, &[u8]) {
    record.split_first_chunk().map_or((FOREVER, record), |(deadline, value)| (u64::from_be_bytes(*deadline), value))
}

/// The deadline of a stored record, and the length of its value.
fn shape(record: &[u8]) -> (u64, usize) {
    let (deadline, value) = decode(record);
    (deadline, value.len())
}

fn text(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok()
}

fn total(name: usize, value: usize) -> u64 {
    (name + value) as u64
}

/// Makes the tables, so that readers find them.
pub(super) fn create(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    drop(Tables::open(&transaction, 0)?);
    transaction.commit()?;
    Ok(())
}

/// The tables within one write transaction.
pub(super) struct Tables<'txn> {
    entries: Table<'txn, &'static [u8], &'static [u8]>,
    deadlines: Table<'txn, (u64, &'static [u8]), ()>,
    pub(super) streams: Table<'txn, (&'static [u8], &'static str), &'static [u8]>,
    tails: Table<'txn, &'static [u8], (u64, u64, u64)>,
    pub(super) groups: Table<'txn, (&'static [u8], &'static str), &'static str>,
    pub(super) pending: Table<'txn, Mark<'static>, Held<'static>>,
    usage: Table<'txn, &'static str, (u64, u64)>,
    pub(super) now: u64,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction, now: u64) -> Result<Self, redb::Error> {
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            deadlines: transaction.open_table(DEADLINES)?,
            streams: transaction.open_table(STREAMS)?,
            tails: transaction.open_table(TAILS)?,
            groups: transaction.open_table(GROUPS)?,
            pending: transaction.open_table(PENDING)?,
            usage: transaction.open_table(USAGE)?,
            now,
        })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Record>, StoreError> {
        let Some(record) = self.entries.get(key).map_err(storage)? else { return Ok(None) };
        let (deadline, value) = decode(record.value());
        Ok((self.now < deadline).then(|| Record { deadline, value: value.to_vec() }))
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8], deadline: u64) -> Result<(), StoreError> {
        let mut record = Vec::with_capacity(8 + value.len());
        record.extend_from_slice(&deadline.to_be_bytes());
        record.extend_from_slice(value);
        let old = self.entries.insert(key, &*record).map_err(storage)?.map(|old| shape(old.value()));
        self.count(key, old.map(|(_, size)| size), Some(value.len()))?;
        self.move_deadline(key, old.map(|(deadline, _)| deadline), deadline)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let old = self.entries.remove(key).map_err(storage)?.map(|old| shape(old.value()));
        self.count(key, old.map(|(_, size)| size), None)?;
        self.move_deadline(key, old.map(|(deadline, _)| deadline), FOREVER)
    }

    /// Refuses changes (a key, and the size of its value or `None` where it goes) that an application has no room for.
    pub(super) fn admit(&mut self, changes: &[(&[u8], Option<usize>)], quota: &Quota) -> Result<(), StoreError> {
        if self.look_ahead(changes, quota).is_err() {
            // What has expired makes room, and may still be there.
            self.sweep(SWEEP_FOR_ROOM)?;
            return self.look_ahead(changes, quota);
        }
        Ok(())
    }

    fn look_ahead(&self, changes: &[(&[u8], Option<usize>)], quota: &Quota) -> Result<(), StoreError> {
        let mut outlook = None;
        for (key, after) in changes {
            let Some((owner, name)) = text(key).and_then(counted) else { continue };
            let (_, outlook) = match &mut outlook {
                Some(outlook) => outlook,
                none => none.insert((owner, Outlook::new(self.usage(owner)?))),
            };
            let stored = self.entries.get(*key).map_err(storage)?.map(|record| total(name, shape(record.value()).1));
            outlook.change(*key, || stored, after.map(|size| total(name, size)));
        }
        outlook.map_or(Ok(()), |(owner, outlook)| outlook.check(owner, quota))
    }

    fn count(&mut self, key: &[u8], before: Option<usize>, after: Option<usize>) -> Result<(), StoreError> {
        let Some((owner, name)) = text(key).and_then(counted) else { return Ok(()) };
        let size = |value: usize| total(name, value);
        let usage = self.usage(owner)?.changed(before.map(size), after.map(size));
        self.usage.insert(owner, (usage.bytes, usage.keys)).map_err(storage).map(drop)
    }

    fn usage(&self, owner: &str) -> Result<Usage, StoreError> {
        let usage = self.usage.get(owner).map_err(storage)?.map(|usage| usage.value());
        Ok(usage.map_or_else(Usage::default, |(bytes, keys)| Usage { bytes, keys }))
    }

    fn move_deadline(&mut self, key: &[u8], old: Option<u64>, new: u64) -> Result<(), StoreError> {
        if let Some(old) = old.filter(|old| *old != FOREVER && *old != new) {
            self.deadlines.remove((old, key)).map_err(storage)?;
        }
        if new != FOREVER {
            self.deadlines.insert((new, key), ()).map_err(storage)?;
        }
        Ok(())
    }

    /// Removes expired entries, at most `limit`; says how many.
    pub(super) fn sweep(&mut self, limit: usize) -> Result<usize, StoreError> {
        for swept in 0..limit {
            let due = match self.deadlines.first().map_err(storage)? {
                Some((first, _)) if first.value().0 <= self.now => first.value().1.to_vec(),
                _ => return Ok(swept),
            };
            self.remove(&due)?;
        }
        Ok(limit)
    }

    pub(super) fn append(&mut self, stream: &[u8], value: &[u8], keep: usize) -> Result<String, StoreError> {
        let tail = self.tails.get(stream).map_err(storage)?.map(|tail| tail.value());
        let (milli, number) = next_id(tail.map(|(milli, number, _)| (milli, number)), self.now);
        let id = id(milli, number);
        self.streams.insert((stream, &*id), value).map_err(storage)?;
        let count = tail.map_or(0, |(_, _, count)| count) + 1;
        let left = self.cut(stream, count, keep as u64)?;
        self.tails.insert(stream, (milli, number, left)).map_err(storage)?;
        Ok(id)
    }

    /// The last id that a stream has given.
    pub(super) fn last_id(&self, stream: &[u8]) -> Result<Option<String>, StoreError> {
        let tail = self.tails.get(stream).map_err(storage)?.map(|tail| tail.value());
        Ok(tail.map(|(milli, number, _)| id(milli, number)))
    }

    /// Removes entries of a stream; says how many there were.
    pub(super) fn remove_entries(&mut self, stream: &[u8], ids: &[String]) -> Result<usize, StoreError> {
        let mut removed = 0;
        for id in ids {
            removed += u64::from(self.streams.remove((stream, id.as_str())).map_err(storage)?.is_some());
        }
        let tail = self.tails.get(stream).map_err(storage)?.map(|tail| tail.value());
        if let Some((milli, number, count)) = tail {
            self.tails.insert(stream, (milli, number, count.saturating_sub(removed))).map_err(storage)?;
        }
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    }

    /// Removes the oldest entries of a stream until `keep` are left; says how many went.
    pub(super) fn trim(&mut self, stream: &[u8], keep: u64) -> Result<usize, StoreError> {
        let tail = self.tails.get(stream).map_err(storage)?.map(|tail| tail.value());
        let Some((milli, number, count)) = tail else { return Ok(0) };
        let left = self.cut(stream, count, keep)?;
        self.tails.insert(stream, (milli, number, left)).map_err(storage)?;
        Ok(usize::try_from(count - left).unwrap_or(usize::MAX))
    }

    /// Removes the oldest entries of a stream of `count` until `keep` are left; says how many are.
    fn cut(&mut self, stream: &[u8], count: u64, keep: u64) -> Result<u64, StoreError> {
        for _ in keep..count {
            let oldest = match self.streams.range((stream, "")..(stream, LAST_ID)).map_err(storage)?.next() {
                Some(entry) => entry.map_err(storage)?.0.value().1.to_owned(),
                None => return Ok(0),
            };
            self.streams.remove((stream, &*oldest)).map_err(storage)?;
        }
        Ok(count.min(keep))
    }
}

/// Greater than every id of a stream.
pub(super) const LAST_ID: &str = "~";

fn id(milli: u64, number: u64) -> String {
    format!("{milli:013}-{number:06}")
}

/// The id after `last`, never smaller than it, whatever the clock says.
fn next_id(last: Option<(u64, u64)>, now: u64) -> (u64, u64) {
    match last {
        Some((milli, number)) if milli >= now && number + 1 < IDS_PER_MILLI => (milli, number + 1),
        Some((milli, _)) if milli >= now => (milli + 1, 0),
        _ => (now, 0),
    }
}

/// The sum of a stored decimal number and `by`; `None` where there is no number, or no room for the sum.
pub(super) fn sum(stored: Option<&[u8]>, by: i64) -> Option<i64> {
    let stored = stored.map_or(Some(0), |text| std::str::from_utf8(text).ok()?.parse::<i64>().ok())?;
    stored.checked_add(by)
}

pub(super) fn storage(error: redb::StorageError) -> StoreError {
    unavailable(&error.into())
}

#[cfg(test)]
mod tests {
    use super::{next_id, sum};

    #[test]
    fn ids_grow_when_the_clock_stands_still_or_goes_back() {
        assert_eq!(next_id(None, 5), (5, 0));
        assert_eq!(next_id(Some((5, 0)), 9), (9, 0));
        assert_eq!(next_id(Some((5, 0)), 5), (5, 1));
        assert_eq!(next_id(Some((5, 7)), 2), (5, 8));
        assert_eq!(next_id(Some((5, 999_999)), 5), (6, 0));
    }

    #[test]
    fn sums_refuse_text_and_overflow() {
        assert_eq!(sum(None, -3), Some(-3));
        assert_eq!(sum(Some(b"40"), 2), Some(42));
        assert_eq!(sum(Some(b"4x"), 2), None);
        assert_eq!(sum(Some(b"9223372036854775807"), 1), None);
    }
}
