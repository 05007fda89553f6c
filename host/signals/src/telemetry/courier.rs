//! Carries batches to the collector.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::{
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use tokio::runtime::Handle;
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

use crate::HostMetrics;

/// The longest that one batch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of what a collector answers.
const MAX_ANSWER: usize = 64 << 10;

/// An HTTP client for exporters, which live on threads of their own. It says that the collector is out of reach once.
#[derive(Clone)]
pub(super) struct Courier {
    client: reqwest::Client,
    base: Arc<str>,
    runtime: Handle,
    failing: Arc<AtomicBool>,
    metrics: Arc<HostMetrics>,
}

/// The fields may hold a key.
impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Courier {
    pub(super) fn new(
        base: &str,
        fields: &BTreeMap<String, String>,
        runtime: Handle,
        metrics: Arc<HostMetrics>,
    ) -> Result<Self, reqwest::Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .default_headers(headers)
            .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")));
        if !base.starts_with("https:") {
            // Then a host without CA certificates will do.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build()?;
        Ok(Self { client, base: base.into(), runtime, failing: Arc::default(), metrics })
    }

    /// Sends one batch of metrics.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) {
        let request = self.client.post(format!("{}{path}", self.base));
        let request = request.header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let outcome = send(request).with_subscriber(NoSubscriber::default()).await;
        self.tell(outcome.as_ref().map(|response| response.status().as_u16()).map_err(|error| &**error));
    }

    /// Counts a failure, and says when failing begins and when it ends.
    fn tell(&self, outcome: Result<u16, &(dyn std::error::Error + Send + Sync + 'static)>) {
        let reason = match outcome {
            Ok(200..300) => {
                if self.failing.swap(false, Relaxed) {
                    tracing::info!(collector = &*self.base, "the collector takes telemetry again");
                }
                return;
            }
            Ok(status) => format!("HTTP {status}"),
            Err(error) => {
                let reasons = std::iter::successors(error.source(), |reason| reason.source());
                reasons.take(8).fold(error.to_string(), |text, reason| format!("{text}: {reason}"))
            }
        };
        self.metrics.record_telemetry_failed();
        if !self.failing.swap(true, Relaxed) {
            tracing::warn!(
                collector = &*self.base,
                reason,
                "the collector takes no telemetry; it is dropped until it does"
            );
        }
    }
}

#[async_trait]
impl HttpClient for Courier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let request = self.client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
        // Silently, or what exporting has to say would be exported.
        let sent = self.runtime.spawn(send(request).with_subscriber(NoSubscriber::default()));
        let outcome = sent.await.unwrap_or_else(|error| Err(error.into()));
        self.tell(outcome.as_ref().map(|response| response.status().as_u16()).map_err(|error| &**error));
        outcome
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<Response<Bytes>, HttpError> {
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = response.status();
    Ok(answer)
}
