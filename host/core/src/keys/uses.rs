//! When keys were used last.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use nexus_model::{Durability, Key, StoreError, Write};
use time::OffsetDateTime;

use super::{KeyInfo, KeyRing, MAX_KEYS};

/// When a key was used last, in seconds since 1970; 0 for never.
#[derive(Default)]
pub(super) struct LastUse {
    at: AtomicI64,
    written: AtomicI64,
}

impl LastUse {
    /// The key was used now. One that is used all the time costs one load here, and one store a second.
    pub(super) fn note(&self, now: i64) {
        if self.at.load(Relaxed) < now {
            self.at.store(now, Relaxed);
        }
    }
}

impl KeyRing {
    /// All keys, revoked ones included, by id.
    pub async fn list(&self) -> Result<Vec<KeyInfo>, StoreError> {
        let mut uses = BTreeMap::new();
        for entry in self.runtime.list(&Key::of_host("key_use", ""), None, MAX_KEYS).await? {
            let at = std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            uses.insert(entry.key, at);
        }
        let entries = self.entries.load();
        let infos = entries.iter().map(|(id, entry)| {
            let elsewhere: i64 = uses.get(id).copied().unwrap_or(0);
            let at = entry.used.at.load(Relaxed).max(elsewhere);
            let last_used_at = (at > 0).then(|| OffsetDateTime::from_unix_timestamp(at).ok()).flatten();
            KeyInfo { last_used_at, ..entry.stored.info.clone() }
        });
        Ok(infos.collect())
    }

    /// Writes down when keys were used last, so that other replicas and later starts know.
    pub(crate) async fn flush_uses(&self) -> Result<(), StoreError> {
        let mut batch = Vec::new();
        let mut written = Vec::new();
        for (id, entry) in self.entries.load().iter() {
            let at = entry.used.at.load(Relaxed);
            if at > entry.used.written.load(Relaxed) {
                let value = at.to_string().into_bytes();
                batch.push(Write::Set { key: Key::of_host("key_use", id), value, ttl: None });
                written.push((Arc::clone(&entry.used), at));
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.runtime.write(batch, Durability::Soon).await?;
        for (used, at) in written {
            used.written.store(at, Relaxed);
        }
        Ok(())
    }
}
