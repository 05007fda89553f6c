//! Events: what applications publish and what the host tells of itself, kept in durable logs.

mod bus;
mod follow;
mod log;

use nexus_model::AppName;
use serde::{Deserialize, Serialize};

pub use bus::{EventBus, Outbox, Outgoing};
pub use follow::{CursorError, Follower, Seen};
pub use log::{EventLog, LoggedEvent};

/// Whose log an event is in: an application's, or the host's where `None`.
pub type EventScope = Option<AppName>;

/// How events are kept and worked off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// The newest events of each log that can be read.
    pub keep: usize,
    /// Events that may wait for one trigger; publishing more is refused.
    pub queue: usize,
    /// Events of one trigger that are worked on at one time.
    pub parallel: usize,
    /// Milliseconds before the first retry; each later one waits twice as long, up to a minute.
    pub retry_ms: u64,
    /// Milliseconds that a host which is gone keeps others from its applications' triggers.
    pub lease_ms: u64,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { keep: 10_000, queue: 100_000, parallel: 16, retry_ms: 500, lease_ms: 5_000 }
    }
}
