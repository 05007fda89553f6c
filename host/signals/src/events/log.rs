//! The logs: one stream of the runtime store for each application and one for the host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use nexus_model::{CloudEvent, Entry, Key, RuntimeStore, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::EventScope;

/// Entries read at one time while the end of a log is looked for.
const PAGE: usize = 500;
/// Logs whose ends are remembered; those of others are looked for again.
const MAX_TAILS: usize = 10_000;

/// An event in a log.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// Its place in the log: places grow and sort as text.
    pub id: String,
    /// The event.
    pub event: CloudEvent,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    event: CloudEvent,
}

/// Durable logs of events, each with its newest events only. Cheap to clone.
#[derive(Clone)]
pub struct EventLog(Arc<Shared>);

struct Shared {
    runtime: Arc<dyn RuntimeStore>,
    keep: usize,
    /// The newest places that this process knows of.
    tails: Mutex<HashMap<EventScope, String>>,
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").field("keep", &self.0.keep).finish_non_exhaustive()
    }
}

impl EventLog {
    /// Logs in this store, each of which keeps the newest `keep` events.
    pub fn new(runtime: Arc<dyn RuntimeStore>, keep: usize) -> Self {
        Self(Arc::new(Shared { runtime, keep, tails: Mutex::default(), changes: watch::Sender::new(0) }))
    }

    /// Appends an event and returns its place. Durable when it returns.
    pub async fn append(&self, scope: &EventScope, event: &CloudEvent) -> Result<String, StoreError> {
        let stored = Stored { event: event.clone() };
        let value = serde_json::to_vec(&stored).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let id = self.0.runtime.append(&key(scope), value, self.0.keep).await?;
        self.know(scope, &id);
        self.0.changes.send_modify(|count| *count += 1);
        Ok(id)
    }

    /// Events after a place, oldest first, at most `limit`. What cannot be read any more is passed over.
    pub async fn read(
        &self,
        scope: &EventScope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<LoggedEvent>, StoreError> {
        let entries = self.0.runtime.read(&key(scope), after, limit).await?;
        Ok(entries.into_iter().filter_map(parse).collect())
    }

    /// The place of the oldest event that is kept.
    pub async fn oldest(&self, scope: &EventScope) -> Result<Option<String>, StoreError> {
        Ok(self.0.runtime.read(&key(scope), None, 1).await?.into_iter().next().map(|entry| entry.key))
    }

    /// The place of the newest event; `None` in an empty log.
    pub async fn newest(&self, scope: &EventScope) -> Result<Option<String>, StoreError> {
        let mut tail = self.tails().get(scope).cloned();
        loop {
            let page = self.0.runtime.read(&key(scope), tail.as_deref(), PAGE).await?;
            let last = page.len() < PAGE;
            tail = page.into_iter().next_back().map(|entry| entry.key).or(tail);
            if last {
                if let Some(tail) = &tail {
                    self.know(scope, tail);
                }
                return Ok(tail);
            }
        }
    }

    /// Changes whenever this process has appended something.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn know(&self, scope: &EventScope, id: &str) {
        let mut tails = self.tails();
        if tails.len() >= MAX_TAILS && !tails.contains_key(scope) {
            tails.clear();
        }
        let tail = tails.entry(scope.clone()).or_default();
        if tail.as_str() < id {
            id.clone_into(tail);
        }
    }

    fn tails(&self) -> std::sync::MutexGuard<'_, HashMap<EventScope, String>> {
        self.0.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(scope: &EventScope) -> Key {
    match scope {
        Some(app) => Key::of_app(app, "events", "log"),
        None => Key::of_host("events", "log"),
    }
}

fn parse(entry: Entry) -> Option<LoggedEvent> {
    match serde_json::from_slice::<Stored>(&entry.value) {
        Ok(stored) => Some(LoggedEvent { id: entry.key, event: stored.event }),
        Err(error) => {
            tracing::warn!(id = entry.key, %error, "an event in a log cannot be read");
            None
        }
    }
}
