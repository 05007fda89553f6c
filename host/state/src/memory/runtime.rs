use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use nexus_model::{
    Batch, ConsumerGroup, Delivery, Durability, Entry, Key, PendingEntry, Quota, RuntimeStore, StoreError, StreamStart,
    Write,
};

use super::streams::Streams;
use crate::{
    Clock, SystemClock,
    bounds::{MAX_WAIT, checked_key, checked_name, checked_value, fenced_owner, owner},
    clock::millis,
    quota::{Outlook, Usage, counted},
    waiters::Waiters,
};

/// A [`RuntimeStore`] in memory.
#[derive(Debug)]
pub struct MemoryRuntime {
    clock: Arc<dyn Clock>,
    tables: Mutex<Tables>,
    waiters: Waiters,
    quota: Quota,
}

#[derive(Debug, Default)]
struct Tables {
    entries: BTreeMap<String, Record>,
    streams: Streams,
}

#[derive(Debug, Clone)]
struct Record {
    value: Vec<u8>,
    deadline: Option<u64>,
}

impl Default for MemoryRuntime {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl MemoryRuntime {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, tables: Mutex::default(), waiters: Waiters::default(), quota: Quota::default() }
    }

    /// The same, with another quota for each application.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, value: Vec<u8>, ttl: Option<Duration>) -> Record {
        Record { value, deadline: ttl.map(|ttl| self.clock.unix_millis().saturating_add(millis(ttl))) }
    }

    fn is_live(&self, record: &Record) -> bool {
        record.deadline.is_none_or(|deadline| self.clock.unix_millis() < deadline)
    }

    fn live<'t>(&self, tables: &'t Tables, key: &str) -> Option<&'t Record> {
        tables.entries.get(key).filter(|record| self.is_live(record))
    }

    /// Refuses changes (a key, and the size of its value or `None` where it goes) that an application has no room for.
    fn admit(&self, tables: &Tables, changes: &[(&str, Option<usize>)]) -> Result<(), StoreError> {
        let Some((owner, _)) = changes.iter().find_map(|(key, _)| counted(key)) else { return Ok(()) };
        let size = |name: usize, value: usize| (name + value) as u64;
        let kept = tables.entries.iter().filter(|(_, record)| self.is_live(record)).filter_map(|(key, record)| {
            counted(key).filter(|(other, _)| *other == owner).map(|(_, name)| size(name, record.value.len()))
        });
        let now = kept.fold(Usage::default(), |usage, size| usage.changed(None, Some(size)));
        let mut outlook = Outlook::new(now);
        for (key, after) in changes {
            let Some((_, name)) = counted(key) else { continue };
            let stored = || self.live(tables, key).map(|record| size(name, record.value.len()));
            outlook.change(*key, stored, after.map(|value| size(name, value)));
        }
        outlook.check(owner, &self.quota)
    }

    fn apply(&self, tables: &mut Tables, batch: Batch) -> Result<(), StoreError> {
        let mut changes = Vec::with_capacity(batch.len());
        for write in batch {
            changes.push(match write {
                Write::Set { key, value, ttl } => {
                    (checked_key(&key)?, Some(self.record(checked_value(&key, value)?, ttl)))
                }
                Write::Delete { key } => (checked_key(&key)?, None),
            });
        }
        let sizes =
            changes.iter().map(|(key, record)| (key.as_str(), record.as_ref().map(|record| record.value.len())));
        self.admit(tables, &sizes.collect::<Vec<_>>())?;
        for (key, record) in changes {
            match record {
                Some(record) => tables.entries.insert(key, record),
                None => tables.entries.remove(&key),
            };
        }
        Ok(())
    }

    fn below(&self, prefix: &Key) -> Vec<Entry> {
        let full = prefix.to_string();
        let stem = full.len() - prefix.key().len();
        let tables = self.tables();
        let found = tables.entries.range(full.clone()..).take_while(|(key, _)| key.starts_with(&full));
        let live = found.filter(|(_, record)| self.is_live(record));
        live.map(|(key, record)| Entry { key: key[stem..].to_owned(), value: record.value.clone() }).collect()
    }
}

