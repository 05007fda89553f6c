//! Servers, names and requests.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use nexus_egress::{AnswerBody, Driver, Egress, EgressConfig, EgressError, Patience, Resolver};
use nexus_model::WebOrigin;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::task::TaskTracker;

/// Enough for whatever is not meant to run into it, on a busy machine.
pub(crate) const PATIENT: Patience =
    Patience { connect: Duration::from_mins(1), head: Duration::from_mins(1), between: Duration::from_mins(1) };

/// A server that reads the head of one request and says the same to all.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
    tracker: TaskTracker,
}

impl Server {
    pub(crate) async fn start(address: &str, port: u16, answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(address.parse().unwrap(), port)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            heads: Arc::default(),
            tracker: TaskTracker::new(),
        };
        let (connections, heads, answer) = (server.connections.clone(), server.heads.clone(), answer.into());
        let tracker = server.tracker.clone();
        server.tracker.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (heads, answer) = (heads.clone(), answer.clone());
                tracker.spawn(async move { serve(stream, &heads, &answer).await });
            }
        });
        server
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn head(&self) -> String {
        self.heads.lock().unwrap().last().unwrap().clone()
    }
}

/// Reads a head, answers, and waits for the client to go.
pub(crate) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, heads: &Mutex<Vec<String>>, answer: &[u8]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    if stream.write_all(answer).await.is_ok() {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// Names and what they resolve to, one answer after the other; the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: HashMap<&'static str, Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn with(mut self, name: &'static str, answers: &[&[&str]]) -> Self {
        let parse = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.answers.insert(name, answers.iter().map(parse).collect());
        self
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let answers = self.answers.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(answers[asked.min(answers.len() - 1)].clone())
    }
}

/// An egress that may reach these networks of this machine.
pub(crate) fn egress(opened: &[&str], names: Names) -> Egress {
    Egress::new(config(opened), Arc::new(names))
}

pub(crate) fn config(opened: &[&str]) -> EgressConfig {
    let private_networks = opened.iter().map(|network| network.parse().unwrap()).collect();
    EgressConfig { private_networks, patience: PATIENT, answer: Duration::from_mins(2), ..EgressConfig::default() }
}

pub(crate) async fn get(egress: &Egress, origin: &str) -> Result<(Response<AnswerBody>, Driver), EgressError> {
    let request = Request::get("/path?query").body(Empty::<Bytes>::new()).unwrap();
    egress.send(&origin.parse::<WebOrigin>().unwrap(), request, PATIENT).await
}

/// The text of an answer.
pub(crate) async fn text((answer, driver): (Response<AnswerBody>, Driver)) -> Result<String, EgressError> {
    let body = answer.into_body().collect();
    tokio::pin!(body);
    let whole = tokio::select! {
        whole = &mut body => whole,
        // The connection has ended, and what it has moved is still to be read.
        _ = driver => body.await,
    };
    whole.map(|whole| String::from_utf8(whole.to_bytes().into()).unwrap())
}
