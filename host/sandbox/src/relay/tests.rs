//! The host's end beside the real relay, and beside ones that are not ours.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use nexus_model::{TcpDestination, WebOrigin};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Listeners, session::serve, transport::Transport};
use crate::{Gate, ProxyBounds, Refused, proxy::Outside};

const LONG: Duration = Duration::from_secs(40);

/// Connects all to one address, or none, and counts how often it is asked.
#[derive(Default)]
struct Counting {
    to: Option<SocketAddr>,
    asked: AtomicUsize,
}

#[async_trait]
impl Gate for Counting {
    async fn open(&self, _: &str, origin: &WebOrigin) -> Result<TcpStream, Refused> {
        Err(Refused::NotGranted(origin.to_string()))
    }

    async fn open_tcp(&self, _: &str, _: &TcpDestination) -> Result<TcpStream, Refused> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.to {
            Some(to) => TcpStream::connect(to).await.map_err(|error| Refused::Unreachable(error.into())),
            None => std::future::pending().await,
        }
    }
}

fn outside(gate: Arc<dyn Gate>, connections: u16) -> Outside {
    let bounds = ProxyBounds { connections, ..ProxyBounds::default() };
    Outside { server: "s".to_owned(), gate, bounds, tasks: TaskTracker::new(), ended: CancellationToken::new() }
}

fn listeners() -> Listeners {
    Listeners::new(&["db.x:5432".parse().unwrap()])
}

/// The host's end of these bytes, which the other end of them is a relay for.
async fn host(stream: DuplexStream, outside: Outside) {
    let (output, input) = split(stream);
    serve(Transport::new(input, output), listeners(), outside).await;
}

