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

/// A name for this start of a host, as owner of sandboxes.
pub(super) fn new_owner() -> Owner {
    let name = Uuid::now_v7().to_string();
    Owner { host: name.clone(), lease: name }
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

/// Whoever has a lease in the store lives.
pub(super) struct StoreOwners(pub(super) Arc<dyn RuntimeStore>);

#[async_trait]
impl Owners for StoreOwners {
    async fn is_alive(&self, owner: &Owner) -> Result<bool, OwnerError> {
        let found: Result<_, StoreError> = self.0.get(&key(&owner.lease)).await;
        found.map(|found| found.is_some()).map_err(|error| OwnerError(Box::new(error)))
    }
}
