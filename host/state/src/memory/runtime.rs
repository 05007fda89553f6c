use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use nexus_model::{Batch, Durability, Entry, Key, RuntimeStore, StoreError, Write};

use crate::{
    Clock, SystemClock,
    bounds::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
    clock::millis,
};

/// A [`RuntimeStore`] in memory.
#[derive(Debug)]
pub struct MemoryRuntime {
    clock: Arc<dyn Clock>,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    entries: BTreeMap<String, Record>,
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug, Clone)]
struct Record {
    value: Vec<u8>,
    deadline: Option<u64>,
}

#[derive(Debug, Default)]
struct Stream {
    appended: u64,
    entries: BTreeMap<String, Vec<u8>>,
}

impl Default for MemoryRuntime {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl MemoryRuntime {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, tables: Mutex::default() }
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
        for write in &batch {
            match write {
                Write::Set { key, value, .. } => check(key, value.len())?,
                Write::Delete { key } => check(key, 0)?,
            }
        }
        let mut tables = self.tables();
        for write in batch {
            match write {
                Write::Set { key, value, ttl } => {
                    tables.entries.insert(key.to_string(), self.record(value, ttl));
                }
                Write::Delete { key } => {
                    tables.entries.remove(&key.to_string());
                }
            }
        }
        Ok(())
    }

    async fn compare_and_set(
        &self,
        key: &Key,
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError> {
        check(key, value.len())?;
        let mut tables = self.tables();
        let matches = self.live(&tables, &key.to_string()).map(|record| &*record.value) == expected;
        if matches {
            tables.entries.insert(key.to_string(), self.record(value, ttl));
        }
        Ok(matches)
    }

    async fn increment(&self, key: &Key, by: i64, ttl: Option<Duration>) -> Result<i64, StoreError> {
        check(key, 0)?;
        let (mut tables, name) = (self.tables(), key.to_string());
        let mut record = self.live(&tables, &name).cloned().unwrap_or_else(|| self.record(b"0".to_vec(), ttl));
        let stored = std::str::from_utf8(&record.value).ok().and_then(|text| text.parse::<i64>().ok());
        let sum = stored.and_then(|stored| stored.checked_add(by));
        let sum = sum.ok_or_else(|| StoreError::NotANumber(name.clone()))?;
        record.value = sum.to_string().into_bytes();
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
        check(stream, value.len())?;
        let mut tables = self.tables();
        let stream = tables.streams.entry(stream.to_string()).or_default();
        stream.appended += 1;
        let id = format!("{:020}", stream.appended);
        stream.entries.insert(id.clone(), value);
        while stream.entries.len() > keep {
            stream.entries.pop_first();
        }
        Ok(id)
    }

    async fn read(&self, stream: &Key, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let tables = self.tables();
        let entries = tables.streams.get(&stream.to_string()).into_iter().flat_map(|stream| &stream.entries);
        let later = entries.filter(|(id, _)| after.is_none_or(|after| id.as_str() > after)).take(limit);
        Ok(later.map(|(id, value)| Entry { key: id.clone(), value: value.clone() }).collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn check(key: &Key, value_bytes: usize) -> Result<(), StoreError> {
    let key = key.to_string();
    let (size, limit) = match (key.len(), value_bytes) {
        (size, _) if size > MAX_KEY_BYTES => (size, MAX_KEY_BYTES),
        (_, size) if size > MAX_VALUE_BYTES => (size, MAX_VALUE_BYTES),
        _ => return Ok(()),
    };
    Err(StoreError::TooLarge { key: key.chars().take(80).collect(), size, limit })
}
