//! The network of one outside server, which has one way out: the proxy.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use bollard::{
    Docker,
    models::{NetworkCreateRequest, NetworkInspect},
};
use ipnet::IpNet;
use nexus_model::sha256_hex;

use super::{DockerDriver, body::labels, start::is_gone};
use crate::{EgressProxy, SandboxError, ServerProfile, proxy::Listener};

/// The engine's option that names the interface.
const BRIDGE: &str = "com.docker.network.bridge.name";

/// A network without a way out, and the proxy that listens on its gateway. Others of the engine's networks do not reach it.
pub(super) struct Link {
    docker: Docker,
    network: String,
    proxy: EgressProxy,
}

impl DockerDriver {
    /// The server's own network, if it may go anywhere.
    pub(super) async fn open_link(&self, server: &ServerProfile) -> Result<Option<Link>, SandboxError> {
        let Some(gate) = &server.gate else { return Ok(None) };
        let name = format!("nexus-{}-{}", self.owner.lease, server.name);
        let request = NetworkCreateRequest {
            options: Some(HashMap::from([(BRIDGE.to_owned(), interface(&name))])),
            name,
            driver: Some("bridge".to_owned()),
            internal: Some(true),
            attachable: Some(false),
            enable_ipv6: Some(false),
            labels: Some(labels(&std::collections::BTreeMap::new(), &self.owner)),
            ..NetworkCreateRequest::default()
        };
        let created = self.docker.create_network(request).await;
        let network = created.map_err(SandboxError::engine("make the network"))?.id;
        let listening = async {
            let found = self.docker.inspect_network(&network, None).await;
            let (gateway, peers) = address(&found.map_err(SandboxError::engine("look at the network"))?)
                .ok_or(SandboxError::Spec("the engine gave the network no gateway"))?;
            let listener = Listener {
                address: SocketAddr::new(gateway, self.settings.proxy.port),
                peers,
                server: server.name.clone(),
            };
            EgressProxy::listen(listener, gate.clone(), self.settings.proxy.clone(), &self.tasks).await
        };
        match listening.await {
            Ok(proxy) => Ok(Some(Link { docker: self.docker.clone(), network, proxy })),
            Err(error) => {
                remove(&self.docker, &network).await;
                Err(error)
            }
        }
    }
}

impl Link {
    pub(super) fn network(&self) -> &str {
        &self.network
    }

    /// What tells programs of the proxy. Some read the one spelling, some the other.
    pub(super) fn environment(&self) -> impl Iterator<Item = String> {
        let url = format!("http://{}", self.proxy.address());
        let proxied = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
        let direct = ["NO_PROXY", "no_proxy"].map(|name| format!("{name}=localhost,127.0.0.1"));
        proxied.into_iter().map(move |name| format!("{name}={url}")).chain(direct)
    }

    /// Ends the proxy and removes the network, which nobody may be in any more.
    pub(super) async fn close(self) {
        drop(self.proxy);
        remove(&self.docker, &self.network).await;
    }
}

async fn remove(docker: &Docker, network: &str) {
    if let Err(error) = docker.remove_network(network).await
        && !is_gone(&error)
    {
        tracing::warn!(network, %error, "the network of a sandbox could not be removed");
    }
}

/// The name of a network's interface on the engine's machine, by which a firewall knows it: `nxs` and twelve digits. An interface's
/// name has 15 characters at most.
fn interface(network: &str) -> String {
    format!("nxs{}", &sha256_hex(network)[..12])
}

/// The gateway of a network, and the addresses in it.
fn address(network: &NetworkInspect) -> Option<(IpAddr, IpNet)> {
    let mut configs = network.ipam.as_ref()?.config.iter().flatten();
    configs.find_map(|config| Some((config.gateway.as_ref()?.parse().ok()?, config.subnet.as_ref()?.parse().ok()?)))
}
