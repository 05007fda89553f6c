//! What applications send to the outside.

use std::sync::Arc;

use ipnet::IpNet;
use nexus_egress::{Egress, EgressConfig, SystemResolver};
use serde::{Deserialize, Serialize};

/// Requests of applications to the outside.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressSettings {
    /// Networks that are not public and may be reached all the same, as `10.1.0.0/16`: by whatever is granted an origin in
    /// them.
    pub private_networks: Vec<IpNet>,
    /// Connections at one time, of all applications together.
    pub connections: usize,
}

impl Default for EgressSettings {
    fn default() -> Self {
        Self { private_networks: Vec::new(), connections: EgressConfig::default().connections }
    }
}

impl EgressSettings {
    /// Where requests go out.
    pub(crate) fn open(&self) -> Egress {
        let (private_networks, connections) = (self.private_networks.clone(), self.connections);
        Egress::new(EgressConfig { private_networks, connections, ..EgressConfig::default() }, Arc::new(SystemResolver))
    }
}