#[async_trait]
impl RuntimeStore for MemoryRuntime {
    async fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.live(&self.tables(), &key.to_string()).map(|record| record.value.clone()))
    }

    async fn write(&self, batch: Batch, _durability: Durability) -> Result<(), StoreError> {
        owner(&batch)?;
        self.apply(&mut self.tables(), batch)
    }

    async fn write_if(
        &self,
        fence: &Key,
        expected: &[u8],
        batch: Batch,
        _durability: Durability,
    ) -> Result<bool, StoreError> {
        fenced_owner(fence, &batch)?;
        let mut tables = self.tables();
        let matches = self.live(&tables, &checked_key(fence)?).is_some_and(|record| record.value == expected);
        if matches {
            self.apply(&mut tables, batch)?;
        }
        Ok(matches)
    }

    async fn compare_and_set(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let (name, value) = (checked_key(key)?, checked_value(key, value)?);
        let mut tables = self.tables();
        let matches = self.live(&tables, &name).map(|record| &*record.value) == expected;
        if matches {
            self.admit(&tables, &[(&name, Some(value.len()))])?;
            tables.entries.insert(name, self.record(value, ttl));
        }
        Ok(matches)
    }

    async fn increment(&self, key: &Key, by: i64, ttl: Option<Duration>) -> Result<i64, StoreError> {
        let (name, mut tables) = (checked_key(key)?, self.tables());
        let mut record = self.live(&tables, &name).cloned().unwrap_or_else(|| self.record(b"0".to_vec(), ttl));
        let stored = std::str::from_utf8(&record.value).ok().and_then(|text| text.parse::<i64>().ok());
        let sum = stored.and_then(|stored| stored.checked_add(by));
        let sum = sum.ok_or_else(|| StoreError::NotANumber(name.clone()))?;
        record.value = sum.to_string().into_bytes();
        self.admit(&tables, &[(&name, Some(record.value.len()))])?;
        tables.entries.insert(name, record);
        Ok(sum)
    }

    async fn list(&self, prefix: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.below(prefix);
        entries.retain(|entry| after.is_none_or(|after| entry.key.as_str() > after));
        entries.truncate(limit);
        Ok(entries)
    }

    async fn list_newest(&self, prefix: &Key, before: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.below(prefix);
        entries.retain(|entry| before.is_none_or(|before| entry.key.as_str() < before));
        entries.reverse();
        entries.truncate(limit);
        Ok(entries)
    }

    async fn expire(&self, key: &Key, ttl: Duration) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let Some(record) = self.live(&tables, &key.to_string()).cloned() else { return Ok(false) };
        tables.entries.insert(key.to_string(), self.record(record.value, Some(ttl)));
        Ok(true)
    }

    async fn append(&self, stream: &Key, value: Vec<u8>, keep: usize) -> Result<String, StoreError> {
        let (name, value) = (checked_key(stream)?, checked_value(stream, value)?);
        let id = self.tables().streams.append(name.clone(), value, keep);
        self.waiters.wake(&name);
        Ok(id)
    }

    async fn read(&self, stream: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(self.tables().streams.read(&stream.to_string(), after, limit))
    }

    async fn remove(&self, stream: &Key, ids: &[String]) -> Result<usize, StoreError> {
        Ok(self.tables().streams.remove(&stream.to_string(), ids))
    }

    async fn trim(&self, stream: &Key, keep: usize) -> Result<usize, StoreError> {
        Ok(self.tables().streams.trim(&stream.to_string(), keep))
    }

    async fn create_group(&self, group: &ConsumerGroup, start: StreamStart) -> Result<bool, StoreError> {
        let (stream, name) = (checked_key(&group.stream)?, checked_name(&group.name)?);
        Ok(self.tables().streams.create_group(stream, &name, start))
    }

    async fn delete_group(&self, group: &ConsumerGroup) -> Result<bool, StoreError> {
        Ok(self.tables().streams.delete_group(&group.stream.to_string(), &group.name))
    }

    async fn read_group(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (stream, consumer) = (group.stream.to_string(), checked_name(consumer)?);
        let read = || {
            let place = (stream.as_str(), group.name.as_str());
            let delivered = self.tables().streams.deliver(place, &consumer, limit, self.clock.unix_millis());
            std::future::ready(delivered)
        };
        self.waiters.read(&stream, wait, MAX_WAIT, read).await
    }

    async fn claim(
        &self,
        group: &ConsumerGroup,
        consumer: &str,
        idle: Duration,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (stream, consumer, now) = (group.stream.to_string(), checked_name(consumer)?, self.clock.unix_millis());
        self.tables().streams.claim((&stream, &group.name), &consumer, idle, limit, now)
    }

    async fn acknowledge(&self, group: &ConsumerGroup, ids: &[String]) -> Result<usize, StoreError> {
        Ok(self.tables().streams.acknowledge(&group.stream.to_string(), &group.name, ids))
    }

    async fn count_pending(&self, group: &ConsumerGroup) -> Result<usize, StoreError> {
        let now = self.clock.unix_millis();
        Ok(self.tables().streams.pending(&group.stream.to_string(), &group.name, now)?.len())
    }

    async fn list_pending(
        &self,
        group: &ConsumerGroup,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<PendingEntry>, StoreError> {
        let now = self.clock.unix_millis();
        let mut entries = self.tables().streams.pending(&group.stream.to_string(), &group.name, now)?;
        entries.retain(|entry| after.is_none_or(|after| entry.id.as_str() > after));
        entries.truncate(limit);
        Ok(entries)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
