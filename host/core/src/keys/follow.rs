//! Changes of keys that other hosts on the same store make.

use std::{sync::Arc, time::Duration};

use nexus_model::{Durability, Key, StoreError, Write};
use tokio_util::sync::CancellationToken;

use super::{KeyRing, read};

/// How often a host looks whether another has changed a key; a revoked key is refused everywhere within a second.
const LOOK: Duration = Duration::from_millis(250);
/// Looks after which all keys are read again even so: a host may have ended between a change and its mark.
const READ_EVERY: u32 = 40;

/// What a host writes when it has changed keys: different each time.
pub(super) fn mark() -> Write {
    Write::Set { key: place(), value: rand::random::<[u8; 16]>().to_vec(), ttl: None }
}

fn place() -> Key {
    Key::of_host("keys_changed", "")
}

impl KeyRing {
    /// Tells other hosts that a key has changed. The change holds whether or not they can be told: they find it when they
    /// read all keys again.
    pub(super) async fn announce(&self) {
        if let Err(error) = self.runtime.write(vec![mark()], Durability::Synced).await {
            tracing::warn!(%error, "other hosts see a change of keys some seconds late");
        }
    }

    /// Follows what other hosts do to keys, until the host stops. While the store is out of reach the keys that are
    /// known go on working.
    pub(crate) async fn follow(self: Arc<Self>, cancel: CancellationToken) {
        let mut seen = None;
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            looks = (looks + 1) % READ_EVERY;
            if looks == 0 {
                seen = None;
            }
            if let Err(error) = self.catch_up(&mut seen).await {
                tracing::debug!(%error, "whether keys have changed is not known; those that are known go on working");
            }
        }
    }

    /// Reads all keys again if they have changed since `seen`.
    async fn catch_up(&self, seen: &mut Option<Vec<u8>>) -> Result<(), StoreError> {
        let now = self.runtime.get(&place()).await?;
        if now == *seen {
            return Ok(());
        }
        let _one_at_a_time = self.changes.lock().await;
        let entries = read(self.runtime.as_ref(), &self.entries.load()).await?;
        self.entries.store(Arc::new(entries));
        *seen = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nexus_model::RuntimeStore;
    use nexus_state::memory::MemoryRuntime;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{MasterKey, keys::NewKey};

    #[tokio::test]
    async fn another_host_follows() {
        let runtime: Arc<dyn RuntimeStore> = Arc::new(MemoryRuntime::default());
        let master = MasterKey::from_bytes([1; 32]);
        let one = KeyRing::load(Arc::clone(&runtime), &master).await.unwrap();
        let other = KeyRing::load(runtime, &master).await.unwrap();
        let mut seen = None;
        let request = NewKey {
            name: "k".to_owned(),
            scopes: vec!["admin".parse().unwrap()],
            expires_in: None,
            requests_per_minute: None,
        };
        let (info, secret) = one.create(request).await.unwrap();
        assert!(other.authenticate(secret.expose_secret()).is_none());
        other.catch_up(&mut seen).await.unwrap();
        assert!(other.authenticate(secret.expose_secret()).is_some());
        one.revoke(&info.id).await.unwrap();
        other.catch_up(&mut seen).await.unwrap();
        assert!(other.authenticate(secret.expose_secret()).is_none());
    }
}
