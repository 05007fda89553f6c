//! `core.events.*`.

use std::time::Duration;

use nexus_signals::Seen;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HostCatalogue, Outcome, Refusal, tool::Arguments};
use crate::{Events, FollowError, Scope, Target};

/// The longest that a call waits for an event.
const MAX_WAIT: Duration = Duration::from_secs(25);
/// The most events that are told at one time.
const MAX_EVENTS: usize = 100;

/// Publishes an event of an application, which sets off its triggers and those of others that may listen.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    /// The application.
    app: String,
    /// What happened, as `order.paid`.
    r#type: String,
    /// What it happened to.
    subject: Option<String>,
    /// All about it.
    #[serde(default)]
    data: Value,
}

impl Arguments for Publish {
    const NAME: &'static str = "core.events.publish";
    const VERB: fn(Target) -> Scope = Scope::Invoke;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let event = Events::event(&self.r#type, format!("/v1/apps/{app}/mcp"), self.subject.as_deref(), &self.data);
        let event = event.map_err(|faults| Refusal::said("invalid_event", faults))?;
        let id = event.id.clone();
        host.core.events.publish(app.as_str(), vec![event]).await?;
        Ok(json!({ "id": id }))
    }
}

/// Waits for events of an application: those after `cursor`, or else those that happen from now on. Returns `events`, at most
/// 100, a `cursor` to go on from, and `gap` if events were lost in between. Returns without events when none came in time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscribe {
    /// The application.
    app: String,
    /// Only events whose type begins with this.
    r#type: Option<String>,
    /// Where the last call ended.
    cursor: Option<String>,
    /// How long to wait, in milliseconds: at most 25,000, which is what it is if left out.
    wait_ms: Option<u64>,
}

impl Arguments for Subscribe {
    const NAME: &'static str = "core.events.subscribe";
    const VERB: fn(Target) -> Scope = Scope::Read;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let app = host.app(&self.app, Self::VERB)?;
        let wait = self.wait_ms.map_or(MAX_WAIT, Duration::from_millis).min(MAX_WAIT);
        let end = tokio::time::Instant::now() + wait;
        let begun = host.core.events.follow(vec![Some(app)], self.cursor.as_deref()).await;
        let mut follower = begun.map_err(|error| match error {
            FollowError::Cursor(error) => Refusal::said("invalid_arguments", error.to_string()),
            FollowError::Store(error) => error.into(),
        })?;
        let (mut events, mut gap) = (Vec::new(), false);
        while events.is_empty() {
            let Ok(seen) = tokio::time::timeout_at(end, follower.next()).await else { break };
            for seen in seen? {
                if events.len() == MAX_EVENTS {
                    break;
                }
                follower.pass(&seen);
                match seen {
                    Seen::Gap(_) => gap = true,
                    Seen::Event(_, logged) => {
                        if self.r#type.as_ref().is_none_or(|prefix| logged.event.kind.starts_with(prefix)) {
                            events.push(json!({ "place": logged.id, "event": logged.event }));
                        }
                    }
                }
            }
        }
        Ok(json!({ "events": events, "cursor": follower.cursor(), "gap": gap }))
    }
}
