//! That this host lives, so that others leave its sandboxes alone; and which others do.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_model::{Key, RuntimeStore, StoreError};
use nexus_sandbox::{Owner, OwnerError, Owners};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::lease::Lease;

/// How long a host that is gone is taken for one that lives.
const LASTS: Duration = Duration::from_secs(20);

/// The lease of one start of a host.
pub(super) fn lease(runtime: &Arc<dyn RuntimeStore>, name: &str) -> Lease {
    Lease { runtime: Arc::clone(runtime), key: key(name), holder: name.to_owned(), lasts: LASTS }
}

fn key(name: &str) -> Key {
    Key::of_host("sandbox_host", name)
}

/// This start of a host as owner of sandboxes. What the engine knows as the host are all hosts on one store: an engine may be
/// shared by others, who know nothing of these leases.
pub(super) async fn new_owner(runtime: &Arc<dyn RuntimeStore>) -> Result<Owner, StoreError> {
    let lease = Uuid::now_v7().to_string();
    Ok(Owner { host: installation(runtime).await?, lease })
}

/// What tells this store from others.
async fn installation(runtime: &Arc<dyn RuntimeStore>) -> Result<String, StoreError> {
    let key = Key::of_host("installation", "id");
    let mine = Uuid::now_v7().to_string();
    if runtime.compare_and_set(&key, None, mine.clone().into_bytes(), None).await? {
        return Ok(mine);
    }
    let known = runtime.get(&key).await?.and_then(|known| String::from_utf8(known).ok());
    Ok(known.unwrap_or(mine))
}

/// Says that this host lives until `cancel`. A lease that was lost, because the store was out of reach for long, is taken again.
pub(super) async fn hold(runtime: Arc<dyn RuntimeStore>, owner: Owner, cancel: CancellationToken) {
    let lease = lease(&runtime, &owner.lease);
    loop {
        lease.keep(|| true, &cancel).await;
        if !crate::start::wait(Duration::from_secs(1), &cancel).await {
            lease.give_back().await;
            return;
        }
        if let Err(error) = lease.take().await {
            tracing::warn!(%error, "it cannot be said that this host lives; others may end its sandboxes");
        }
    }
}

/// Whoever has a lease in the store lives, and so may hosts of other stores.
pub(super) struct StoreOwners(pub(super) Arc<dyn RuntimeStore>);

#[async_trait]
impl Owners for StoreOwners {
    async fn is_alive(&self, owner: &Owner) -> Result<bool, OwnerError> {
        let failed = |error: StoreError| OwnerError(Box::new(error));
        if installation(&self.0).await.map_err(failed)? != owner.host {
            return Ok(true);
        }
        Ok(self.0.get(&key(&owner.lease)).await.map_err(failed)?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use nexus_state::memory::MemoryRuntime;

    use super::*;

    #[tokio::test]
    async fn hosts_of_other_stores_are_left_alone() {
        let store = || Arc::new(MemoryRuntime::default()) as Arc<dyn RuntimeStore>;
        let (ours, others) = (store(), store());
        let (one, two) = (new_owner(&ours).await.unwrap(), new_owner(&ours).await.unwrap());
        assert_eq!(one.host, two.host);
        assert!(lease(&ours, &one.lease).take().await.unwrap());
        let alive = StoreOwners(Arc::clone(&ours));
        assert!(alive.is_alive(&one).await.unwrap() && !alive.is_alive(&two).await.unwrap());
        assert!(alive.is_alive(&new_owner(&others).await.unwrap()).await.unwrap());
    }
}
