//! Announcements of changes, within the process.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::broadcast::{self, error::RecvError};
use uuid::Uuid;

/// Events that a slow reader may be behind.
const CAPACITY: usize = 1_024;

/// An event in the JSON form of `CloudEvents` 1.0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Always `1.0`.
    pub specversion: &'static str,
    /// Unique; ids sort by time.
    pub id: Uuid,
    /// Where it happened, a URI reference such as `/apps/support`.
    pub source: String,
    /// What happened, such as `nexus.optimization.promoted`.
    #[serde(rename = "type")]
    pub kind: String,
    /// To what, such as the operation's name.
    pub subject: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// Always `application/json`.
    pub datacontenttype: &'static str,
    /// More about it.
    pub data: Value,
}

impl Event {
    /// An event that happens now.
    pub fn now(kind: impl Into<String>, source: impl Into<String>, subject: impl Into<String>, data: Value) -> Self {
        Self {
            specversion: "1.0",
            id: Uuid::now_v7(),
            source: source.into(),
            kind: kind.into(),
            subject: subject.into(),
            time: OffsetDateTime::now_utc(),
            datacontenttype: "application/json",
            data,
        }
    }
}

/// Hands each event to all who listen at that time. Publishing never waits: who is more than 1,024 events behind loses
/// the oldest and is told how many.
#[derive(Debug, Clone)]
pub struct EventBus {
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for EventBus {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(CAPACITY) }
    }
}

impl EventBus {
    /// A bus that nobody listens to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands the event to all who listen; to nobody if nobody does.
    pub fn publish(&self, event: Event) {
        // The only error is that nobody listens.
        let _ = self.sender.send(Arc::new(event));
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.sender.subscribe() }
    }
}

/// What a listener gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// The next event.
    Event(Arc<Event>),
    /// So many events were lost here, because the listener was too slow.
    Gap(u64),
}

/// One listener.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Event>>,
}

impl Subscription {
    /// Waits for the next event. `None` once the bus is gone and everything has been delivered. Dropping the future
    /// loses nothing.
    pub async fn next(&mut self) -> Option<Delivery> {
        match self.receiver.recv().await {
            Ok(event) => Some(Delivery::Event(event)),
            Err(RecvError::Lagged(lost)) => Some(Delivery::Gap(lost)),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{CAPACITY, Delivery, Event, EventBus};

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_lost() {
        let bus = EventBus::new();
        let mut subscription = bus.subscribe();
        for number in 0..CAPACITY + 5 {
            bus.publish(Event::now("nexus.test", "/", number.to_string(), Value::Null));
        }
        drop(bus);
        assert_eq!(subscription.next().await, Some(Delivery::Gap(5)));
        for number in 5..CAPACITY + 5 {
            let Some(Delivery::Event(event)) = subscription.next().await else { panic!("lost {number}") };
            assert_eq!(event.subject, number.to_string());
        }
        assert_eq!(subscription.next().await, None);
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let event = Event::now("nexus.optimization.promoted", "/apps/support", "classify", json!({ "code": 1 }));
        let event = serde_json::to_value(event).unwrap();
        let fields: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"];
        expected.sort_unstable();
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(fields, expected);
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["type"], "nexus.optimization.promoted");
    }
}
