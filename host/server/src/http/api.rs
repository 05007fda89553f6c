//! What every handler is handed: the core, the limits, and who may come in.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    body::Bytes,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
};
use nexus_core::{Core, Denial, Principal, RateExceeded, RateState, Scope, Target, presented_key_id};
use nexus_mcp::McpService;
use nexus_model::{AppName, Author};
use nexus_signals::{InFlight, LogBook, MetricCollector, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::{error, problem::Problem};
use crate::{secrets::AllSecrets, settings::LimitSettings};

/// The longest path that is written to the audit log, in characters.
const MAX_PATH: usize = 150;
/// Bytes of it that are searched for secrets.
const LOOKED_AT: usize = 1 << 10;

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever presents a key.
    Keys,
    /// Whoever is on this machine and no foreign web page (`--insecure-local`).
    Local,
}

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) core: Core,
    pub(crate) metrics: Arc<MetricCollector>,
    /// All sources of secrets, for their names.
    pub(crate) secrets: Arc<AllSecrets>,
    pub(crate) log: LogBook,
    /// The door for MCP clients.
    pub(crate) mcp: McpService,
    pub(crate) limits: LimitSettings,
    pub(crate) access: Access,
    /// Whether `/metrics` asks for no key.
    pub(crate) metrics_open: bool,
    /// Tasks that may outlive the request they belong to.
    pub(crate) tasks: TaskTracker,
    pub(crate) permits: Arc<Semaphore>,
    /// Places of readers that follow events; they hold none of the others.
    pub(crate) followers: Arc<Semaphore>,
    /// Bodies of definitions that may be in memory at one time.
    pub(crate) definition_bodies: Semaphore,
    pub(crate) draining: AtomicBool,
    pub(crate) openapi: Bytes,
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// From now on nothing new is begun.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.log.stop_following();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        if self.is_draining() {
            return Err(error::draining());
        }
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            self.metrics.host().record_shed();
            error::overloaded()
        })
    }

    /// Whether the caller may do this to the application of this name, decided before anybody looks whether there is
    /// one: a key that may not learns nothing, unless it may read everything anyway.
    pub(crate) fn permit(&self, caller: &Caller, verb: Verb, name: &str) -> Result<(), Problem> {
        let target = name.parse().map_or(Target::All, Target::App);
        caller.require(&verb.on(target)).map_err(|refused| {
            let may_know = caller.principal.may(&Scope::Read(Target::All));
            if may_know && self.core.registry.app(name).is_none() { error::unknown_app(name, None) } else { refused }
        })
    }

    /// The application of this name, which must be there, if the caller may do this to it.
    pub(crate) fn known(&self, caller: &Caller, verb: Verb, name: &str) -> Result<AppName, Problem> {
        self.permit(caller, verb, name)?;
        let app = name.parse().ok().filter(|app| self.core.registry.names().contains(app));
        app.ok_or_else(|| error::unknown_app(name, None))
    }

    /// Who sent this request; the same answer for no key and for a wrong one.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        match self.access {
            Access::Local => Ok(Principal::local()),
            Access::Keys => headers
                .get(header::AUTHORIZATION)
                .and_then(presented)
                .and_then(|key| self.core.keys.authenticate(key))
                .ok_or_else(error::unauthorized),
        }
    }

    /// Writes to the audit log what is about to be done; it must not be done where this fails.
    pub(crate) async fn note(&self, caller: &Caller, action: &str, target: &str) -> Result<(), Problem> {
        self.core.audit_log.record(caller.principal(), action, target, serde_json::json!({})).await?;
        Ok(())
    }

    /// Counts a request that was turned away with 401 or 403; a sample goes to the audit log.
    pub(crate) fn deny(&self, status: StatusCode, asked: &Asking) {
        let unauthorized = status == StatusCode::UNAUTHORIZED;
        self.metrics.host().record_refused(if unauthorized { Refusal::Unauthorized } else { Refusal::Forbidden });
        let key_id = asked.key.as_ref().and_then(presented).and_then(presented_key_id).map(str::to_owned);
        // More is looked at than is kept, so that no half of a secret is left; not all, for this comes from anybody.
        let path = asked.uri.path();
        let path = self.secrets.redactor().redact(&path[..path.floor_char_boundary(LOOKED_AT)]);
        let request = format!("{} {}", asked.method, path.chars().take(MAX_PATH).collect::<String>());
        self.core.audit_log.deny(Denial { status: status.as_u16(), key_id, request });
    }

    /// A rate as it stands after one request was taken of it, or the refusal of that request, counted.
    pub(crate) fn rated(&self, taken: Result<Option<RateState>, RateExceeded>) -> Result<Option<RateState>, Problem> {
        taken.map_err(|exceeded| {
            self.metrics.host().record_refused(Refusal::RateLimited);
            error::rate_exceeded(&exceeded)
        })
    }
}

