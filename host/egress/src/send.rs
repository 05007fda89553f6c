//! One request, one connection, one answer.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use nexus_model::{TcpDestination, WebOrigin};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    AnswerBody, Driver, EgressConfig, EgressError, Patience, Resolver, SystemResolver,
    connect::{Connector, Stream},
};

/// How many fields the head of an answer may have.
const MAX_FIELDS: usize = 256;

/// Sends requests. Cheap to clone; all clones share one bound on connections.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    config: EgressConfig,
    connector: Connector,
    places: Arc<Semaphore>,
}

impl Egress {
    /// Opens nothing yet.
    pub fn new(config: EgressConfig, resolver: Arc<dyn Resolver>) -> Self {
        let connector = Connector {
            resolver,
            opened: config.private_networks.clone(),
            authorities: config.authorities.clone(),
            tls: OnceLock::new(),
        };
        let places = Arc::new(Semaphore::new(config.connections));
        Self { inner: Arc::new(Inner { config, connector, places }) }
    }

    /// What it was made with.
    pub fn config(&self) -> &EgressConfig {
        &self.inner.config
    }

    /// The longest that a caller may be patient.
    pub fn patience(&self) -> Patience {
        self.inner.config.patience
    }

    /// Sends a request to an origin, which must be one that the sender may ask. Of the request's URI only path and query
    /// count; the field `host` is set. The [`Driver`] must be polled while the body is read.
    pub async fn send<B>(
        &self,
        origin: &WebOrigin,
        request: Request<B>,
        patience: Patience,
    ) -> Result<(Response<AnswerBody>, Driver), EgressError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let config = &self.inner.config;
        let (begin, patience) = (Instant::now(), patience.at_most(config.patience));
        let request = addressed(origin, request)?;
        let (stream, place) =
            timeout(patience.connect, self.connect(origin)).await.map_err(|_| EgressError::ConnectTimeout)??;
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(MAX_FIELDS)
            .max_header_size(config.head_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(EgressError::Exchange)?;
        let mut driver = Driver { connection: Box::pin(connection), _place: place };
        let answer = timeout(patience.head, head(&mut sender, request, &mut driver))
            .await
            .map_err(|_| EgressError::HeadTimeout)?
            .map_err(|error| self.too_large(error))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(EgressError::Upgrade);
        }
        let end = begin + config.answer;
        let answer = answer.map(|body| AnswerBody::new(body, config.body_bytes, patience.between, end));
        Ok((answer, driver))
    }

    /// Connects to an origin, which must be one that the sender may reach, and leaves TLS to whoever uses the connection. What
    /// bounds the number of such connections, and how long they live, is the caller's.
    pub async fn dial(&self, origin: &WebOrigin) -> Result<TcpStream, EgressError> {
        let dialed = self.inner.connector.open(origin);
        timeout(self.inner.config.patience.connect, dialed).await.map_err(|_| EgressError::ConnectTimeout)?
    }

    /// The same for a destination that is not HTTP.
    pub async fn dial_tcp(&self, destination: &TcpDestination) -> Result<TcpStream, EgressError> {
        let dialed = self.inner.connector.open_tcp(destination);
        timeout(self.inner.config.patience.connect, dialed).await.map_err(|_| EgressError::ConnectTimeout)?
    }

    async fn connect(&self, origin: &WebOrigin) -> Result<(Stream, OwnedSemaphorePermit), EgressError> {
        // Never closed.
        let place = self.inner.places.clone().acquire_owned().await.map_err(|_| EgressError::ConnectTimeout)?;
        Ok((self.inner.connector.connect(origin).await?, place))
    }

    fn too_large(&self, error: EgressError) -> EgressError {
        match error {
            EgressError::Exchange(error) if error.is_parse_too_large() => {
                EgressError::HeadTooLarge(self.inner.config.head_bytes)
            }
            error => error,
        }
    }
}

impl Default for Egress {
    /// With the defaults of [`EgressConfig`], and names as the system resolves them.
    fn default() -> Self {
        Self::new(EgressConfig::default(), Arc::new(SystemResolver))
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// The request as it goes over a connection to its origin.
fn addressed<B>(origin: &WebOrigin, mut request: Request<B>) -> Result<Request<B>, EgressError> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(EgressError::Method(request.method().clone()));
    }
    let path = request.uri().path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    *request.uri_mut() = path;
    // An authority is printable ASCII, and that is always a value.
    if let Ok(host) = HeaderValue::try_from(origin.authority()) {
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(request)
}

/// Sends, and moves the bytes until the head of the answer is there.
async fn head<B>(
    sender: &mut SendRequest<B>,
    request: Request<B>,
    driver: &mut Driver,
) -> Result<Response<Incoming>, EgressError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut answer = pin!(sender.send_request(request));
    let mut moves = true;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(answer.map_err(EgressError::Exchange));
        }
        if moves && Pin::new(&mut *driver).poll(cx).is_ready() {
            // What it has to say, the answer says.
            moves = false;
            return answer.as_mut().poll(cx).map_err(EgressError::Exchange);
        }
        Poll::Pending
    })
    .await
}
