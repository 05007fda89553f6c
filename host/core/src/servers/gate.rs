//! Where servers in containers may go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

use async_trait::async_trait;
use nexus_egress::Egress;
use nexus_model::WebOrigin;
use nexus_sandbox::{Gate, Refused};
use tokio::net::TcpStream;

/// The origins that each server was granted. Addresses are looked at as for everything else that goes out.
pub(crate) struct ServerGate {
    egress: Egress,
    granted: RwLock<BTreeMap<String, BTreeSet<String>>>,
}

impl ServerGate {
    pub(crate) fn new(egress: Egress) -> Self {
        Self { egress, granted: RwLock::default() }
    }

    /// Grants a server these origins, and no others any more.
    pub(super) fn grant(&self, server: &str, origins: &BTreeSet<String>) {
        let mut granted = self.granted.write().unwrap_or_else(PoisonError::into_inner);
        granted.insert(server.to_owned(), origins.clone());
    }
}

#[async_trait]
impl Gate for ServerGate {
    async fn open(&self, server: &str, origin: &WebOrigin) -> Result<TcpStream, Refused> {
        let granted = {
            let granted = self.granted.read().unwrap_or_else(PoisonError::into_inner);
            granted.get(server).is_some_and(|origins| origins.contains(&origin.to_string()))
        };
        if !granted {
            tracing::info!(server, %origin, "an MCP server may not go there");
            return Err(Refused::NotGranted(origin.clone()));
        }
        self.egress.dial(origin).await.map_err(|error| Refused::Unreachable(Box::new(error)))
    }
}