/// What was asked, as far as the audit log tells it. Cheap to take from every request: nothing is copied.
pub(crate) struct Asking {
    method: Method,
    uri: Uri,
    key: Option<HeaderValue>,
}

impl Asking {
    pub(crate) fn of<B>(request: &axum::http::Request<B>) -> Self {
        let key = request.headers().get(header::AUTHORIZATION).cloned();
        Self { method: request.method().clone(), uri: request.uri().clone(), key }
    }
}

/// The key in an `Authorization` field.
fn presented(field: &HeaderValue) -> Option<&str> {
    bearer(field.to_str().ok()?)
}

/// The token of an `Authorization` field of the scheme `Bearer`, whose name has no case (RFC 9110).
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A request that was let in: it has a permit, and its sender is known. The permit is free again when this is dropped.
pub(crate) struct Caller {
    principal: Principal,
    rate: Option<RateState>,
    _permit: OwnedSemaphorePermit,
    _counted: InFlight,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let permit = api.admit()?;
        let counted = api.metrics.host().begin();
        let principal = api.authenticate(&parts.headers)?;
        let rate = api.rated(principal.admit())?;
        Ok(Self { principal, rate, _permit: permit, _counted: counted })
    }
}

/// A request that was let in without asking who sent it. The permit is free again when this is dropped.
pub(crate) struct Anybody {
    _permit: OwnedSemaphorePermit,
    _counted: InFlight,
}

impl FromRequestParts<Api> for Anybody {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let permit = api.admit()?;
        Ok(Self { _permit: permit, _counted: api.metrics.host().begin() })
    }
}

/// What is done to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Invoke,
    Read,
    Write,
}

impl Verb {
    fn on(self, target: Target) -> Scope {
        match self {
            Self::Invoke => Scope::Invoke(target),
            Self::Read => Scope::Read(target),
            Self::Write => Scope::Write(target),
        }
    }
}

impl Caller {
    /// Whose commits this request makes.
    pub(crate) fn author(&self) -> Author {
        Author { name: self.name().to_owned(), email: format!("{}@nexus.invalid", self.key_id()) }
    }

    /// The id of the caller's key.
    pub(crate) fn key_id(&self) -> &str {
        &self.principal.key_id
    }

    /// The name of the caller's key.
    pub(crate) fn name(&self) -> &str {
        &self.principal.name
    }

    /// Who the caller is, for the audit log.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What is left of the key's own rate, if it has one.
    pub(crate) fn rate(&self) -> Option<RateState> {
        self.rate
    }

    pub(crate) fn may(&self, verb: Verb, app: &AppName) -> bool {
        self.principal.may(&verb.on(Target::App(app.clone())))
    }

    pub(crate) fn require(&self, scope: &Scope) -> Result<(), Problem> {
        if self.principal.may(scope) { Ok(()) } else { Err(error::forbidden(scope)) }
    }

    pub(crate) fn require_all(&self, verb: Verb) -> Result<(), Problem> {
        self.require(&verb.on(Target::All))
    }
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn the_scheme_has_no_case() {
        assert_eq!(bearer("Bearer x"), Some("x"));
        assert_eq!(bearer("bearer  x"), Some("x"));
        for bad in ["", "Bearer", "Basic x", "x"] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }
}
