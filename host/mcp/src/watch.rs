//! Who is told of changes, and of what.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_model::ToolCatalogue;
use rmcp::{
    ErrorData, RoleServer,
    model::ResourceUpdatedNotificationParam,
    service::{Peer, SubscriptionContext, SubscriptionSendError},
};

/// Resources that one session may watch.
const MOST: usize = 1_000;
/// The longest URI, in bytes.
const MAX_URI: usize = 2 << 10;
/// How often it is looked whether a peer is gone: rmcp tells of that only when it is asked.
const EVERY: Duration = Duration::from_secs(1);

/// The resources that a session watches. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) struct Watched(Arc<Mutex<BTreeSet<String>>>);

impl Watched {
    /// Watches a resource, which need not be there yet.
    pub(crate) fn add(&self, uri: String) -> Result<(), ErrorData> {
        if uri.len() > MAX_URI {
            return Err(ErrorData::invalid_params(format!("a URI has at most {MAX_URI} bytes"), None));
        }
        let mut watched = self.uris();
        if watched.len() == MOST && !watched.contains(&uri) {
            return Err(ErrorData::invalid_request(format!("a session watches at most {MOST} resources"), None));
        }
        watched.insert(uri);
        Ok(())
    }

    pub(crate) fn remove(&self, uri: &str) {
        self.uris().remove(uri);
    }

    fn uris(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the peer of changes for as long as it is there. Which resource is another is not known: all that are watched
    /// may be.
    pub(crate) async fn tell(self, catalogue: Arc<dyn ToolCatalogue>, peer: Peer<RoleServer>) {
        let mut version = catalogue.version();
        loop {
            tokio::select! {
                () = gone(&peer) => return,
                () = catalogue.changed_from(&version) => version = catalogue.version(),
            }
            let uris: Vec<_> = self.uris().iter().cloned().collect();
            let told = async {
                peer.notify_tool_list_changed().await?;
                peer.notify_prompt_list_changed().await?;
                peer.notify_resource_list_changed().await?;
                for uri in uris {
                    peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await?;
                }
                Ok::<_, rmcp::ServiceError>(())
            };
            if told.await.is_err() {
                return;
            }
        }
    }
}

async fn gone(peer: &Peer<RoleServer>) {
    while !peer.is_transport_closed() {
        tokio::time::sleep(EVERY).await;
    }
}

/// Tells a subscription of changes until it is cancelled.
pub(crate) async fn listen(catalogue: &dyn ToolCatalogue, context: &SubscriptionContext) {
    let mut version = catalogue.version();
    loop {
        tokio::select! {
            () = context.cancelled() => return,
            () = catalogue.changed_from(&version) => version = catalogue.version(),
        }
        if tell(context).await.is_err() {
            return;
        }
    }
}

async fn tell(context: &SubscriptionContext) -> Result<(), SubscriptionSendError> {
    let (sink, accepted) = (context.sink(), context.accepted());
    if accepted.tools_list_changed == Some(true) {
        sink.notify_tool_list_changed().await?;
    }
    if accepted.prompts_list_changed == Some(true) {
        sink.notify_prompt_list_changed().await?;
    }
    if accepted.resources_list_changed == Some(true) {
        sink.notify_resource_list_changed().await?;
    }
    for uri in accepted.resource_subscriptions.iter().flatten().take(MOST) {
        sink.notify_resource_updated(uri.clone()).await?;
    }
    Ok(())
}
