//! The one HTTP client of the hub: it goes only to addresses that are open, and follows nothing.

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use nexus_egress::{Resolver, closed};
use reqwest::{
    Certificate, Client, ClientBuilder, Method,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
    retry,
};
use rmcp::transport::{
    auth::{OAuthHttpClient, OAuthHttpClientError, OAuthHttpClientFuture, OAuthHttpRequest},
    streamable_http_client::StreamableHttpError,
};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use super::spec::HubConfig;

/// Bytes that an answer of an authorization server may have.
const ANSWER: usize = 1 << 20;
/// How long a connection is kept for the next request: less than servers do, or they close it when it is used.
const IDLE: Duration = Duration::from_secs(3);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks by HTTP. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    config: Arc<HubConfig>,
    client: Client,
    doors: Doors,
}

/// Which addresses are open.
#[derive(Debug, Clone)]
struct Doors {
    resolver: Arc<dyn Resolver>,
    opened: Arc<[IpNet]>,
}

/// Why a URL is not asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    /// It leads to an address that is closed.
    #[error("{host} is {why}, which is closed")]
    Closed { host: String, why: &'static str },
    /// It is no URL of HTTP.
    #[error("`{0}` is no URL of HTTP")]
    NoHttp(String),
    /// The answer is too large.
    #[error("an answer has more than {ANSWER} bytes")]
    TooLarge,
}

impl Web {
    /// # Errors
    /// The authorities cannot be read.
    pub(crate) fn new(config: &Arc<HubConfig>) -> reqwest::Result<Self> {
        let opened = config.egress.private_networks.as_slice().into();
        let doors = Doors { resolver: Arc::clone(&config.resolver), opened };
        // No connection is used twice: one that its server has closed meanwhile would look like a failure.
        let client = builder(config, &doors)?.pool_max_idle_per_host(0).build()?;
        Ok(Self { config: Arc::clone(config), client, doors })
    }

    /// A client of its own for one session. `listening` is cancelled once the server has answered a GET, with which a client
    /// begins to listen: what the server says on its own account before is lost, and nothing else tells when that is over.
    pub(crate) fn session(&self, server: &Url, listening: CancellationToken) -> reqwest::Result<Client> {
        let host = server.host_str().unwrap_or_default().to_owned();
        let watch = retry::for_host(host).classify_fn(move |answered| {
            if *answered.method() == Method::GET {
                listening.cancel();
            }
            answered.success()
        });
        builder(&self.config, &self.doors)?.retry(watch).build()
    }

    /// Refuses a URL that is not of HTTP, or names a closed address. What a name leads to is looked at when it is asked.
    pub(crate) fn check(&self, url: &Url) -> Result<(), WebError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(WebError::NoHttp(url.to_string()));
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(WebError::NoHttp(url.to_string())),
        };
        match closed(address, &self.doors.opened) {
            Some(why) => Err(WebError::Closed { host: address.to_string(), why }),
            None => Ok(()),
        }
    }
}

fn builder(config: &HubConfig, doors: &Doors) -> reqwest::Result<ClientBuilder> {
    let authorities = config.egress.authorities.iter().map(|authority| Certificate::from_der(authority));
    let builder = Client::builder()
        .redirect(Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(config.egress.patience.connect)
        .pool_idle_timeout(IDLE)
        .dns_resolver(doors.clone())
        .tls_certs_merge(authorities.collect::<Result<Vec<_>, _>>()?)
        .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")));
    Ok(builder)
}

impl Resolve for Doors {
    fn resolve(&self, name: Name) -> Resolving {
        let doors = self.clone();
        Box::pin(async move {
            let addresses = doors.resolver.resolve(name.as_str()).await?;
            let why = addresses.iter().find_map(|address| closed(*address, &doors.opened));
            let open: Vec<_> = addresses
                .into_iter()
                .filter(|address| closed(*address, &doors.opened).is_none())
                // The port is the URL's.
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            match (open.is_empty(), why) {
                (false, _) => Ok(Box::new(open.into_iter()) as Addrs),
                (true, Some(why)) => Err(WebError::Closed { host: name.as_str().to_owned(), why }.into()),
                (true, None) => Err(io::Error::from(io::ErrorKind::NotFound).into()),
            }
        })
    }
}

impl OAuthHttpClient for Web {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request.request)?;
            self.check(request.url())?;
            let asked = tokio::time::timeout(PATIENCE, async {
                let mut answer = self.client.execute(request).await?;
                let mut body = Vec::new();
                while let Some(chunk) = answer.chunk().await? {
                    if body.len() + chunk.len() > ANSWER {
                        return Err(WebError::TooLarge.into());
                    }
                    body.extend_from_slice(&chunk);
                }
                let mut whole = http::Response::new(body);
                *whole.status_mut() = answer.status();
                *whole.headers_mut() = std::mem::take(answer.headers_mut());
                Ok::<_, OAuthHttpClientError>(whole)
            });
            asked.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        })
    }
}

/// An error with all that caused it, in one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = source(cause);
    }
    text
}

/// What caused an error. rmcp does not tell of one kind of its own.
fn source<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(cause)) => Some(cause),
        _ => error.source(),
    }
}

/// Looks for an error of one kind among an error and its causes.
pub(crate) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = source(error);
    }
    None
}
