//! The one way out of an outside server: a forward proxy that asks a gate.

mod serve;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use ipnet::IpNet;
use nexus_model::WebOrigin;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{BoxError, SandboxError};

/// Decides where outside servers may go, and connects them. It is asked for every connection: a grant that is taken back is
/// gone at once for what is not open yet.
#[async_trait]
pub trait Gate: Send + Sync {
    /// A connection to `origin` for the server of this name. The name of the origin's host is resolved here, and its addresses
    /// are checked here. An origin with `https` asks for a tunnel: TLS is the server's own.
    async fn open(&self, server: &str, origin: &WebOrigin) -> Result<TcpStream, Refused>;
}

/// Why a server was not connected.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It may not go there.
    #[error("this server may not ask {0}")]
    NotGranted(WebOrigin),
    /// It may, and there was no connection.
    #[error("no connection was made")]
    Unreachable(#[source] BoxError),
}

/// Bounds of one proxy, which serves one outside server.
#[derive(Debug, Clone)]
pub struct ProxyBounds {
    /// The port that every proxy listens at, each at the gateway of its own network, so that one rule of a firewall fits all.
    pub port: u16,
    /// Connections at one time; more are not accepted until one ends.
    pub connections: usize,
    /// How long the head of a request may take.
    pub head: Duration,
    /// How long the gate may take.
    pub connect: Duration,
    /// How long a connection, or a tunnel, may be open.
    pub open: Duration,
}

impl Default for ProxyBounds {
    fn default() -> Self {
        Self {
            port: 3128,
            connections: 32,
            head: Duration::from_secs(10),
            connect: Duration::from_secs(15),
            open: Duration::from_hours(1),
        }
    }
}

/// Where a proxy listens, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) peers: IpNet,
    pub(crate) server: String,
}

impl Listener {
    /// Whether it is the server that asks. What runs on this machine asks from the address that is listened at.
    fn admits(&self, peer: IpAddr) -> bool {
        self.peers.contains(&peer) && peer != self.address.ip()
    }
}

/// A proxy that runs. Dropped, it ends with all its connections.
#[derive(Debug)]
pub struct EgressProxy {
    address: SocketAddr,
    _running: DropGuard,
}

impl EgressProxy {
    pub(crate) async fn listen(
        listener: Listener,
        gate: Arc<dyn Gate>,
        bounds: ProxyBounds,
        tasks: &TaskTracker,
    ) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Proxy { address: listener.address.to_string(), source };
        let socket = TcpListener::bind(listener.address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let ended = CancellationToken::new();
        let server = serve::Server { listener, gate, bounds, tasks: tasks.clone(), ended: ended.clone() };
        tasks.spawn(accept(socket, Arc::new(server)));
        Ok(Self { address, _running: ended.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Until the proxy ends. Connections that there is no place for wait at the kernel.
async fn accept(socket: TcpListener, server: Arc<serve::Server>) {
    let places = Arc::new(Semaphore::new(server.bounds.connections));
    let accepted = async {
        loop {
            // Never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match socket.accept().await {
                Ok((stream, peer)) if server.listener.admits(peer.ip()) => {
                    server.tasks.spawn(serve::connection(server.clone(), stream, place));
                }
                Ok((_, peer)) => tracing::warn!(%peer, server = server.listener.server, "a stranger asked a proxy"),
                Err(error) => pause(&error).await,
            }
        }
    };
    server.ended.run_until_cancelled(accepted).await;
}

/// Out of files, for one: somebody has to close one first.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a proxy could not accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
