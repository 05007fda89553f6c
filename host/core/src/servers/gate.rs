//! Where servers in containers may go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

use async_trait::async_trait;
use nexus_egress::Egress;
use nexus_model::{ServerGrants, TcpDestination, WebOrigin};
use nexus_sandbox::{Gate, Refused};
use tokio::net::TcpStream;

/// What each server was granted. Addresses are looked at as for everything else that goes out.
pub(crate) struct ServerGate {
    egress: Egress,
    granted: RwLock<BTreeMap<String, Granted>>,
}

/// Where one server may go.
struct Granted {
    http: BTreeSet<String>,
    tcp: BTreeSet<TcpDestination>,
}

impl ServerGate {
    pub(crate) fn new(egress: Egress) -> Self {
        Self { egress, granted: RwLock::default() }
    }

    /// Grants a server this, and nothing else any more.
    pub(super) fn grant(&self, server: &str, grants: &ServerGrants) {
        let mut granted = self.granted.write().unwrap_or_else(PoisonError::into_inner);
        granted.insert(server.to_owned(), Granted { http: grants.http.clone(), tcp: grants.tcp.clone() });
    }

    /// Refuses what was not granted.
    fn ask(&self, server: &str, what: &str, is_granted: impl FnOnce(&Granted) -> bool) -> Result<(), Refused> {
        let granted = self.granted.read().unwrap_or_else(PoisonError::into_inner);
        if granted.get(server).is_some_and(is_granted) {
            return Ok(());
        }
        tracing::info!(server, what, "an MCP server may not go there");
        Err(Refused::NotGranted(what.to_owned()))
    }
}

#[async_trait]
impl Gate for ServerGate {
    async fn open(&self, server: &str, origin: &WebOrigin) -> Result<TcpStream, Refused> {
        let text = origin.to_string();
        self.ask(server, &text, |granted| granted.http.contains(&text))?;
        self.egress.dial(origin).await.map_err(|error| Refused::Unreachable(Box::new(error)))
    }

    async fn open_tcp(&self, server: &str, destination: &TcpDestination) -> Result<TcpStream, Refused> {
        self.ask(server, &destination.to_string(), |granted| granted.tcp.contains(destination))?;
        self.egress.dial_tcp(destination).await.map_err(|error| Refused::Unreachable(Box::new(error)))
    }
}
