//! What is asked over HTTP: endpoints, the collector, a server that runs; and whether its address is free.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, Response, header};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use super::Finding;
use crate::{environment::Environment, settings::Settings};

/// How far the clocks of others may be off before it is said.
const SKEW: time::Duration = time::Duration::minutes(2);

/// Asks others, each within the same bound, and keeps what time they think it is.
pub(super) struct Web {
    client: Result<Client, String>,
    patience: Duration,
    /// How far each clock is before this one.
    clocks: Mutex<Vec<(String, time::Duration)>>,
}

impl Web {
    pub(super) fn new(patience: Duration) -> Self {
        let client = Client::builder()
            .timeout(patience)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { client: client.map_err(|error| reasons(&error)), patience, clocks: Mutex::default() }
    }

    /// Any answer at all, whatever its status; or why there is none.
    pub(super) async fn ask(&self, url: &str) -> Result<Response, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let response = client.get(url).send().await.map_err(|error| {
            if error.is_timeout() {
                format!("no answer within {} s", self.patience.as_secs_f32())
            } else {
                reasons(&error.without_url())
            }
        })?;
        if let Some(ahead) = ahead(&response) {
            self.clocks.lock().unwrap_or_else(PoisonError::into_inner).push((url.to_owned(), ahead));
        }
        Ok(response)
    }

    /// Whether this machine's clock is that of those who were asked; `None` where nobody told the time.
    pub(super) fn clock(self) -> Option<Finding> {
        let clocks = self.clocks.into_inner().unwrap_or_else(PoisonError::into_inner);
        judge(&clocks)
    }
}

fn judge(clocks: &[(String, time::Duration)]) -> Option<Finding> {
    let (url, ahead) = clocks.iter().max_by_key(|(_, ahead)| ahead.abs())?;
    Some(if ahead.abs() > SKEW {
        let found = format!("this clock and that of {url} are {} s apart", ahead.abs().whole_seconds());
        Finding::warn("clock", found, "let the machine keep its time by NTP: signatures and expiry go by it")
    } else {
        Finding::ok("clock", format!("agrees with that of {url}"))
    })
}

/// How far the clock of who answered is before this one.
fn ahead(response: &Response) -> Option<time::Duration> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    Some(OffsetDateTime::parse(date, &Rfc2822).ok()? - OffsetDateTime::now_utc())
}

/// An error's innermost reason, which says most.
fn reasons(error: &reqwest::Error) -> String {
    let all = std::iter::successors(std::error::Error::source(error), |reason| reason.source());
    all.last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The address: free, or that of the server that has the data directory.
pub(super) async fn listen(address: SocketAddr, taken: bool, web: &Web) -> Finding {
    const CHECK: &str = "listen";
    if taken {
        return running(address, web).await;
    }
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(CHECK, format!("{address} is free")),
        Err(error) => {
            let mend = match error.kind() {
                std::io::ErrorKind::AddrInUse => "end what listens there, or set another address in `listen`",
                std::io::ErrorKind::PermissionDenied => {
                    "set a port above 1023 in `listen`, or grant CAP_NET_BIND_SERVICE"
                }
                _ => "set an address of this machine in `listen`",
            };
            Finding::fail(CHECK, format!("{address} cannot be listened on: {error}"), mend)
        }
    }
}

async fn running(address: SocketAddr, web: &Web) -> Finding {
    const CHECK: &str = "server";
    if address.port() == 0 {
        return Finding::ok(CHECK, "a server runs on this data directory, at a port that `listen` does not tell");
    }
    let url = format!("http://{}/readyz", local(address));
    match web.ask(&url).await {
        Ok(response) if response.status().is_success() => Finding::ok(CHECK, format!("{address} is ready")),
        Ok(response) => {
            let status = response.status();
            let detail = response.json::<crate::Problem>().await.map(|problem| problem.detail).unwrap_or_default();
            let found = format!("{address} is not ready: HTTP {status} {detail}");
            Finding::fail(CHECK, found, "its log says why: `nexus logs --level warn`")
        }
        Err(reason) => {
            let found = format!("a server has the data directory, and {address} does not answer: {reason}");
            Finding::fail(
                CHECK,
                found,
                "it listens elsewhere (give the same settings), still starts, or hangs: see its log",
            )
        }
    }
}

/// Where this machine reaches an address that means all of its own.
fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// The collector of traces, metrics and logs, if one is set.
pub(super) async fn collector(settings: &Settings, environment: &Environment, web: &Web) -> Option<Finding> {
    const CHECK: &str = "telemetry";
    let endpoint = settings.telemetry.exported(environment)?.endpoint;
    Some(match web.ask(&endpoint).await {
        Ok(_) => Finding::ok(CHECK, format!("{endpoint} answers")),
        Err(reason) => {
            let mend = "start the collector, or correct `telemetry.otlp_endpoint` (or OTEL_EXPORTER_OTLP_ENDPOINT)";
            Finding::fail(CHECK, format!("{endpoint} is out of reach: {reason}"), mend)
        }
    })
}
