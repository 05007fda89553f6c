//! Consumers that wait for a stream to grow.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_model::{Delivery, StoreError};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::bounds::MAX_WAIT;

/// The streams that somebody waits for; as many as there are waiting consumers at the most.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<HashMap<String, Arc<Notify>>>);

impl Waiters {
    /// Says that `stream` has grown.
    pub(crate) fn wake(&self, stream: &str) {
        if let Some(notify) = self.streams().get(stream) {
            notify.notify_waiters();
        }
    }

    /// Reads until there is something or `wait` is over: once at the start, again whenever this process appends to the
    /// stream, and again every `look` for what others append.
    pub(crate) async fn read<R>(
        &self,
        stream: &str,
        wait: Duration,
        look: Duration,
        mut read: impl FnMut() -> R,
    ) -> Result<Vec<Delivery>, StoreError>
    where
        R: Future<Output = Result<Vec<Delivery>, StoreError>>,
    {
        if wait.is_zero() {
            return read().await;
        }
        let end = Instant::now() + wait.min(MAX_WAIT);
        let waiter = Waiter { all: self, stream, notify: self.join(stream) };
        loop {
            // Made before the look, so that nothing that is appended meanwhile is slept through.
            let grown = waiter.notify.notified();
            let found = read().await?;
            let now = Instant::now();
            if !found.is_empty() || now >= end {
                return Ok(found);
            }
            // Whether woken or not: it looks again.
            let _ = timeout_at(end.min(now + look), grown).await;
        }
    }

    fn join(&self, stream: &str) -> Arc<Notify> {
        Arc::clone(self.streams().entry(stream.to_owned()).or_default())
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A consumer that waits; the last of a stream takes its place away.
struct Waiter<'a> {
    all: &'a Waiters,
    stream: &'a str,
    notify: Arc<Notify>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut streams = self.all.streams();
        if Arc::strong_count(&self.notify) == 2 {
            streams.remove(self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Waiters;

    #[tokio::test]
    async fn nobody_is_left_behind() {
        let waiters = Waiters::default();
        let look = || async { Ok(Vec::new()) };
        let wait = Duration::from_millis(1);
        let one = waiters.read("a", wait, wait, look);
        let two = waiters.read("a", wait, wait, look);
        let (one, two) = tokio::join!(one, two);
        assert!(one.unwrap().is_empty() && two.unwrap().is_empty());
        drop(waiters.read("b", wait, wait, look));
        assert!(waiters.streams().is_empty());
    }
}
