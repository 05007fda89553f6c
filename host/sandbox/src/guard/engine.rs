//! The engine behind the guard: one connection for each request.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::{body::Incoming, client};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{EngineAddress, refusal::Refusal};

/// What is sent to the engine: made here, or a context of a build as it comes in.
pub(super) type Sent = Either<Full<Bytes>, Limited<Incoming>>;

/// The longest answer that is no stream.
pub(super) const MAX_ANSWER: usize = 16 << 20;
const MAX_HEAD: usize = 64 << 10;

const PERMIT: &str = "this process may not use the socket: give it the socket's group, which `stat -c %g` tells (in Compose: \
                      DOCKER_GROUP)";
const START: &str = "start the engine, or say with --engine where it listens";

/// An engine.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) address: EngineAddress,
    /// How long a connection may take.
    pub(super) connect: Duration,
    /// How long it may take until an answer begins, and one that is no stream until it has ended.
    pub(super) answer: Duration,
    pub(super) tasks: TaskTracker,
    pub(super) ended: CancellationToken,
}

impl Engine {
    /// Sends a request on a connection of its own, which lives until the answer has been read, or is dropped.
    pub(super) async fn send(&self, mut request: Request<Sent>) -> Result<Response<Incoming>, Refusal> {
        let unreachable =
            |why: String| Refusal::no_engine(format!("the engine at {} cannot be reached: {why}", self.address));
        let stream = timeout(self.connect, self.address.connect()).await;
        let stream = stream
            .map_err(|_| unreachable("it does not answer in time".to_owned()))?
            .map_err(|error| unreachable(format!("{error}; {}", mend(error.kind()))))?;
        let handshake =
            client::conn::http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| unreachable(error.to_string()))?;
        let ended = self.ended.clone();
        self.tasks.spawn(ended.run_until_cancelled_owned(connection.with_upgrades()));
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("engine"));
        match timeout(self.answer, sender.send_request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Refusal::no_engine(format!("the engine did not answer within {:?}", self.answer))),
        }
    }

    /// Reads an answer that is no stream.
    pub(super) async fn read(&self, body: Incoming) -> Result<Bytes, Refusal> {
        match timeout(self.answer, Limited::new(body, MAX_ANSWER).collect()).await {
            Ok(Ok(read)) => Ok(read.to_bytes()),
            Ok(Err(error)) => Err(Refusal::no_engine(format!("the engine's answer broke off: {error}"))),
            Err(_) => Err(Refusal::no_engine(format!("the engine did not end its answer within {:?}", self.answer))),
        }
    }

    /// What the engine says of something; `None` if it does not have it.
    pub(super) async fn describe(&self, path: &str) -> Result<Option<Value>, Refusal> {
        let answer = self.send(request(Method::GET, path.to_owned(), Bytes::new(), None)?).await?;
        let status = answer.status();
        let body = self.read(answer.into_body()).await?;
        match status.as_u16() {
            200 => {
                let read = serde_json::from_slice(&body);
                read.map(Some)
                    .map_err(|error| Refusal::no_engine(format!("the engine's answer cannot be read: {error}")))
            }
            404 => Ok(None),
            status => Err(Refusal::no_engine(format!("the engine answered {status} to a look at {path}"))),
        }
    }
}

/// A request whose body was made here.
pub(super) fn request(
    method: Method,
    target: String,
    body: Bytes,
    content: Option<&'static str>,
) -> Result<Request<Sent>, Refusal> {
    let mut request = Request::builder().method(method).uri(target);
    if let Some(content) = content {
        request = request.header(header::CONTENT_TYPE, content);
    }
    request.body(Either::Left(Full::new(body))).map_err(|error| Refusal::forbidden(error.to_string()))
}

/// A body that was cut off because it is too long fails here as well.
fn failure(error: &hyper::Error) -> Refusal {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return Refusal::too_large("the context", super::build::MAX_CONTEXT);
        }
        cause = error.source();
    }
    Refusal::no_engine(format!("the engine did not answer: {error}"))
}

pub(super) fn mend(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => PERMIT,
        _ => START,
    }
}
