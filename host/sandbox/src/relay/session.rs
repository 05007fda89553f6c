//! All connections of one relay.

use std::{future::poll_fn, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use yamux::{Config, Connection, ConnectionError, DEFAULT_CREDIT, Mode};

use super::{
    channel::Channel,
    listeners::{Listeners, Meaning},
    transport::Transport,
};
use crate::proxy::{MAX_CONNECTIONS, Outside, tcp_connection, web_connection};

/// Serves what comes over the relay until it ends, breaks the protocol, or is ended. However that comes about, also by a fault
/// in here, `outside` has ended then.
pub(super) async fn serve<I, O>(transport: Transport<I, O>, listeners: Listeners, outside: Outside)
where
    I: AsyncWrite + Unpin,
    O: AsyncRead + Unpin,
{
    let ended = outside.ended.clone();
    let _ends = ended.clone().drop_guard();
    let server = outside.server.clone();
    if let Some(Err(error)) = ended.run_until_cancelled(accept(transport, listeners, outside)).await {
        tracing::warn!(server, %error, "the way to the relay of an outside server is broken, which ends the server");
    }
}

async fn accept<I, O>(transport: Transport<I, O>, listeners: Listeners, outside: Outside) -> Result<(), ConnectionError>
where
    I: AsyncWrite + Unpin,
    O: AsyncRead + Unpin,
{
    let connections = usize::from(outside.bounds.connections.clamp(1, MAX_CONNECTIONS));
    let crumbs = transport.crumbs();
    let mut connection = Connection::new(transport, config(connections), Mode::Server);
    // Twice as many as the relay carries: it may be done with one before it is noticed here. One that finds no place is closed.
    let places = Arc::new(Semaphore::new(2 * connections));
    let (outside, listeners) = (Arc::new(outside), Arc::new(listeners));
    while let Some(stream) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
        let channel = Channel::new(stream?, crumbs.clone());
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        outside.tasks.spawn(begin(outside.clone(), listeners.clone(), channel, place));
    }
    Ok(())
}

/// No window ever grows beyond what each stream begins with.
fn config(connections: usize) -> Config {
    let mut config = Config::default();
    let most = 4 * connections;
    // In this order: each is checked against the other.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(most);
    config.set_max_connection_receive_window(Some(most * DEFAULT_CREDIT as usize));
    config
}

/// A stream says first which listener it came to. A relay that names one that it does not have is not ours.
async fn begin(outside: Arc<Outside>, listeners: Arc<Listeners>, mut channel: Channel, place: OwnedSemaphorePermit) {
    let Ok(Ok(number)) = timeout(outside.bounds.head, channel.read_u16()).await else { return };
    match listeners.meaning(number) {
        Some(Meaning::Proxy) => web_connection(outside, channel, place).await,
        Some(Meaning::Tcp(destination)) => tcp_connection(outside, channel, destination, place).await,
        None => {
            tracing::warn!(
                server = outside.server,
                number,
                "a relay has a connection of a listener that it does not have"
            );
            outside.ended.cancel();
        }
    }
}
