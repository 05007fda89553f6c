//! Telling other hosts on the same store that something was changed, so that they look at once.

use std::{sync::Arc, time::Duration};

use nexus_model::{Durability, Key, RuntimeStore, Write};
use tokio_util::sync::CancellationToken;

/// How often a host looks whether another has told of a change.
const LOOK: Duration = Duration::from_millis(250);

/// What may change, and is told of on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// The definitions or the states of applications.
    Definitions,
    /// Which code answers.
    Code,
    /// API keys.
    Keys,
}

/// A mark in the store, different after each change. Telling is for speed only: whoever listens also looks on a clock of
/// its own, so that what could not be told is seen later.
#[derive(Clone)]
pub(crate) struct Changes {
    runtime: Arc<dyn RuntimeStore>,
    place: Key,
}

impl Changes {
    pub(crate) fn new(runtime: Arc<dyn RuntimeStore>, topic: Topic) -> Self {
        let name = match topic {
            Topic::Definitions => "definitions",
            Topic::Code => "code",
            Topic::Keys => "keys",
        };
        Self { runtime, place: Key::of_host("changed", name) }
    }

    /// Tells that there was a change; to be called once it can be seen.
    pub(crate) async fn tell(&self) {
        if let Err(error) = self.runtime.write(vec![self.mark()], Durability::Soon).await {
            tracing::warn!(what = self.place.key(), %error, "other hosts see a change some seconds late");
        }
    }

    /// What [`Changes::tell`] writes, to be written together with the change itself.
    pub(crate) fn mark(&self) -> Write {
        Write::Set { key: self.place.clone(), value: rand::random::<[u8; 16]>().to_vec(), ttl: None }
    }

    /// Begins to listen. What was told before counts, too: it may have come after the last look.
    pub(crate) fn listen(&self) -> Listener {
        Listener { changes: self.clone(), seen: None }
    }
}

/// Hears of changes, of its own host's as well.
pub(crate) struct Listener {
    changes: Changes,
    seen: Option<Vec<u8>>,
}

impl Listener {
    /// Waits until there was a change; `false` when the host stops. Of several at one time only one is heard. While the
    /// store is out of reach there is none.
    pub(crate) async fn heard(&mut self, cancel: &CancellationToken) -> bool {
        while crate::start::wait(LOOK, cancel).await {
            if self.has_changed().await {
                return true;
            }
        }
        false
    }

    /// What was heard could not be followed: it is heard again.
    pub(crate) fn forget(&mut self) {
        self.seen = None;
    }

    async fn has_changed(&mut self) -> bool {
        match self.changes.runtime.get(&self.changes.place).await {
            Ok(now) if now != self.seen => {
                self.seen = now;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use nexus_state::memory::MemoryRuntime;

    use super::*;

    #[tokio::test]
    async fn each_listener_hears_of_a_change_of_its_topic_once() {
        let runtime: Arc<dyn RuntimeStore> = Arc::new(MemoryRuntime::default());
        let code = Changes::new(Arc::clone(&runtime), Topic::Code);
        let (mut one, mut other) = (code.listen(), code.listen());
        Changes::new(runtime, Topic::Definitions).tell().await;
        assert!(!one.has_changed().await, "another topic");
        for times in [2, 1] {
            for _ in 0..times {
                code.tell().await;
            }
            assert!(one.has_changed().await && other.has_changed().await);
            assert!(!one.has_changed().await && !other.has_changed().await, "heard already");
        }
        one.forget();
        assert!(one.has_changed().await, "heard again");
        code.tell().await;
        assert!(one.heard(&CancellationToken::new()).await);
        let stopped = CancellationToken::new();
        stopped.cancel();
        assert!(!other.heard(&stopped).await);
    }
}
