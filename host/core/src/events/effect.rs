//! One delivery of one event to one trigger: the call, and what is written down of it.

use std::{sync::Arc, time::Duration};

use nexus_model::{
    AppName, Cause, CloudEvent, ConsumerGroup, Durability, EventData, Execution, ExecutionId, Key, StoreError, Trigger,
    TriggerInput, sha256_hex,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Events, KNOWN_FOR, dead::Failure, deliver::Queued, retry};
use crate::{
    executions::Executions,
    router::{Call, CallErrorKind, RequestRouter},
};

/// How long to wait for a place that the application has no more of, or for a store that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// A delivery that is worked on.
#[derive(Debug, Clone)]
pub(super) struct Work {
    /// Its place in the trigger's queue.
    pub(super) id: String,
    /// The event.
    pub(super) queued: Queued,
    /// Whether somebody may have begun it before.
    pub(super) begun_before: bool,
}

/// What became of a delivery.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is done with: it had its effect, had had it before, or was put aside.
    Done,
    /// It is to be tried again after this time; whether it was begun.
    Again(Duration, bool),
}

/// The same for every delivery of this event to this trigger, and for no other.
pub(super) fn idempotency_key(app: &AppName, trigger: &Trigger, event: &CloudEvent) -> String {
    sha256_hex(format!("{app}/{}\n{}\n{}", trigger.name, event.source, event.id))
}

/// One execution for an event in a queue, however often it is delivered.
fn execution_id(key: &str, queued: &Queued) -> ExecutionId {
    let digest = Sha256::digest(key);
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    ExecutionId(uuid::Builder::from_unix_timestamp_millis(queued.received, &random).into_uuid())
}

/// What a trigger's deliveries are worked off with.
#[derive(Clone)]
pub(super) struct Effects {
    pub(super) events: Arc<Events>,
    pub(super) router: Arc<RequestRouter>,
    pub(super) executions: Arc<Executions>,
    pub(super) app: AppName,
    pub(super) trigger: Arc<Trigger>,
}

impl Effects {
    /// Works on one delivery. Never fails: what cannot be done now is tried again.
    pub(super) async fn have(&self, work: &Work) -> Outcome {
        match self.try_have(work).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(app = %self.app, trigger = %self.trigger.name, %error, "an event waits for the store");
                Outcome::Again(PAUSE, work.begun_before)
            }
        }
    }

    async fn try_have(&self, work: &Work) -> Result<Outcome, StoreError> {
        let event = &work.queued.event;
        let key = idempotency_key(&self.app, &self.trigger, event);
        if self.events.is_known(&self.app, &key).await? {
            return Ok(Outcome::Done);
        }
        // The first delivery is not written down: that costs, and most events need no second one.
        let delivery = if work.begun_before { self.count(&work.id).await? } else { 1 };
        if delivery > retry::MOST_DELIVERIES {
            let failure =
                Failure::new("interrupted", "the host ended while this event was worked on for the last time");
            return self.put_aside(work, &key, delivery - 1, failure).await;
        }
        let failure = match self.call(work, &key, delivery).await? {
            None => return Ok(Outcome::Done),
            Some(Refused::Busy(wait)) => return Ok(Outcome::Again(wait, work.begun_before)),
            Some(Refused::Failed(failure)) => failure,
        };
        let first = Duration::from_millis(self.events.config.retry_ms);
        match retry::wait_after(delivery, first, rand::random()) {
            Some(wait) => Ok(Outcome::Again(wait, true)),
            None => self.put_aside(work, &key, delivery, failure).await,
        }
    }

    /// Counts deliveries after the first; durable before the delivery begins.
    async fn count(&self, id: &str) -> Result<u64, StoreError> {
        let key = Key::of_app(&self.app, "delivery", format!("{}:{id}", self.trigger.name));
        let more = self.events.parts.runtime.increment(&key, 1, Some(KNOWN_FOR)).await?;
        Ok(1 + u64::try_from(more).unwrap_or(1))
    }

    async fn put_aside(
        &self,
        work: &Work,
        key: &str,
        deliveries: u64,
        failure: Failure,
    ) -> Result<Outcome, StoreError> {
        self.events.put_aside(&self.app, &self.trigger, &work.queued, deliveries, failure).await?;
        self.events.make_known(&self.app, key, None).await?;
        Ok(Outcome::Done)
    }

    /// Calls the operation. `None`: it has answered, and that is durable together with the mark that it has.
    async fn call(&self, work: &Work, key: &str, delivery: u64) -> Result<Option<Refused>, StoreError> {
        let Queued { emitter, event, .. } = &work.queued;
        // What was permitted when the event came may not be so any more.
        if let Some(emitter) = emitter
            && let Some(application) = self.events.parts.registry.application(self.app.as_str())
            && let Err(refused) = self.events.permit(emitter, &application)
        {
            let failure = Failure::new("not_permitted", format!("{refused}; {}", refused.mend()));
            return Ok(Some(Refused::Failed(failure)));
        }
        let Some(input) = input(&self.trigger.input, event) else {
            let failure = Failure::new("not_json", "the event's data is not JSON, so that it is no input");
            return Ok(Some(Refused::Failed(failure)));
        };
        let cause = Cause {
            trigger: self.trigger.name.clone(),
            emitter: emitter.clone(),
            event_source: event.source.clone(),
            event_id: event.id.clone(),
            idempotency_key: key.to_owned(),
            delivery,
        };
        let body = input.to_string();
        let call = Call {
            app: self.app.as_str(),
            operation: self.trigger.operation.as_str(),
            body: body.as_bytes(),
            sink: None,
        };
        let (outcome, execution) = self.router.execute_caused(call, execution_id(key, &work.queued), cause).await;
        match outcome {
            Ok(_) => {
                let write = execution.as_ref().map(|execution| self.executions.write(execution)).transpose()?;
                self.events.make_known(&self.app, key, write).await?;
                self.tell(execution.as_ref());
                Ok(None)
            }
            Err(error) => {
                if let CallErrorKind::Busy { retry_after } = error.kind {
                    return Ok(Some(Refused::Busy(retry_after)));
                }
                if let Some(execution) = &execution {
                    let write = self.executions.write(execution)?;
                    self.events.parts.runtime.write(vec![write], Durability::Soon).await?;
                }
                self.tell(execution.as_ref());
                Ok(Some(Refused::Failed(Failure::of(&error.kind))))
            }
        }
    }

    fn tell(&self, execution: Option<&Execution>) {
        if let Some(execution) = execution {
            self.executions.tell(execution);
        }
    }

    /// The queue of the trigger.
    pub(super) fn queue(&self) -> ConsumerGroup {
        super::deliver::queue(&self.app, &self.trigger)
    }
}

