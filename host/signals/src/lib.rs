//! What Nexus tells about itself: metrics, events and logs.
//!
//! [`MetricCollector`] counts, [`EventBus`] and [`EventLog`] tell what happens, [`LoggingService`] writes log lines that hold no secrets.

mod collector;
mod events;
mod histogram;
mod history;
mod logging;
mod operation;
mod prometheus;
mod redact;
mod refusals;
mod snapshot;

pub use collector::MetricCollector;
pub use events::{
    CursorError, EventBus, EventLog, EventScope, EventsConfig, Follower, LoggedEvent, Outbox, Outgoing, Seen,
};
pub use history::Window;
pub use logging::{LogFormat, LoggingError, LoggingService, LoggingSettings};
pub use operation::{HostMetrics, InFlight, OperationMetrics};
pub use redact::{Redactor, escape_controls};
pub use refusals::Refusal;
pub use snapshot::{Audits, ByPath, HostSnapshot, Latency, OperationSnapshot, Tokens};
