//! Events on their way: into the logs, to the triggers that wait for them, and to the operations that these call.

mod across;
mod consumer;
mod cron;
mod dead;
mod deliver;
mod effect;
mod hook;
mod lanes;
mod retry;
mod runner;
mod schedule;
mod webhook;

use std::{sync::Arc, time::Duration};

use nexus_model::{AppName, CloudEvent, Durability, Key, RuntimeStore, StoreError, Write};
use nexus_signals::{EventBus, EventLog, EventScope, EventsConfig, Follower, MetricCollector, Outgoing};
use nexus_workflow::EventPattern;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use dead::{DeadLetter, DeadLetterPage};
pub use hook::{HookError, HookRequest};
pub use runner::TriggerStatus;
pub use webhook::SignatureError;

use crate::{executions::Executions, registry::ApplicationRegistry, router::RequestRouter};

/// How long an event is known, so that it has its effect once however often it comes.
const KNOWN_FOR: Duration = Duration::from_hours(7 * 24);
/// Time between two tries to log an event that must not be lost.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Events that are looked at in one step, for one that somebody waits for.
const LOOKED_AT: usize = 200;
/// How often it is looked for one.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Looks up the secrets that definitions name. `None`: there is none of this name for this application.
pub type SecretLookup = Arc<dyn Fn(&AppName, &str) -> Option<SecretString> + Send + Sync>;