/// Why an operation did not answer.
enum Refused {
    /// There was no place; nothing was begun.
    Busy(Duration),
    Failed(Failure),
}

/// What an operation is called with for an event.
fn input(mapping: &TriggerInput, event: &CloudEvent) -> Option<Value> {
    match mapping {
        TriggerInput::Data => event.data_as_json(),
        TriggerInput::Event => Some(event.to_json()),
        TriggerInput::Events => Some(Value::Array(vec![event.to_json()])),
        TriggerInput::Value(value) => Some(value.clone()),
    }
}

/// The data of a request's body: JSON where it is JSON.
pub(super) fn data_of_body(body: &[u8]) -> EventData {
    match (serde_json::from_slice(body), std::str::from_utf8(body)) {
        (Ok(value), _) => EventData::Json(value),
        (Err(_), Ok(text)) => EventData::Text(text.to_owned()),
        (Err(_), Err(_)) => EventData::Binary(body.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use nexus_model::{EventFilter, TriggerOn};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_names_one_event_at_one_trigger() {
        let app: AppName = "shop".parse().unwrap();
        let trigger = |name: &str| Trigger {
            name: name.parse().unwrap(),
            on: TriggerOn::Event { app: None, filter: EventFilter::Any(Vec::new()) },
            operation: "o".parse().unwrap(),
            input: TriggerInput::Data,
        };
        let event = |source: &str, id: &str| CloudEvent {
            id: id.to_owned(),
            ..CloudEvent::now("order.placed", source, "s", json!(1))
        };
        let key = |name: &str, source: &str, id: &str| idempotency_key(&app, &trigger(name), &event(source, id));
        assert_eq!(key("t", "/a", "1"), key("t", "/a", "1"));
        let others = [key("u", "/a", "1"), key("t", "/b", "1"), key("t", "/a", "2"), key("t", "/a1", "")];
        assert!(others.iter().all(|other| *other != key("t", "/a", "1")));

        let queued = Queued { received: 1_700_000_000_000, emitter: None, event: event("/a", "1") };
        let id = execution_id("key", &queued);
        assert_eq!(id, execution_id("key", &queued));
        assert_ne!(id, execution_id("other", &queued));
        assert_eq!(id.0.get_version_num(), 7);
    }

    #[test]
    fn an_input_is_the_data_the_event_or_always_the_same() {
        let event = CloudEvent::now("order.placed", "/shop", "s", json!({ "total": 1 }));
        assert_eq!(input(&TriggerInput::Data, &event), Some(json!({ "total": 1 })));
        assert_eq!(input(&TriggerInput::Event, &event).unwrap()["type"], "order.placed");
        assert_eq!(input(&TriggerInput::Value(json!(7)), &event), Some(json!(7)));
        let binary = CloudEvent { data: EventData::Binary(vec![0]), ..event };
        assert_eq!(input(&TriggerInput::Data, &binary), None);
    }
}
