//! The ways out of an outside server: a forward proxy and connections of TCP, for both of which a gate is asked.

mod serve;
mod tcp;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_model::{TcpDestination, WebOrigin};
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::{serve::connection as web_connection, tcp::connection as tcp_connection};
use crate::BoxError;

/// Decides where outside servers may go, and connects them. It is asked for every connection: a grant that is taken back is
/// gone at once for what is not open yet.
#[async_trait]
pub trait Gate: Send + Sync {
    /// A connection to `origin` for the server of this name. The name of the origin's host is resolved here, and its addresses
    /// are checked here. An origin with `https` asks for a tunnel: TLS is the server's own.
    async fn open(&self, server: &str, origin: &WebOrigin) -> Result<TcpStream, Refused>;

    /// The same for what is not HTTP. Only destinations of the server's [`ServerProfile`](crate::ServerProfile) are asked for.
    /// Left out, there are none.
    async fn open_tcp(&self, _server: &str, destination: &TcpDestination) -> Result<TcpStream, Refused> {
        Err(Refused::NotGranted(destination.to_string()))
    }
}

/// Why a server was not connected.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It may not go there.
    #[error("this server may not ask {0}")]
    NotGranted(String),
    /// It may, and there was no connection.
    #[error("no connection was made")]
    Unreachable(#[source] BoxError),
}

/// The most connections that one server may have at one time.
pub(crate) const MAX_CONNECTIONS: u16 = 1024;

/// Bounds of what one outside server does outside.
#[derive(Debug, Clone)]
pub struct ProxyBounds {
    /// Connections at one time, 1 to 1024; more are not accepted until one ends.
    pub connections: u16,
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
            connections: 32,
            head: Duration::from_secs(10),
            connect: Duration::from_secs(15),
            open: Duration::from_hours(1),
        }
    }
}

/// What all connections of one outside server have in common.
pub(crate) struct Outside {
    /// The name that the gate knows it by.
    pub(crate) server: String,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) bounds: ProxyBounds,
    pub(crate) tasks: TaskTracker,
    /// Cancelled, all connections end.
    pub(crate) ended: CancellationToken,
}
