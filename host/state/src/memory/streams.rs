use std::{collections::BTreeMap, time::Duration};

use nexus_model::{Delivery, Entry, PendingEntry, StoreError, StreamStart};

/// All streams and their groups.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    appended: u64,
    entries: BTreeMap<String, Vec<u8>>,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    /// The id of the last entry that was handed over.
    last: String,
    pending: BTreeMap<String, Held>,
}

#[derive(Debug, Clone)]
struct Held {
    consumer: String,
    since: u64,
    deliveries: u64,
}

fn id(number: u64) -> String {
    format!("{number:020}")
}

impl Streams {
    pub(super) fn append(&mut self, stream: String, value: Vec<u8>, keep: usize) -> String {
        let stream = self.streams.entry(stream).or_default();
        stream.appended += 1;
        let id = id(stream.appended);
        stream.entries.insert(id.clone(), value);
        stream.trim(keep);
        id
    }

    pub(super) fn read(&self, stream: &str, after: Option<&str>, limit: usize) -> Vec<Entry> {
        let entries = self.streams.get(stream).into_iter().flat_map(|stream| &stream.entries);
        let later = entries.filter(|(id, _)| after.is_none_or(|after| id.as_str() > after)).take(limit);
        later.map(|(id, value)| Entry { key: id.clone(), value: value.clone() }).collect()
    }

    pub(super) fn remove(&mut self, stream: &str, ids: &[String]) -> usize {
        let Some(stream) = self.streams.get_mut(stream) else { return 0 };
        ids.iter().filter(|id| stream.entries.remove(*id).is_some()).count()
    }

    pub(super) fn trim(&mut self, stream: &str, keep: usize) -> usize {
        self.streams.get_mut(stream).map_or(0, |stream| stream.trim(keep))
    }

    pub(super) fn create_group(&mut self, stream: String, group: &str, start: StreamStart) -> bool {
        let stream = self.streams.entry(stream).or_default();
        if stream.groups.contains_key(group) {
            return false;
        }
        let last = match start {
            StreamStart::Beginning => String::new(),
            StreamStart::Now => id(stream.appended),
        };
        stream.groups.insert(group.to_owned(), Group { last, ..Group::default() });
        true
    }

    pub(super) fn delete_group(&mut self, stream: &str, group: &str) -> bool {
        self.streams.get_mut(stream).is_some_and(|stream| stream.groups.remove(group).is_some())
    }

    pub(super) fn deliver(
        &mut self,
        (stream, group): (&str, &str),
        consumer: &str,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let stream = self.streams.get_mut(stream).ok_or_else(|| unknown(group))?;
        let group = stream.groups.get_mut(group).ok_or_else(|| unknown(group))?;
        let new = stream.entries.iter().filter(|(id, _)| **id > group.last).take(limit);
        let new: Vec<_> =
            new.map(|(id, value)| Delivery { id: id.clone(), value: value.clone(), deliveries: 1 }).collect();
        for entry in &new {
            group.last.clone_from(&entry.id);
            group.pending.insert(entry.id.clone(), Held { consumer: consumer.to_owned(), since: now, deliveries: 1 });
        }
        Ok(new)
    }

    pub(super) fn claim(
        &mut self,
        (stream, group): (&str, &str),
        consumer: &str,
        idle: Duration,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let stream = self.streams.get_mut(stream).ok_or_else(|| unknown(group))?;
        let group = stream.groups.get_mut(group).ok_or_else(|| unknown(group))?;
        group.pending.retain(|id, _| stream.entries.contains_key(id));
        let due = group.pending.iter_mut().filter(|(_, held)| held.idle(now) >= idle).take(limit);
        let claimed = due.map(|(id, held)| {
            *held = Held { consumer: consumer.to_owned(), since: now, deliveries: held.deliveries + 1 };
            Delivery { id: id.clone(), value: stream.entries[id].clone(), deliveries: held.deliveries }
        });
        Ok(claimed.collect())
    }

    pub(super) fn acknowledge(&mut self, stream: &str, group: &str, ids: &[String]) -> usize {
        let group = self.streams.get_mut(stream).and_then(|stream| stream.groups.get_mut(group));
        group.map_or(0, |group| ids.iter().filter(|id| group.pending.remove(*id).is_some()).count())
    }

    pub(super) fn pending(&self, stream: &str, group: &str, now: u64) -> Result<Vec<PendingEntry>, StoreError> {
        let found = self.streams.get(stream).and_then(|stream| stream.groups.get(group));
        let pending = found.ok_or_else(|| unknown(group))?.pending.iter();
        let shown = pending.map(|(id, held)| PendingEntry {
            id: id.clone(),
            consumer: held.consumer.clone(),
            idle: held.idle(now),
            deliveries: held.deliveries,
        });
        Ok(shown.collect())
    }
}

impl Stream {
    fn trim(&mut self, keep: usize) -> usize {
        let removed = self.entries.len().saturating_sub(keep);
        for _ in 0..removed {
            self.entries.pop_first();
        }
        removed
    }
}

impl Held {
    fn idle(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.since))
    }
}

fn unknown(group: &str) -> StoreError {
    StoreError::UnknownGroup(group.to_owned())
}
