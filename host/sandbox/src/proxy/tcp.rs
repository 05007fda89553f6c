//! One connection of an outside server that is not HTTP.

use std::sync::Arc;

use nexus_model::TcpDestination;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::{Outside, Refused};

/// Connects to `destination` and carries both ways until either end has had enough, the server ends, or it was open long enough.
/// What is refused is closed.
pub(crate) async fn connection(
    outside: Arc<Outside>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    destination: TcpDestination,
    _place: OwnedSemaphorePermit,
) {
    // How it ends is the server's matter.
    let _ = outside.ended.run_until_cancelled(carry(&outside, stream, &destination)).await;
}

async fn carry(outside: &Outside, mut stream: impl AsyncRead + AsyncWrite + Unpin, destination: &TcpDestination) {
    let server = &outside.server;
    let opened = timeout(outside.bounds.connect, outside.gate.open_tcp(server, destination)).await;
    match opened {
        Ok(Ok(mut there)) => {
            let _ = timeout(outside.bounds.open, copy_bidirectional(&mut stream, &mut there)).await;
        }
        Ok(Err(Refused::NotGranted(what))) => {
            tracing::warn!(server, what, "an outside server asked what it may not");
        }
        Ok(Err(Refused::Unreachable(error))) => {
            tracing::debug!(server, %destination, error, "an outside server was not connected");
        }
        Err(_) => tracing::debug!(server, %destination, "an outside server was not connected in time"),
    }
}
