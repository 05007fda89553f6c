//! An endpoint on a real socket that answers exactly as a test says, byte by byte.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

/// One step of an answer.
#[derive(Clone)]
pub(crate) enum Step {
    Send(String),
    Sleep(Duration),
    /// Sends the bytes again and again until the client goes away.
    Forever(String),
}

/// What a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// Answers connection after connection with the next script; the last script is repeated.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    _task: AbortOnDropHandle<()>,
}

impl Endpoint {
    pub(crate) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = async move {
            let mut turn = 0;
            while let Ok((connection, _)) = listener.accept().await {
                let script = scripts[turn.min(scripts.len() - 1)].clone();
                turn += 1;
                answer(connection, script, &seen).await;
            }
        };
        let tracker = tokio_util::task::TaskTracker::new();
        Self { address, requests, _task: AbortOnDropHandle::new(tracker.spawn(task)) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(mut connection: TcpStream, script: Vec<Step>, seen: &Mutex<Vec<Request>>) {
    let Some(request) = read_request(&mut connection).await else { return };
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    for step in script {
        match step {
            Step::Send(text) => {
                if connection.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Step::Sleep(time) => tokio::time::sleep(time).await,
            Step::Forever(text) => while connection.write_all(text.as_bytes()).await.is_ok() {},
        }
    }
    let _ = connection.shutdown().await;
}

async fn read_request(connection: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = connection.read(&mut chunk).await.ok()?;
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some(Request { head: head.to_owned(), body: serde_json::from_str(body).unwrap_or_default() });
            }
        }
        if n == 0 {
            return None;
        }
    }
}

/// A refusal with a body in the shape of `OpenAI`.
pub(crate) fn refusal(status: &str, headers: &str, message: &str) -> Vec<Step> {
    let body = json!({ "error": { "message": message, "type": "test", "code": "invalid_api_key" } }).to_string();
    vec![Step::Send(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))]
}

/// The beginning of a streamed answer.
pub(crate) fn opening() -> Step {
    Step::Send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned())
}

/// One event with a piece of the answer.
pub(crate) fn piece(text: &str) -> Step {
    Step::Send(event(&json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] })))
}

/// The events that end an answer: the reason, the usage, the mark.
pub(crate) fn ending(reason: &str, input: u64, output: u64) -> Step {
    let reason = event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }));
    let usage = event(&json!({
        "choices": [],
        "usage": { "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output },
    }));
    Step::Send(format!("{reason}{usage}data: [DONE]\n\n"))
}

/// A whole answer in pieces.
pub(crate) fn answered(pieces: &[&str], input: u64, output: u64) -> Vec<Step> {
    let mut script = vec![opening()];
    script.extend(pieces.iter().map(|text| piece(text)));
    script.push(ending("stop", input, output));
    script
}

pub(crate) fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}
