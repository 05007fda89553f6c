//! In-memory twins of the stores, for unit tests of other crates. They keep the ports' contracts, except that nothing
//! survives.

mod definitions;
mod runtime;
mod streams;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

pub use definitions::MemoryDefinitions;
pub use runtime::MemoryRuntime;

use crate::{Clock, clock::millis};

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows these milliseconds since 1970-01-01 UTC.
    pub fn at(unix_millis: u64) -> Self {
        Self(AtomicU64::new(unix_millis))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
