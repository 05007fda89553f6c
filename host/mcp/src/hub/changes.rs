//! How often something was another, and who waits for that.

use tokio::sync::watch;

/// Counts changes. Whoever waits sees the newest count: what comes while nobody looks is one change for them.
#[derive(Debug, Default)]
pub(crate) struct Changes(watch::Sender<u64>);

impl Changes {
    pub(crate) fn count(&self) -> u64 {
        *self.0.borrow()
    }

    pub(crate) fn note(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Has seen all changes up to now.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
