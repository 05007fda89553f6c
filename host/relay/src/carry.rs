//! Connections become streams.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::sleep,
};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, ConnectionError, DEFAULT_CREDIT, Mode, Stream};

/// Streams that yamux may know, those included that ended and of which the host was not told yet, because it does not read.
const MAX_STREAMS: usize = 1024;

/// Who waits for a stream.
type Asking = oneshot::Sender<Stream>;

/// Carries what comes to the listeners over `host`, at most `connections` at one time, until `host` ends.
pub async fn carry(
    listeners: Vec<TcpListener>,
    connections: usize,
    host: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), ConnectionError> {
    let mut config = Config::default();
    // No window ever grows: what is in memory is at most what the default lets in, for each connection.
    config.set_max_num_streams(MAX_STREAMS);
    config.set_max_connection_receive_window(Some(MAX_STREAMS * DEFAULT_CREDIT as usize));
    let connection = Connection::new(host.compat(), config, Mode::Client);
    let (ask, asked) = mpsc::channel(connections);
    let places = Arc::new(Semaphore::new(connections));
    let accepting = (0..).zip(&listeners).map(|(number, listener)| accept(listener, number, &ask, &places));
    tokio::select! {
        ended = drive(connection, asked) => ended,
        _ = join_all(accepting) => Ok(()),
    }
}

/// Accepts for ever. A connection that there is no place for waits, and those behind it wait at the kernel.
async fn accept(listener: &TcpListener, number: u16, ask: &mpsc::Sender<Asking>, places: &Arc<Semaphore>) {
    let mut carried = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = carried.join_next() => continue,
        };
        let Ok((local, _)) = accepted else {
            // Out of files, for one: somebody has to close one first.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Never closed.
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        carried.spawn(connect(local, number, ask.clone(), place));
    }
}

/// One connection, to its end. How it ends is the matter of those who talk.
async fn connect(mut local: TcpStream, number: u16, ask: mpsc::Sender<Asking>, _place: OwnedSemaphorePermit) {
    let _ = local.set_nodelay(true);
    let (asking, opened) = oneshot::channel();
    if ask.send(asking).await.is_err() {
        return;
    }
    let Ok(stream) = opened.await else { return };
    let mut stream = stream.compat();
    let moved = async {
        stream.write_all(&number.to_be_bytes()).await?;
        copy_bidirectional(&mut local, &mut stream).await?;
        Ok::<_, io::Error>(())
    };
    let _ = moved.await;
}

/// Moves the bytes of all streams, and opens those that are asked for.
async fn drive<T>(mut connection: Connection<T>, mut asked: mpsc::Receiver<Asking>) -> Result<(), ConnectionError>
where
    T: futures::AsyncRead + futures::AsyncWrite + Unpin,
{
    let mut asking = None;
    poll_fn(move |cx| {
        open(&mut connection, &mut asked, &mut asking, cx)?;
        loop {
            match connection.poll_next_inbound(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                // The host opens none. One that it opens is closed at once.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Opens all streams that are asked for and can be opened now.
fn open<T>(
    connection: &mut Connection<T>,
    asked: &mut mpsc::Receiver<Asking>,
    asking: &mut Option<Asking>,
    cx: &mut Context<'_>,
) -> Result<(), ConnectionError>
where
    T: futures::AsyncRead + futures::AsyncWrite + Unpin,
{
    loop {
        if asking.is_none() {
            match asked.poll_recv(cx) {
                Poll::Ready(next) => *asking = next,
                Poll::Pending => return Ok(()),
            }
        }
        if asking.is_none() {
            return Ok(());
        }
        let Poll::Ready(stream) = connection.poll_new_outbound(cx) else { return Ok(()) };
        let stream = stream?;
        if let Some(asking) = asking.take() {
            // Whoever asked may be gone: then the stream is closed.
            let _ = asking.send(stream);
        }
    }
}
