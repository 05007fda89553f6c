//! Applications that are taken out of service and put back.
//!
//! That an application is inactive is kept in the runtime store and not in Git: it is the state of an installation, not
//! a definition. Hosts that share a runtime store agree on it; a clone, a push to a remote or an import carries none of
//! it along, and nobody's history gets commits that change no definition.

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::{AppName, CloudEvent, Durability, Key, StoreError, Write};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ApplicationRegistry, RegistryError, Slots};

const KIND: &str = "inactive";
/// Entries that are read at one time.
const PAGE: usize = 1_000;
/// The longest reason, in characters; what is longer is cut.
const REASON: usize = 500;

/// That, why and since when an application takes no calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inactive {
    /// What the one who did it says; may be empty.
    pub reason: String,
    /// The name of the key.
    pub by: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

impl Inactive {
    /// Who, when and why, on one line.
    pub(crate) fn told(&self) -> String {
        let since = self.since.format(&Rfc3339).unwrap_or_default();
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("deactivated by {} at {since}{why}", self.by)
    }
}

/// Why a state was not changed.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// There is no such application.
    #[error("there is no application `{0}`")]
    UnknownApp(AppName),
    /// The runtime store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type States = BTreeMap<AppName, Arc<Inactive>>;

impl ApplicationRegistry {
    /// Takes an application out of service: calls of it are refused from the answer on, and its code is not worked on.
    /// Durable. Of an inactive application the reason is replaced.
    pub async fn deactivate(&self, app: &AppName, reason: &str, by: &str) -> Result<(), LifecycleError> {
        let state = Inactive {
            reason: reason.chars().take(REASON).collect(),
            by: by.to_owned(),
            since: OffsetDateTime::now_utc(),
        };
        let value = serde_json::to_vec(&state).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.turn(app, Write::Set { key: key(app), value, ttl: None }, Some(Arc::new(state))).await
    }

    /// Puts an application back into service. No error if it is.
    pub async fn activate(&self, app: &AppName) -> Result<(), LifecycleError> {
        self.turn(app, Write::Delete { key: key(app) }, None).await
    }

    async fn turn(&self, app: &AppName, write: Write, state: Option<Arc<Inactive>>) -> Result<(), LifecycleError> {
        let _changing = self.changes.lock().await;
        let mut slots = self.served.load().slots.clone();
        let slot = slots.get_mut(app).ok_or_else(|| LifecycleError::UnknownApp(app.clone()))?;
        self.runtime.write(vec![write], Durability::Synced).await?;
        let kind = if state.is_some() { "nexus.app.deactivated" } else { "nexus.app.activated" };
        slot.inactive = state;
        self.swap(slots);
        self.told.tell().await;
        self.tell_state(kind, app).await;
        Ok(())
    }

    /// Forgets the state of an application that was removed, so that one of the same name begins in service.
    pub(super) async fn forget_state(&self, app: &AppName) -> Result<(), StoreError> {
        self.runtime.write(vec![Write::Delete { key: key(app) }], Durability::Synced).await
    }

    async fn tell_state(&self, kind: &'static str, app: &AppName) {
        tracing::info!(%app, kind, "the state of an application was changed");
        let data = serde_json::json!({ "app": app });
        let event = CloudEvent::now(kind.to_owned(), format!("/v1/apps/{app}"), app.as_str(), data);
        self.events.emit(Some(app.clone()), event).await;
    }

    /// The states as the store has them: another host may have changed one.
    pub(super) async fn states(&self) -> Result<States, RegistryError> {
        let mut states = States::new();
        let mut after: Option<String> = None;
        loop {
            let entries = self.runtime.list(&Key::of_host(KIND, ""), after.as_deref(), PAGE).await?;
            let last = entries.last().map(|entry| entry.key.clone()).filter(|_| entries.len() == PAGE);
            for entry in entries {
                let state = serde_json::from_slice(&entry.value).unwrap_or_else(|_| unreadable());
                if let Ok(app) = entry.key.parse() {
                    states.insert(app, Arc::new(state));
                }
            }
            after = last;
            if after.is_none() {
                return Ok(states);
            }
        }
    }
}

/// Gives each application its state; says whether one changed.
pub(super) fn apply(slots: &mut Slots, states: &States) -> bool {
    let mut changed = false;
    for (app, slot) in slots {
        let state = states.get(app);
        if slot.inactive.as_ref() != state {
            slot.inactive = state.cloned();
            changed = true;
        }
    }
    changed
}

fn key(app: &AppName) -> Key {
    Key::of_host(KIND, app.as_str())
}

/// A state of which nothing can be read is still one: unknown means no.
fn unreadable() -> Inactive {
    Inactive { reason: "its state is unreadable".to_owned(), by: String::new(), since: OffsetDateTime::UNIX_EPOCH }
}
