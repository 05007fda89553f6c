//! From an origin to a connection with one of its open addresses.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use ipnet::IpNet;
use nexus_model::{TcpDestination, WebHost, WebOrigin};
use rustls::{
    ClientConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use rustls_platform_verifier::Verifier;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{EgressError, address::closed, resolve::Resolver};

/// How connections are made.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) opened: Vec<IpNet>,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// Made for the first connection that needs it: it reads the system's authorities.
    pub(crate) tls: OnceLock<Arc<ClientConfig>>,
}

impl Connector {
    /// Resolves the host once and connects to the first of its open addresses that answers.
    pub(crate) async fn connect(&self, origin: &WebOrigin) -> Result<Stream, EgressError> {
        let plain = self.open(origin).await?;
        if !origin.is_secure() {
            return Ok(Stream::Plain(plain));
        }
        let name = server_name(origin.host())?;
        let secured = TlsConnector::from(self.tls()?).connect(name, plain).await.map_err(handshake)?;
        Ok(Stream::Secure(Box::new(secured)))
    }

    /// The same, without TLS.
    pub(crate) async fn open(&self, origin: &WebOrigin) -> Result<TcpStream, EgressError> {
        let all = match origin.host() {
            WebHost::Address(address) => vec![*address],
            WebHost::Name(name) => self.resolve(name).await?,
        };
        self.dial(self.open_ones(all)?, origin.port()).await
    }

    /// The same for a destination that is not HTTP.
    pub(crate) async fn open_tcp(&self, destination: &TcpDestination) -> Result<TcpStream, EgressError> {
        let all = self.resolve(destination.name()).await?;
        self.dial(self.open_ones(all)?, destination.port()).await
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, EgressError> {
        self.resolver.resolve(name).await.map_err(EgressError::Resolve)
    }

    /// Those of the addresses of a host that are open.
    fn open_ones(&self, all: Vec<IpAddr>) -> Result<Vec<IpAddr>, EgressError> {
        let why = all.iter().find_map(|address| closed(*address, &self.opened));
        let open: Vec<_> = all.into_iter().filter(|address| closed(*address, &self.opened).is_none()).collect();
        match (open.is_empty(), why) {
            (false, _) => Ok(open),
            (true, Some(why)) => Err(EgressError::Closed(why)),
            (true, None) => Err(EgressError::NoAddress),
        }
    }

    async fn dial(&self, addresses: Vec<IpAddr>, port: u16) -> Result<TcpStream, EgressError> {
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(EgressError::Connect)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(EgressError::Connect(last))
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, EgressError> {
        if let Some(made) = self.tls.get() {
            return Ok(made.clone());
        }
        let made = client_config(self.authorities.clone()).map_err(EgressError::Authorities)?;
        Ok(self.tls.get_or_init(|| Arc::new(made)).clone())
    }
}

fn handshake(error: io::Error) -> EgressError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => EgressError::Certificate(error),
        _ => EgressError::Tls(error),
    }
}

fn client_config(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(authorities, provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    // "Dangerous" is only that the verifier is brought along: it is the system's.
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn server_name(host: &WebHost) -> Result<ServerName<'static>, EgressError> {
    match host {
        WebHost::Address(address) => Ok(ServerName::from(*address)),
        WebHost::Name(name) => ServerName::try_from(name.clone())
            .map_err(|error| EgressError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error))),
    }
}

/// A connection, with or without TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Moves the bytes of one exchange. It must be polled while the body of the answer is read, and holds the connection's
/// place among those that may be open; dropped, it closes the connection.
pub struct Driver {
    pub(crate) connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    pub(crate) _place: OwnedSemaphorePermit,
}

impl Future for Driver {
    type Output = Result<(), EgressError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.connection.as_mut().poll(cx).map_err(EgressError::Exchange)
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driver")
    }
}
