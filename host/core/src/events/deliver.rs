//! From an event to its log and to the queues of the triggers that wait for it.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use nexus_model::{AppName, CloudEvent, ConsumerGroup, Key, StoreError, Trigger, TriggerOn};
use nexus_signals::EventScope;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Events, PublishError};

/// The type of the event that a signed request becomes.
pub(super) const WEBHOOK_TYPE: &str = "nexus.webhook.received";
/// The type of the event that a time of the day becomes.
pub(super) const CRON_TYPE: &str = "nexus.cron.due";
/// Lanes of one batch that are published at one time.
const LANES: usize = 32;

/// An event in the queue of a trigger.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Queued {
    /// When it came, in milliseconds since 1970.
    pub(super) received: u64,
    /// The event.
    pub(super) event: CloudEvent,
}

impl Queued {
    pub(super) fn now(event: CloudEvent) -> Self {
        let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        Self { received: u64::try_from(millis).unwrap_or(0), event }
    }
}

/// The readers of a trigger's queue.
pub(super) fn queue(app: &AppName, trigger: &Trigger) -> ConsumerGroup {
    ConsumerGroup::new(Key::of_app(app, "trigger", trigger.name.as_str()), "operation")
}

/// How many events wait for a trigger, roughly: what is counted and what is queued change one after the other.
pub(super) fn waiting(app: &AppName, trigger: &Trigger) -> Key {
    Key::of_app(app, "trigger-waiting", trigger.name.as_str())
}

/// What no event can be in without end: an execution that a trigger caused is told of, but triggers nothing.
fn triggers(event: &CloudEvent) -> bool {
    let caused = match &event.data {
        nexus_model::EventData::Json(data) => data.get("trigger").is_some_and(|trigger| !trigger.is_null()),
        _ => false,
    };
    !(event.kind.starts_with("nexus.execution.") && caused)
}

/// Whether this trigger waits for this event.
pub(super) fn meant(trigger: &Trigger, event: &CloudEvent) -> bool {
    let own = |kind: &str| event.kind == kind && event.subject.as_deref() == Some(trigger.name.as_str());
    match &trigger.on {
        TriggerOn::Event(filter) => filter.matches(event) && triggers(event),
        TriggerOn::Cron { .. } => own(CRON_TYPE),
        TriggerOn::Webhook(_) => own(WEBHOOK_TYPE),
    }
}

impl Events {
    /// Logs an event and queues it for every trigger that waits for it; returns its place in the log.
    pub(super) async fn deliver(&self, scope: &EventScope, event: &CloudEvent) -> Result<String, PublishError> {
        if let Some(app) = scope
            && let Some(application) = self.parts.registry.application(app.as_str())
        {
            for trigger in application.app.triggers.iter().filter(|trigger| meant(trigger, event)) {
                self.enqueue(app, trigger, Queued::now(event.clone())).await?;
            }
        }
        Ok(self.log.append(scope, event).await?)
    }

    /// Several events at one time; what has the same order key is published one after the other.
    pub(super) async fn deliver_all(
        &self,
        scope: &EventScope,
        events: Vec<CloudEvent>,
    ) -> Result<Vec<String>, PublishError> {
        let mut lanes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, event) in events.iter().enumerate() {
            lanes.entry(lane(event)).or_default().push(number);
        }
        let events = &events;
        let published = stream::iter(lanes.into_values()).map(async |lane| {
            let mut places = Vec::with_capacity(lane.len());
            for number in lane {
                places.push((number, self.deliver(scope, &events[number]).await?));
            }
            Ok::<_, PublishError>(places)
        });
        let places: Vec<Vec<(usize, String)>> = published.buffer_unordered(LANES).try_collect().await?;
        let mut places: Vec<(usize, String)> = places.into_iter().flatten().collect();
        places.sort_unstable();
        Ok(places.into_iter().map(|(_, place)| place).collect())
    }

    /// Puts an event into a trigger's queue, unless that is full.
    pub(super) async fn enqueue(&self, app: &AppName, trigger: &Trigger, queued: Queued) -> Result<(), PublishError> {
        let runtime = &self.parts.runtime;
        let waiting = waiting(app, trigger);
        let count = u64::try_from(runtime.increment(&waiting, 1, None).await?).unwrap_or(0);
        if count > self.config.queue as u64 {
            runtime.increment(&waiting, -1, None).await?;
            return Err(PublishError::Full { trigger: trigger.name.to_string(), waiting: count - 1 });
        }
        let value = serde_json::to_vec(&queued).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        runtime.append(&queue(app, trigger).stream, value, usize::MAX).await?;
        Ok(())
    }
}

/// What keeps its order: events of one order key; an event without one stays with those of its own source and id.
pub(super) fn lane(event: &CloudEvent) -> String {
    event.order_key().map_or_else(|| format!("{}\n{}", event.source, event.id), |key| format!("={key}"))
}

#[cfg(test)]
mod tests {
    use nexus_model::{EventFilter, SignatureScheme, TriggerInput, Verification};
    use serde_json::json;

    use super::*;

    fn trigger(on: TriggerOn) -> Trigger {
        Trigger { name: "t".parse().unwrap(), on, operation: "o".parse().unwrap(), input: TriggerInput::Data }
    }

    #[test]
    fn a_trigger_sees_its_own_and_no_trigger_sees_what_triggers_did() {
        let prefix = EventFilter::Prefix { attribute: "type".to_owned(), value: "nexus.".to_owned() };
        let all = trigger(TriggerOn::Event(prefix));
        let hook = Verification { scheme: SignatureScheme::GitHub, secret: "s".to_owned() };
        let hook = trigger(TriggerOn::Webhook(hook));
        let received = |name: &str| CloudEvent::now(WEBHOOK_TYPE, "/", name, json!(null));
        assert!(meant(&hook, &received("t")) && !meant(&hook, &received("other")) && meant(&all, &received("x")));
        let finished = |trigger| CloudEvent::now("nexus.execution.finished", "/", "o", json!({ "trigger": trigger }));
        assert!(meant(&all, &finished(None::<&str>)) && !meant(&all, &finished(Some("t"))));
    }
}
