//! Servers, and names for them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use nexus_egress::{Egress, EgressConfig, Resolver};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that reads one request of each connection and says the same to all.
pub(super) struct Site {
    pub(super) port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub(super) async fn open(address: &str, port: u16, answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(address.parse().unwrap(), port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let site = Self { port, connections: Arc::default(), requests: Arc::default() };
        let (connections, requests) = (site.connections.clone(), site.requests.clone());
        let (answer, tracker) = (answer.into(), TaskTracker::new());
        tracker.clone().spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (requests, answer) = (requests.clone(), answer.clone());
                tracker.spawn(async move { serve(stream, &requests, &answer).await });
            }
        });
        site
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The newest request.
    pub(super) fn request(&self) -> String {
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

/// Whether this is a request to its end: its head, and a body in chunks if the head says so.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n")
}

async fn serve(mut stream: TcpStream, requests: &Mutex<Vec<String>>, answer: &[u8]) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    while !is_whole(&request) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    requests.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    if stream.write_all(answer).await.is_ok() {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// A name that resolves to one address after the other; the last one stays.
#[derive(Debug)]
pub(super) struct Flips {
    addresses: Vec<IpAddr>,
    pub(super) asked: AtomicUsize,
}

impl Flips {
    pub(super) fn new(addresses: &[&str]) -> Arc<Self> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self { addresses, asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Resolver for Flips {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(vec![self.addresses[asked.min(self.addresses.len() - 1)]])
    }
}

/// An egress that reaches these networks of this machine, too.
pub(super) fn egress(opened: &[&str], names: &Arc<Flips>) -> Egress {
    let private_networks = opened.iter().map(|network| network.parse().unwrap()).collect();
    Egress::new(EgressConfig { private_networks, ..EgressConfig::default() }, names.clone())
}
