//! Log records: made from what is said, shown on standard error, kept in segments on disk, and read again.

mod book;
mod follow;
mod format;
mod layer;
mod queue;
mod read;
mod record;
mod segments;

pub use book::{LogBook, LogBookError, LogFilter, LogPage, LogScope};
pub use follow::{Followed, LogFollower};
pub(crate) use layer::RecordLayer;
pub use queue::{LogQueue, LogRecords};
pub use record::{LevelError, LogContext, LogLevel, LogRecord};
pub use segments::Retention;
