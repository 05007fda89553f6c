//! A key that opens something here.

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::{Key, RuntimeStore, StoreError};

use super::{
    MAX_KEYS,
    stored::{StoredKey, from_bytes},
    uses::LastUse,
};
use crate::{rates::Rate, scope::Principal};

/// All keys of a host, by id.
pub(super) type Entries = BTreeMap<String, Arc<Entry>>;

pub(super) struct Entry {
    pub(super) stored: StoredKey,
    pub(super) principal: Principal,
    rate: Option<Arc<Rate>>,
    pub(super) used: Arc<LastUse>,
}

impl Entry {
    /// What is counted of the key goes on where it was `before`.
    pub(super) fn new(stored: StoredKey, before: Option<&Self>) -> Self {
        let per_minute = stored.info.requests_per_minute;
        let same = before.and_then(|entry| entry.rate.clone()).filter(|rate| Some(rate.per_minute()) == per_minute);
        let rate = same.or_else(|| per_minute.map(|per_minute| Arc::new(Rate::new("key", per_minute))));
        let used = before.map(|entry| Arc::clone(&entry.used)).unwrap_or_default();
        let principal = Principal::new(&stored.info.id, &stored.info.name, &stored.info.scopes, rate.clone());
        Self { stored, principal, rate, used }
    }
}

/// All keys of the store; what is counted of those that are known already goes on.
pub(super) async fn read(runtime: &dyn RuntimeStore, known: &Entries) -> Result<Entries, StoreError> {
    let mut entries = Entries::new();
    for entry in runtime.list(&Key::of_host("key", ""), None, MAX_KEYS).await? {
        let stored = from_bytes(&entry.key, &entry.value)?;
        let before = known.get(&stored.info.id).map(AsRef::as_ref);
        entries.insert(stored.info.id.clone(), Arc::new(Entry::new(stored, before)));
    }
    Ok(entries)
}