fn frame(kind: u8, flags: u8, stream: u32, length: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, kind, 0, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn data(flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    frame(0, flags, stream, u32::try_from(body.len()).unwrap(), body)
}

const SYN: u8 = 1;
const FIN: u8 = 4;

#[tokio::test]
async fn what_the_relay_carries_goes_where_its_listener_says() {
    let tasks = TaskTracker::new();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Arc::new(Counting { to: Some(upstream.local_addr().unwrap()), ..Counting::default() });
    let echo = async move {
        while let Ok((mut stream, _)) = upstream.accept().await {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    };
    let running = CancellationToken::new();
    let until = running.clone();
    tasks.spawn(async move { until.run_until_cancelled(echo).await });
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at_proxy, at_tcp) = (proxy.local_addr().unwrap(), tcp.local_addr().unwrap());
    let (here, there) = duplex(64 << 10);
    let relay = tasks.spawn(async move { nexus_relay::carry(vec![proxy, tcp], 4, there).await });
    let outside = outside(gate.clone(), 4);
    let ended = outside.ended.clone();
    let serving = tasks.spawn(host(here, outside));

    for round in 0..20_u8 {
        let sent = vec![round; 300 << 10];
        let mut stream = TcpStream::connect(at_tcp).await.unwrap();
        let (mut from, mut to) = stream.split();
        let mut heard = Vec::new();
        let sending = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let ((), read) = timeout(LONG, async { tokio::join!(sending, from.read_to_end(&mut heard)) }).await.unwrap();
        read.unwrap();
        assert!(heard == sent, "round {round}: {} bytes of {}", heard.len(), sent.len());
    }
    assert_eq!(gate.asked.load(Ordering::SeqCst), 20);
    let mut stream = TcpStream::connect(at_proxy).await.unwrap();
    stream.write_all(b"GET http://x.test/ HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    // Whoever goes away without a word takes nothing along.
    for _ in 0..200 {
        let stream = TcpStream::connect(at_tcp).await.unwrap();
        stream.set_zero_linger().unwrap();
    }
    let mut stream = TcpStream::connect(at_tcp).await.unwrap();
    stream.write_all(b"still here").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "still here");

    ended.cancel();
    timeout(LONG, serving).await.unwrap().unwrap();
    // The relay hears that its host is gone.
    timeout(LONG, relay).await.unwrap().unwrap().unwrap();
    running.cancel();
}

/// Whether the host ends after these bytes within `patience`, with the other end still open.
async fn ends_after(bytes: &[u8], patience: Duration) -> bool {
    let (here, mut there) = duplex(16 << 20);
    there.write_all(bytes).await.unwrap();
    let outside = outside(Arc::new(Counting::default()), 2);
    let ended = outside.ended.clone();
    let served = timeout(patience, host(here, outside)).await.is_ok();
    assert!(!served || ended.is_cancelled());
    served
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_relay() {
    let number = |number: u16| data(SYN, 1, &number.to_be_bytes());
    // Of many streams, those that there is no place for are closed.
    let many = (0..50_u32).flat_map(|stream| data(SYN, 2 * stream + 1, b"")).collect();
    for bytes in [Vec::new(), number(1), many] {
        assert!(!ends_after(&bytes, Duration::from_millis(200)).await);
    }
    for (what, bytes) in [
        ("a listener that is not there", number(2)),
        ("no yamux", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ("another version", [vec![1], data(SYN, 1, &[0, 1])[1..].to_vec()].concat()),
        ("a stream of the host's", data(SYN, 2, &[0, 1])),
        ("a stream twice", [number(1), number(1)].concat()),
        (
            "too much for a window",
            [number(1), data(0, 1, &vec![7; 200 << 10]), data(0, 1, &vec![7; 200 << 10])].concat(),
        ),
        ("a frame that is too large", frame(0, SYN, 1, 1 << 30, b"x")),
        ("credit that overflows", [number(1), frame(1, 0, 1, u32::MAX, b"")].concat()),
        ("an answer that nobody asked for", [frame(2, 2, 0, 99, b"")].concat()),
        ("a farewell", frame(3, 0, 0, 0, b"")),
    ] {
        assert!(ends_after(&bytes, LONG).await, "{what}");
    }
}

#[tokio::test]
async fn pieces_that_nobody_reads_are_bounded() {
    let (here, mut there) = duplex(64 << 10);
    let gate = Arc::new(Counting::default());
    let outside = outside(gate.clone(), 8);
    let (tasks, ended) = (outside.tasks.clone(), outside.ended.clone());
    tasks.spawn(host(here, outside));
    for stream in [1, 3, 5, 7] {
        there.write_all(&data(SYN, stream, &[0, 1])).await.unwrap();
    }
    let mut taken = 0_u32;
    // The gate takes its time, within its bound; no window is full.
    let crumbs = async {
        loop {
            there.write_all(&data(0, 1 + 2 * (taken % 4), b"x")).await.unwrap();
            taken += 1;
        }
    };
    assert!(timeout(Duration::from_secs(2), crumbs).await.is_err());
    assert!(taken < 32 << 10, "{taken}");
    assert_eq!(gate.asked.load(Ordering::SeqCst), 4);
    assert!(!ended.is_cancelled());
    ended.cancel();
}

/// What a relay could say: frames that are nearly right, and noise.
fn said() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![4 => (0..4_u32).prop_map(|number| 2 * number + 1), 1 => any::<u32>()];
    let body = prop_oneof![
        Just(vec![0, 0]),
        Just(vec![0, 1]),
        Just(b"\0\0GET http://a.test/ HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"\0\0CONNECT a.test:443 HTTP/1.1\r\n\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..64),
    ];
    let right = (0..16_u8, stream.clone(), body).prop_map(|(flags, stream, body)| data(flags, stream, &body));
    let other =
        (0..5_u8, 0..16_u8, stream, any::<u32>()).prop_map(|(kind, flags, id, n)| frame(kind, flags, id, n, b""));
    let piece = prop_oneof![
        8 => right,
        2 => other,
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_a_relay_says_it_ends_when_it_ends_and_only_what_is_granted_is_asked_for(bytes in said()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let gate = Arc::new(Counting::default());
        let outside = outside(gate.clone(), 2);
        let (tasks, ended) = (outside.tasks.clone(), outside.ended.clone());
        runtime.block_on(async {
            let (here, mut there) = duplex(1 << 20);
            there.write_all(&bytes).await.unwrap();
            there.shutdown().await.unwrap();
            // Here and not in a task, so that a panic would be seen.
            timeout(LONG, host(here, outside)).await.unwrap();
            assert!(ended.is_cancelled());
            tasks.close();
            timeout(LONG, tasks.wait()).await.unwrap();
        });
        let openings = bytes.windows(4).filter(|head| head[0] == 0 && head[1] < 2 && head[3] & SYN == SYN).count();
        prop_assert!(gate.asked.load(Ordering::SeqCst) <= openings);
    }
}

#[tokio::test]
async fn a_stream_that_says_nothing_is_closed() {
    let (here, mut there) = duplex(64 << 10);
    let mut outside = outside(Arc::new(Counting::default()), 2);
    outside.bounds.head = Duration::from_millis(20);
    let (tasks, ended) = (outside.tasks.clone(), outside.ended.clone());
    tasks.spawn(host(here, outside));
    // More than there are places for, one after the other: each is given up in time, or at once.
    for stream in 0..20_u32 {
        there.write_all(&data(SYN, 2 * stream + 1, b"")).await.unwrap();
        there.write_all(&data(FIN, 2 * stream + 1, b"")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!ended.is_cancelled());
    ended.cancel();
}
