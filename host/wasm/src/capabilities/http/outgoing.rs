//! What a call's requests go through.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use nexus_egress::{EgressError, Patience};
use nexus_model::{GuestLevel, GuestServices, WebOrigin};
use secrecy::ExposeSecret as _;
use tokio::{sync::Semaphore, time::timeout};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks, p2::bindings::http::types::ErrorCode,
};

use super::{AllowedOrigin, FIELD_BYTES, granted::Credential, upload::Upload};
use crate::capabilities::Granted;

/// How many exchanges one call may have open at one time.
const OPEN: usize = 16;

/// How many all calls of one plugin may have open at one time; more wait as long as they may take to connect. One plugin
/// must not keep the others from the host's connections.
pub(crate) const PLACES: usize = 32;

/// How many of a call's denied requests are logged.
const TOLD: u32 = 8;

/// How much of a body a component may hand over in one write, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

type Ending = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = Result<(Response<WasiBody>, Ending), Error>;

/// What `wasi:http` keeps for one call.
pub(crate) struct Outgoing {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

impl Outgoing {
    pub(crate) fn new(granted: Arc<Granted>, services: Option<Arc<dyn GuestServices>>) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(FIELD_BYTES);
        let services = services.map(|services| Arc::new(Told { services, left: AtomicU32::new(TOLD) }));
        Self { ctx, hooks: Hooks { granted, services, open: Arc::new(Semaphore::new(OPEN)) } }
    }

    pub(super) fn parts(&mut self) -> (&mut WasiHttpCtx, &mut dyn WasiHttpHooks) {
        (&mut self.ctx, &mut self.hooks)
    }
}

struct Hooks {
    granted: Arc<Granted>,
    /// `None` where the call is not that of a plugin, and nothing is granted.
    services: Option<Arc<Told>>,
    open: Arc<Semaphore>,
}

impl WasiHttpHooks for Hooks {
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let (granted, services, open) = (self.granted.clone(), self.services.clone(), self.open.clone());
        Box::new(async move {
            let services = services.ok_or(Error::HttpRequestDenied)?;
            let place = open.try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
            let patience = patience(options, granted.egress.patience());
            let turn = timeout(patience.connect, granted.places.clone().acquire_owned()).await;
            let turn = turn.ok().and_then(Result::ok).ok_or(Error::ConnectionLimitReached)?;
            let allowed = allowed(&granted.http, &request, &services)?;
            let request = with_credential(allowed, request, &services).await?.map(Upload::new);
            let sent = granted.egress.send(&allowed.origin, request, patience).await;
            let (answer, driver) = sent.map_err(|error| refusal(error, &services))?;
            let answer = answer.map(|body| body.map_err(fault).boxed_unsync());
            let ending = async move {
                let ended = driver.await.map_err(fault);
                drop((place, turn));
                ended
            };
            Ok((answer, Box::new(ending) as Ending))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }

    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> ErrorCode {
        ErrorCode::HttpProtocolError
    }
}

/// The services of the host, which hear only of the first requests that were denied.
struct Told {
    services: Arc<dyn GuestServices>,
    left: AtomicU32,
}

impl Told {
    fn tell(&self, text: &str) {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if spent.is_ok() {
            self.services.log(GuestLevel::Warn, "http", text);
        }
    }
}

/// The granted origin that the request goes to.
fn allowed<'a>(
    granted: &'a [AllowedOrigin],
    request: &Request<WasiBody>,
    services: &Told,
) -> Result<&'a AllowedOrigin, Error> {
    let uri = request.uri();
    let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or(Error::HttpRequestUriInvalid)?;
    let origin = WebOrigin::of(scheme, authority.as_str()).map_err(|_| Error::HttpRequestUriInvalid)?;
    granted.iter().find(|allowed| allowed.origin == origin).ok_or_else(|| {
        services.tell(&format!("denied: {origin} is not among the grants"));
        Error::HttpRequestDenied
    })
}

/// Puts the host's credential in the place of whatever the component has set.
async fn with_credential(
    allowed: &AllowedOrigin,
    mut request: Request<WasiBody>,
    services: &Told,
) -> Result<Request<WasiBody>, Error> {
    if let Some(Credential { header, prefix, secret }) = &allowed.credential {
        let unusable = |why: &dyn fmt::Display| {
            services.tell(&format!("the credential for {} cannot be sent: {why}", allowed.origin));
            Error::ConfigurationError
        };
        let word = services.services.secret(secret).await.map_err(|error| unusable(&error))?;
        let value = HeaderValue::try_from(format!("{prefix}{}", word.expose_secret()));
        let mut value = value.map_err(|_| unusable(&format!("`{secret}` has characters that a field cannot have")))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header, value);
    }
    Ok(request)
}

/// As patient as the component is, and no more than the operator.
fn patience(options: Option<RequestOptions>, most: Patience) -> Patience {
    let options = options.unwrap_or_default();
    most.at_most(Patience {
        connect: options.connect_timeout.unwrap_or(most.connect),
        head: options.first_byte_timeout.unwrap_or(most.head),
        between: options.between_bytes_timeout.unwrap_or(most.between),
    })
}

/// What a component hears; a closed address is worth a line in the log.
fn refusal(error: EgressError, services: &Told) -> Error {
    if matches!(error, EgressError::Closed(_)) {
        services.tell(&format!("denied: {error}"));
    }
    fault(error)
}

fn fault(error: EgressError) -> Error {
    match error {
        EgressError::Closed(_) => Error::DestinationIpProhibited,
        EgressError::NoAddress => Error::DestinationNotFound,
        EgressError::Resolve(_) => Error::DnsError { rcode: None, info_code: None },
        EgressError::Connect(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Error::ConnectionRefused
        }
        EgressError::Connect(_) => Error::DestinationUnavailable,
        EgressError::ConnectTimeout => Error::ConnectionTimeout,
        EgressError::Authorities(_) => Error::ConfigurationError,
        EgressError::Certificate(_) => Error::TlsCertificateError,
        EgressError::Tls(_) => Error::TlsProtocolError,
        EgressError::Method(_) => Error::HttpRequestMethodInvalid,
        EgressError::Exchange(error) if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        EgressError::Exchange(_) => Error::HttpProtocolError,
        EgressError::HeadTimeout | EgressError::BodyTimeout => Error::HttpResponseTimeout,
        EgressError::HeadTooLarge(most) => Error::HttpResponseHeaderSectionSize(u32::try_from(most).ok()),
        EgressError::Upgrade => Error::HttpUpgradeFailed,
        EgressError::BodyTooLarge(most) => Error::HttpResponseBodySize(Some(most)),
    }
}
