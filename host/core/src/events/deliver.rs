//! From an event to its log and to the queues of the triggers that wait for it.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use nexus_model::{App, AppName, CloudEvent, ConsumerGroup, Key, StoreError, Trigger, TriggerOn};
use nexus_signals::EventScope;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Events, PublishError};
use crate::registry::Application;

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
    /// The application that emitted it, where that is not the trigger's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) emitter: Option<AppName>,
    /// The event.
    pub(super) event: CloudEvent,
}

impl Queued {
    pub(super) fn now(emitter: Option<AppName>, event: CloudEvent) -> Self {
        let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        Self { received: u64::try_from(millis).unwrap_or(0), emitter, event }
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

/// What no event can be in without end: an execution that a trigger caused is told of, but triggers nothing, in whatever
/// application.
fn triggers(event: &CloudEvent) -> bool {
    let caused = match &event.data {
        nexus_model::EventData::Json(data) => data.get("trigger").is_some_and(|trigger| !trigger.is_null()),
        _ => false,
    };
    !(event.kind.starts_with("nexus.execution.") && caused)
}

/// Whether this trigger waits for this event: of another application, or of its own where `emitter` is `None`.
fn meant(trigger: &Trigger, emitter: Option<&AppName>, event: &CloudEvent) -> bool {
    let own =
        |kind: &str| emitter.is_none() && event.kind == kind && event.subject.as_deref() == Some(trigger.name.as_str());
    match &trigger.on {
        TriggerOn::Event { app, filter } => app.as_ref() == emitter && filter.matches(event) && triggers(event),
        TriggerOn::Cron { .. } => own(CRON_TYPE),
        TriggerOn::Webhook(_) => own(WEBHOOK_TYPE),
    }
}

impl Events {
    /// Queues an event for every trigger that waits for it and logs it; returns its place in the log.
    pub(super) async fn deliver(&self, scope: &EventScope, event: &CloudEvent) -> Result<String, PublishError> {
        if let Some(app) = scope {
            self.queue_for_all(app, event).await?;
        }
        Ok(self.log.append(scope, event).await?)
    }

    /// Queues an event of an application for its own triggers and for those of others. That one application has no room
    /// keeps no other from it. What was queued before an error stays so: published again, it has no second effect.
    async fn queue_for_all(&self, app: &AppName, event: &CloudEvent) -> Result<(), PublishError> {
        let Some((application, listeners)) = self.parts.registry.emitter(app) else { return Ok(()) };
        let mut full = no_room(self.queue_for(&application, None, event).await)?;
        for listener in listeners.iter() {
            full = full.or(no_room(self.queue_for(listener, Some(app), event).await)?);
        }
        full.map_or(Ok(()), Err)
    }

    /// Queues an event for the triggers of one application that wait for it: its own event, or that of another if both
    /// permit it. The queues are of the application whose triggers they are.
    async fn queue_for(
        &self,
        application: &Application,
        emitter: Option<&AppName>,
        event: &CloudEvent,
    ) -> Result<(), PublishError> {
        let App { name, triggers, .. } = &application.app;
        let triggers: Vec<&Trigger> = triggers.iter().filter(|trigger| meant(trigger, emitter, event)).collect();
        if let Some(emitter) = emitter
            && (triggers.is_empty() || self.permit(emitter, application).is_err())
        {
            return Ok(());
        }
        for trigger in triggers {
            self.enqueue(name, trigger, Queued::now(emitter.cloned(), event.clone())).await?;
        }
        Ok(())
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
            return Err(PublishError::Full { trigger: format!("{app}/{}", trigger.name), waiting: count - 1 });
        }
        let value = serde_json::to_vec(&queued).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        runtime.append(&queue(app, trigger).stream, value, usize::MAX).await?;
        Ok(())
    }
}

/// The error that says that a trigger is full; any other is one.
fn no_room(queued: Result<(), PublishError>) -> Result<Option<PublishError>, PublishError> {
    match queued {
        Ok(()) => Ok(None),
        Err(full @ PublishError::Full { .. }) => Ok(Some(full)),
        Err(error) => Err(error),
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
        let all = trigger(TriggerOn::Event { app: None, filter: prefix.clone() });
        let shop: AppName = "shop".parse().unwrap();
        let of_shop = trigger(TriggerOn::Event { app: Some(shop.clone()), filter: prefix });
        let hook = Verification { scheme: SignatureScheme::GitHub, secret: "s".to_owned() };
        let hook = trigger(TriggerOn::Webhook(hook));
        let received = |name: &str| CloudEvent::now(WEBHOOK_TYPE, "/", name, json!(null));
        let own = |trigger: &Trigger, event| meant(trigger, None, &event);
        assert!(own(&hook, received("t")) && !own(&hook, received("other")) && own(&all, received("x")));
        let finished = |trigger| CloudEvent::now("nexus.execution.finished", "/", "o", json!({ "trigger": trigger }));
        assert!(own(&all, finished(None::<&str>)) && !own(&all, finished(Some("t"))));

        let of = |emitter: &AppName, trigger: &Trigger, event| meant(trigger, Some(emitter), &event);
        assert!(of(&shop, &of_shop, finished(None)) && !of(&shop, &of_shop, finished(Some("t"))));
        assert!(!own(&of_shop, finished(None)) && !of(&shop, &all, finished(None)), "each takes what it names");
        assert!(!of(&"desk".parse().unwrap(), &of_shop, finished(None)));
        assert!(!of(&shop, &hook, received("t")), "a request to another's webhook of the same name");
    }
}
