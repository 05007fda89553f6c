//! What one host at a time may do among those on a store.

use std::{sync::Arc, time::Duration};

use nexus_model::{Key, RuntimeStore, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the value of a lease that was given back stays.
const GONE: Duration = Duration::from_millis(1);

/// A key of the store with its holder's name, which goes away by itself when its holder does. A holder that stood still for
/// longer than the lease lasts may not know yet that another has it: what is done under a lease must bear that.
pub(crate) struct Lease {
    pub(crate) runtime: Arc<dyn RuntimeStore>,
    pub(crate) key: Key,
    /// This host among the others.
    pub(crate) holder: String,
    /// How long it lasts unless it is renewed.
    pub(crate) lasts: Duration,
}

impl Lease {
    /// Takes it; `false` while somebody has it.
    pub(crate) async fn take(&self) -> Result<bool, StoreError> {
        self.set(None, self.lasts).await
    }

    /// Time between two renewals.
    pub(crate) fn renew_every(&self) -> Duration {
        self.lasts / 4
    }

    /// Keeps it until it is lost, not `wanted` any more, or `stop`. A store that does not answer costs it in the end.
    pub(crate) async fn keep(&self, wanted: impl Fn() -> bool, stop: &CancellationToken) {
        let mut until = Instant::now() + self.lasts;
        while wanted() && crate::start::wait(self.renew_every(), stop).await {
            match self.set(Some(&self.holder), self.lasts).await {
                Ok(true) => until = Instant::now() + self.lasts,
                Ok(false) => return,
                Err(_) if Instant::now() < until => {}
                Err(error) => {
                    tracing::warn!(lease = %self.key, %error, "a lease is let go");
                    return;
                }
            }
        }
    }

    /// So that another host need not wait for the end.
    pub(crate) async fn give_back(&self) {
        // If it fails, the lease ends by itself.
        let _ = self.set(Some(&self.holder), GONE).await;
    }

    async fn set(&self, expected: Option<&str>, lasts: Duration) -> Result<bool, StoreError> {
        let (expected, mine) = (expected.map(str::as_bytes), self.holder.clone().into_bytes());
        self.runtime.compare_and_set(&self.key, expected, mine, Some(lasts)).await
    }
}

#[cfg(test)]
mod tests {
    use nexus_state::memory::MemoryRuntime;

    use super::*;

    #[tokio::test]
    async fn one_has_it_until_it_is_given_back() {
        let runtime: Arc<dyn RuntimeStore> = Arc::new(MemoryRuntime::default());
        let lease = |holder: &str| Lease {
            runtime: Arc::clone(&runtime),
            key: Key::of_host("lease", "test"),
            holder: holder.to_owned(),
            lasts: Duration::from_hours(1),
        };
        let (one, other) = (lease("one"), lease("other"));
        assert!(one.take().await.unwrap() && !other.take().await.unwrap());
        other.give_back().await;
        assert!(!other.take().await.unwrap(), "nobody gives back what another has");
        one.keep(|| false, &CancellationToken::new()).await;
        one.give_back().await;
        while !other.take().await.unwrap() {
            tokio::time::sleep(GONE).await;
        }
    }
}