/// Why an event was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// No application of this name serves.
    #[error("there is no application `{0}`")]
    UnknownApp(String),
    /// The type is one that only Nexus itself publishes.
    #[error("types that begin with `nexus.` are published by Nexus alone")]
    Reserved,
    /// The event is too large.
    #[error("the event has {size} bytes, at most {limit} are taken")]
    TooLarge {
        /// Its size in the JSON format, in bytes.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// A trigger has all the events waiting that may wait.
    #[error("{waiting} events wait for the trigger `{trigger}` already")]
    Full {
        /// The trigger, as `app/name`.
        trigger: String,
        /// How many.
        waiting: u64,
    },
    /// The store failed. The event may have been taken.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The largest event, in bytes of its JSON format.
pub const MAX_EVENT_BYTES: usize = 256 << 10;
/// The most events that are published at one time.
pub const MAX_BATCH: usize = 100;

/// What events stand on.
pub(crate) struct EventParts {
    pub(crate) runtime: Arc<dyn RuntimeStore>,
    pub(crate) registry: Arc<ApplicationRegistry>,
    pub(crate) bus: EventBus,
    pub(crate) metrics: Arc<MetricCollector>,
    pub(crate) secrets: SecretLookup,
    /// This host among others on the same store.
    pub(crate) host: String,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

/// Publishes and follows events, and works off what they trigger.
pub struct Events {
    parts: EventParts,
    config: EventsConfig,
    log: EventLog,
    said: across::Said,
}

impl Events {
    pub(crate) fn new(config: EventsConfig, parts: EventParts) -> Self {
        let log = EventLog::new(Arc::clone(&parts.runtime), config.keep);
        Self { parts, config, log, said: across::Said::default() }
    }

    /// Logs what the rest of the host tells of, until it has ended. To be started before anybody tells much.
    pub(crate) fn start_logging(self: &Arc<Self>) {
        let Some(outbox) = self.parts.bus.take_outbox() else { return };
        let events = Arc::clone(self);
        self.parts.tracker.spawn(async move {
            let lossy = async |many| events.log_lossy(many).await;
            tokio::select! {
                // A stopping host settles the bus before it says so.
                () = events.parts.cancel.cancelled() => {}
                () = outbox.drain(async |one| events.log_surely(one).await, lossy) => {}
            }
        });
    }

    /// Works off triggers, until the host stops.
    pub(crate) fn start_triggers(self: &Arc<Self>, router: &Arc<RequestRouter>, executions: &Arc<Executions>) {
        let supervisor = runner::Supervisor::new(Arc::clone(self), Arc::clone(router), Arc::clone(executions));
        self.parts.tracker.spawn(supervisor.run());
    }

    /// An event that happens now. What it is made of comes from a component or a client, so it is checked as what comes from
    /// outside is; the error tells all faults.
    pub(crate) fn event(kind: &str, source: String, subject: Option<&str>, data: &Value) -> Result<CloudEvent, String> {
        let made = CloudEvent::now(kind, source, "", Value::Null);
        let mut event = json!({
            "specversion": "1.0", "id": made.id, "source": made.source, "type": made.kind, "data": data,
            "time": made.attribute("time"), "datacontenttype": "application/json",
        });
        if let Some(subject) = subject {
            event["subject"] = subject.into();
        }
        CloudEvent::from_json(event).map_err(|faults| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            faults.join("; ")
        })
    }

    /// Publishes events of an application, in their order where their order key is the same, and returns their places in
    /// the log. Durable when it returns. If it fails, some may have been published: publish all of them again; an event
    /// of the same source and id has its effect once.
    pub async fn publish(&self, app: &str, events: Vec<CloudEvent>) -> Result<Vec<String>, PublishError> {
        let unknown = || PublishError::UnknownApp(app.chars().take(80).collect());
        let name: AppName = app.parse().map_err(|_| unknown())?;
        self.parts.registry.application(app).ok_or_else(unknown)?;
        for event in &events {
            if event.is_reserved() {
                return Err(PublishError::Reserved);
            }
            check_size(event)?;
        }
        self.deliver_all(&Some(name), events).await
    }

    /// Reads logs: from where a cursor stands, or else from now on.
    pub async fn follow(&self, scopes: Vec<EventScope>, cursor: Option<&str>) -> Result<Follower, FollowError> {
        match cursor {
            Some(cursor) => Ok(Follower::from_cursor(self.log.clone(), scopes, cursor)?),
            None => Ok(Follower::from_now(self.log.clone(), scopes).await?),
        }
    }

    /// The logs of events.
    pub(crate) fn log(&self) -> &EventLog {
        &self.log
    }

    /// Waits for the next event of an application that fits one of these patterns, after a place in its log, and gives its
    /// place. An event that the log does not keep any more is missed.
    pub(crate) async fn next_like(
        &self,
        app: &AppName,
        after: Option<String>,
        patterns: &[EventPattern],
    ) -> Result<(String, Value), StoreError> {
        let mut after = after;
        loop {
            if let Some(found) = self.find_like(app, &mut after, patterns).await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether there is an event as [`Events::next_like`] waits for; also if that is not known.
    pub(crate) async fn is_there_like(
        &self,
        app: &AppName,
        mut after: Option<String>,
        patterns: &[EventPattern],
    ) -> bool {
        self.find_like(app, &mut after, patterns).await.map_or(true, |found| found.is_some())
    }

    /// The first event after a place that fits, and its place. If there is none, the place is that of the newest.
    async fn find_like(
        &self,
        app: &AppName,
        after: &mut Option<String>,
        patterns: &[EventPattern],
    ) -> Result<Option<(String, Value)>, StoreError> {
        let scope = Some(app.clone());
        loop {
            let events = self.log.read(&scope, after.as_deref(), LOOKED_AT).await?;
            let (read, last) = (events.len(), events.last().map(|last| last.id.clone()));
            for logged in events {
                let event = logged.event.to_json();
                if patterns.iter().any(|pattern| pattern.matches(&event)) {
                    return Ok(Some((logged.id, event)));
                }
            }
            *after = last.or(after.take());
            if read < LOOKED_AT {
                return Ok(None);
            }
        }
    }

    async fn log_surely(&self, outgoing: Outgoing) {
        loop {
            match self.deliver(&outgoing.scope, &outgoing.event).await {
                Ok(_) => return,
                // What one application cannot work off must not hold up what is told of all others.
                Err(error @ PublishError::Full { .. }) => {
                    tracing::warn!(kind = outgoing.event.kind, %error, "a trigger misses an event");
                    if self.log.append(&outgoing.scope, &outgoing.event).await.is_ok() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(kind = outgoing.event.kind, %error, "an event is not logged yet");
                    if !crate::start::wait(STORE_PAUSE, &self.parts.cancel).await {
                        return;
                    }
                }
            }
        }
    }

    async fn log_lossy(&self, outgoing: Vec<Outgoing>) {
        let logged = outgoing.iter().map(|one| self.deliver(&one.scope, &one.event));
        for error in futures::future::join_all(logged).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "an event was lost");
        }
    }

    /// Whether the effect of this key has been had, or given up.
    async fn is_known(&self, app: &AppName, key: &str) -> Result<bool, StoreError> {
        Ok(self.parts.runtime.get(&known(app, key)).await?.is_some())
    }

    async fn make_known(&self, app: &AppName, key: &str, more: Option<Write>) -> Result<(), StoreError> {
        let known = Write::Set { key: known(app, key), value: b"1".to_vec(), ttl: Some(KNOWN_FOR) };
        self.parts.runtime.write(more.into_iter().chain([known]).collect(), Durability::Synced).await
    }
}

fn check_size(event: &CloudEvent) -> Result<(), PublishError> {
    let size = event.to_json().to_string().len();
    if size > MAX_EVENT_BYTES { Err(PublishError::TooLarge { size, limit: MAX_EVENT_BYTES }) } else { Ok(()) }
}

/// Why there is nothing to follow.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FollowError {
    /// The cursor is none.
    #[error(transparent)]
    Cursor(#[from] nexus_signals::CursorError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn known(app: &AppName, key: &str) -> Key {
    Key::of_app(app, "effect", key)
}
