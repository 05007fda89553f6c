//! The relay beside a host that is only yamux.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends the test")]

use std::{future::poll_fn, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_util::compat::TokioAsyncReadCompatExt;
use yamux::{Config, Connection, Mode, Stream};

const LONG: Duration = Duration::from_secs(40);

/// A relay of two listeners, and the streams that come of them. When they are dropped, the host is gone.
async fn relay(connections: usize) -> ([std::net::SocketAddr; 2], mpsc::Receiver<Stream>, JoinSet<()>) {
    let (one, two) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addresses = [one.local_addr().unwrap(), two.local_addr().unwrap()];
    let (host, there) = duplex(64 << 10);
    let (send, streams) = mpsc::channel(16);
    let mut running = JoinSet::new();
    running.spawn(async move { nexus_relay::carry(vec![one, two], connections, there).await.unwrap() });
    running.spawn(async move {
        let mut host = Connection::new(host.compat(), Config::default(), Mode::Server);
        loop {
            let next = poll_fn(|cx| host.poll_next_inbound(cx));
            tokio::select! {
                Some(Ok(stream)) = next => send.send(stream).await.unwrap(),
                () = send.closed() => return,
                else => return,
            }
        }
    });
    (addresses, streams, running)
}

async fn number(stream: &mut Stream) -> u16 {
    let mut number = [0; 2];
    timeout(LONG, stream.read_exact(&mut number)).await.unwrap().unwrap();
    u16::from_be_bytes(number)
}

#[tokio::test]
async fn a_stream_says_which_listener_it_came_to() {
    let (addresses, mut streams, mut running) = relay(4).await;
    for place in [1_u16, 0, 1] {
        let mut local = TcpStream::connect(addresses[usize::from(place)]).await.unwrap();
        local.write_all(b"question").await.unwrap();
        local.shutdown().await.unwrap();
        let mut stream = timeout(LONG, streams.recv()).await.unwrap().unwrap();
        assert_eq!(number(&mut stream).await, place);
        let mut heard = String::new();
        timeout(LONG, stream.read_to_string(&mut heard)).await.unwrap().unwrap();
        // The other way is still open.
        stream.write_all(b"answer").await.unwrap();
        stream.close().await.unwrap();
        let mut answer = String::new();
        timeout(LONG, local.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!((heard.as_str(), answer.as_str()), ("question", "answer"));
    }
    drop(streams);
    while let Some(ended) = timeout(LONG, running.join_next()).await.unwrap() {
        ended.unwrap();
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_place() {
    let (addresses, mut streams, _running) = relay(1).await;
    let first = TcpStream::connect(addresses[0]).await.unwrap();
    let mut held = timeout(LONG, streams.recv()).await.unwrap().unwrap();
    assert_eq!(number(&mut held).await, 0);
    // The kernel takes it, and nobody else.
    let _second = TcpStream::connect(addresses[1]).await.unwrap();
    assert!(timeout(Duration::from_millis(300), streams.recv()).await.is_err());
    drop((first, held));
    let mut next = timeout(LONG, streams.recv()).await.unwrap().unwrap();
    assert_eq!(number(&mut next).await, 1);
}
