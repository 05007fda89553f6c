//! What Nexus tells about itself: metrics, events and logs.
//!
//! [`MetricCollector`] counts, [`EventBus`] and [`EventLog`] tell what happens, [`LoggingService`] makes records that hold
//! no secrets of what is said, and [`LogBook`] keeps them.

mod collector;
mod events;
mod families;
mod gen_ai;
mod histogram;
mod history;
mod known;
mod log;
mod logging;
mod operation;
mod prometheus;
mod query;
mod redact;
mod refusals;
mod secrets;
mod snapshot;
mod telemetry;
mod tools;

pub use collector::MetricCollector;
pub use events::{
    CursorError, EventBus, EventLog, EventScope, EventsConfig, Follower, LoggedEvent, Outbox, Outgoing, Seen,
};
pub use histogram::Durations;
pub use history::Window;
pub use log::{
    Followed, LevelError, LogBook, LogBookError, LogContext, LogFilter, LogFollower, LogLevel, LogPage, LogQueue,
    LogRecord, LogRecords, LogScope, Retention,
};
pub use logging::{LogFormat, LogGuard, LoggingError, LoggingService, LoggingSettings, show_panics};
pub use operation::{HostMetrics, InFlight, OperationMetrics};
pub use query::{Metric, MetricError, Point, Series, Span, TooManyPoints, series};
pub use redact::{Redactor, escape_controls};
pub use refusals::{DeliveryRefusal, Refusal};
pub use snapshot::{Audits, ByPath, HostSnapshot, Latency, OperationSnapshot, Tokens};
pub use telemetry::{Telemetry, TelemetryError, TelemetrySettings};
pub use tools::ToolMetrics;
