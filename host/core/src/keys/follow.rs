//! Changes of keys that other hosts on the same store make.

use std::{sync::Arc, time::Duration};

use nexus_model::StoreError;
use tokio_util::sync::CancellationToken;

use super::{KeyRing, read};

/// How often all keys are read again even if nothing was heard: a host may have ended between a change and its telling.
const READ_EVERY: Duration = Duration::from_secs(10);

impl KeyRing {
    /// Follows what other hosts do to keys, until the host stops; a revoked key is refused everywhere within a second.
    /// While the store is out of reach the keys that are known go on working.
    pub(crate) async fn follow(self: Arc<Self>, cancel: CancellationToken) {
        let mut others = self.told.listen();
        while !matches!(tokio::time::timeout(READ_EVERY, others.heard(&cancel)).await, Ok(false)) {
            if let Err(error) = self.read_again().await {
                others.forget();
                tracing::debug!(%error, "whether keys have changed is not known; those that are known go on working");
            }
        }
    }

    async fn read_again(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let entries = read(self.runtime.as_ref(), &self.entries.load()).await?;
        self.entries.store(Arc::new(entries));
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
        let request = NewKey {
            name: "k".to_owned(),
            scopes: vec!["admin".parse().unwrap()],
            expires_in: None,
            requests_per_minute: None,
        };
        let (mut others, cancel) = (other.told.listen(), CancellationToken::new());
        let (info, secret) = one.create(request).await.unwrap();
        assert!(other.authenticate(secret.expose_secret()).is_none());
        assert!(others.heard(&cancel).await);
        other.read_again().await.unwrap();
        assert!(other.authenticate(secret.expose_secret()).is_some());
        one.revoke(&info.id).await.unwrap();
        assert!(others.heard(&cancel).await);
        other.read_again().await.unwrap();
        assert!(other.authenticate(secret.expose_secret()).is_none());
    }
}
