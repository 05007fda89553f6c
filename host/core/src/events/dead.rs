//! Events that were put aside after five deliveries: seen, sent again, or thrown away.

use nexus_model::{AppName, CloudEvent, Durability, Key, StoreError, Trigger, Write};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Events, PublishError, deliver::Queued, effect, known};
use crate::router::CallErrorKind;

/// Dead letters that an application keeps; the oldest beyond go.
const MAX_LETTERS: usize = 1_000;
/// Letters read at one time.
const PAGE: usize = 100;

/// Why an operation could not be called for an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    pub(super) fn of(kind: &CallErrorKind) -> Self {
        let mut message = kind.to_string();
        if let CallErrorKind::InvalidInput { violations } = kind {
            for violation in violations.iter().take(5) {
                let path = if violation.path.is_empty() { "/" } else { &violation.path };
                message = format!("{message}; {path}: {}", violation.message);
            }
        }
        Self::new(kind.code(), message)
    }
}

/// An event that was put aside.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Names it among those of its application; ids sort by time.
    pub id: String,
    /// The trigger that could not work it off.
    pub trigger: String,
    /// How often it was delivered.
    pub deliveries: u64,
    /// A stable word for what went wrong the last time.
    pub code: String,
    /// What went wrong the last time.
    pub message: String,
    /// When it was put aside.
    pub dead_at: OffsetDateTime,
    /// The application that emitted the event, where that is another.
    pub emitter: Option<AppName>,
    /// The event.
    pub event: CloudEvent,
}

/// Dead letters, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterPage {
    /// This page.
    pub letters: Vec<DeadLetter>,
    /// What to ask after to see the next page; `None` on the last.
    pub next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    trigger: String,
    deliveries: u64,
    failure: Failure,
    #[serde(with = "time::serde::rfc3339")]
    dead_at: OffsetDateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emitter: Option<AppName>,
    event: CloudEvent,
}

impl Events {
    pub(super) async fn put_aside(
        &self,
        app: &AppName,
        trigger: &Trigger,
        Queued { emitter, event, .. }: &Queued,
        deliveries: u64,
        failure: Failure,
    ) -> Result<(), StoreError> {
        tracing::warn!(%app, trigger = %trigger.name, id = event.id, code = failure.code, "an event was put aside");
        let told = serde_json::json!({
            "trigger": trigger.name, "source": event.source, "id": event.id, "deliveries": deliveries,
            "code": failure.code,
        });
        let (trigger, dead_at) = (trigger.name.to_string(), OffsetDateTime::now_utc());
        let (emitter, event) = (emitter.clone(), event.clone());
        let stored = Stored { trigger: trigger.clone(), deliveries, failure, dead_at, emitter, event };
        let value = serde_json::to_vec(&stored).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.parts.runtime.append(&letters(app), value, MAX_LETTERS).await?;
        let told = CloudEvent::now("nexus.trigger.dead", format!("/v1/apps/{app}/triggers"), trigger, told);
        self.log.append(&Some(app.clone()), &told).await?;
        Ok(())
    }

    /// Dead letters of an application, oldest first, after this one, at most `limit` (up to 100).
    pub async fn dead_letters(
        &self,
        app: &AppName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DeadLetterPage, StoreError> {
        let limit = limit.clamp(1, PAGE);
        let entries = self.parts.runtime.read(&letters(app), after, limit).await?;
        let next = (entries.len() == limit).then(|| entries.last().map(|entry| entry.key.clone())).flatten();
        let letters = entries.into_iter().filter_map(|entry| parse(entry.key, &entry.value)).collect();
        Ok(DeadLetterPage { letters, next })
    }

    /// One dead letter.
    pub async fn dead_letter(&self, app: &AppName, id: &str) -> Result<Option<DeadLetter>, StoreError> {
        let mut after = None;
        loop {
            let page = self.dead_letters(app, after.as_deref(), PAGE).await?;
            if let Some(found) = page.letters.into_iter().find(|letter| letter.id == id) {
                return Ok(Some(found));
            }
            after = page.next;
            if after.is_none() {
                return Ok(None);
            }
        }
    }

    /// Sends a dead letter to its trigger again, as if it came for the first time; `false` where there is none, or the
    /// trigger is gone.
    pub async fn redrive(&self, app: &AppName, id: &str) -> Result<bool, PublishError> {
        let Some(letter) = self.dead_letter(app, id).await? else { return Ok(false) };
        let Some(application) = self.parts.registry.application(app.as_str()) else { return Ok(false) };
        let trigger = application.app.triggers.iter().find(|trigger| trigger.name.as_str() == letter.trigger);
        let Some(trigger) = trigger else { return Ok(false) };
        let key = effect::idempotency_key(app, trigger, &letter.event);
        self.parts.runtime.write(vec![Write::Delete { key: known(app, &key) }], Durability::Synced).await?;
        self.enqueue(app, trigger, Queued::now(letter.emitter, letter.event)).await?;
        self.parts.runtime.remove(&letters(app), &[letter.id]).await?;
        Ok(true)
    }

    /// Throws a dead letter away; `false` where there is none.
    pub async fn discard(&self, app: &AppName, id: &str) -> Result<bool, StoreError> {
        Ok(self.parts.runtime.remove(&letters(app), &[id.to_owned()]).await? > 0)
    }
}

fn letters(app: &AppName) -> Key {
    Key::of_app(app, "events", "dead-letters")
}

fn parse(id: String, value: &[u8]) -> Option<DeadLetter> {
    let stored: Stored = match serde_json::from_slice(value) {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(id, %error, "a dead letter cannot be read");
            return None;
        }
    };
    let Stored { trigger, deliveries, failure: Failure { code, message }, dead_at, emitter, event } = stored;
    Some(DeadLetter { id, trigger, deliveries, code, message, dead_at, emitter, event })
}
