//! Who calls, and what they may do.

use std::{fmt, str::FromStr, sync::Arc};

use nexus_model::AppName;
use serde::{Deserialize, Serialize};

use crate::rates::{Rate, RateExceeded, RateState};

/// One application or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Every application, also those that are not there yet.
    All,
    /// This one.
    App(AppName),
}

impl Target {
    fn covers(&self, other: &Self) -> bool {
        self == &Self::All || self == other
    }
}

/// What a key may do, written `admin` or `apps:<app or *>:<invoke|read|write>`. Unknown means no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everything, keys included.
    Admin,
    /// Call operations.
    Invoke(Target),
    /// See definitions, executions and the state of code.
    Read(Target),
    /// Change them; implies [`Scope::Read`].
    Write(Target),
}

impl Scope {
    fn grants(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Admin, _) => true,
            (Self::Invoke(have), Self::Invoke(want))
            | (Self::Read(have) | Self::Write(have), Self::Read(want))
            | (Self::Write(have), Self::Write(want)) => have.covers(want),
            _ => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, verb) = match self {
            Self::Admin => return f.write_str("admin"),
            Self::Invoke(target) => (target, "invoke"),
            Self::Read(target) => (target, "read"),
            Self::Write(target) => (target, "write"),
        };
        let app = match target {
            Target::All => "*",
            Target::App(app) => app.as_str(),
        };
        write!(f, "apps:{app}:{verb}")
    }
}

/// A scope that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope: use `admin` or `apps:<application or *>:<invoke, read or write>`")]
pub struct ScopeError(String);

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let error = || ScopeError(text.chars().take(80).collect());
        if text == "admin" {
            return Ok(Self::Admin);
        }
        let mut parts = text.split(':');
        let (Some("apps"), Some(app), Some(verb), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        let target = if app == "*" { Target::All } else { Target::App(app.parse().map_err(|_| error())?) };
        match verb {
            "invoke" => Ok(Self::Invoke(target)),
            "read" => Ok(Self::Read(target)),
            "write" => Ok(Self::Write(target)),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The id of the key.
    pub key_id: Arc<str>,
    /// The name of the key.
    pub name: Arc<str>,
    scopes: Arc<[Scope]>,
    rate: Option<Arc<Rate>>,
}

impl Principal {
    pub(crate) fn new(key_id: &str, name: &str, scopes: &[Scope], rate: Option<Arc<Rate>>) -> Self {
        Self { key_id: key_id.into(), name: name.into(), scopes: scopes.into(), rate }
    }

    /// Whoever calls a server that was told to ask for no keys: may do everything.
    pub fn local() -> Self {
        Self::new("local", "local", &[Scope::Admin], None)
    }

    /// An application, for what its executions do with itself.
    pub(crate) fn of_app(app: &AppName) -> Self {
        let target = || Target::App(app.clone());
        let scopes = [Scope::Invoke(target()), Scope::Read(target()), Scope::Write(target())];
        Self::new(&format!("app:{app}"), app.as_str(), &scopes, None)
    }

    /// The host itself, for what it does on its own.
    pub fn host() -> Self {
        Self::new("host", "nexus", &[Scope::Admin], None)
    }

    /// Takes one request of the key's own rate, where it has one.
    pub fn admit(&self) -> Result<Option<RateState>, RateExceeded> {
        self.rate.as_ref().map(|rate| rate.take()).transpose()
    }

    /// Whether the key may change some application.
    pub fn may_write_some(&self) -> bool {
        self.scopes.iter().any(|scope| matches!(scope, Scope::Admin | Scope::Write(_)))
    }

    /// Whether the key may do this to some application.
    pub fn may_some(&self, verb: fn(Target) -> Scope) -> bool {
        self.scopes.iter().any(|scope| match scope {
            Scope::Admin => true,
            Scope::Invoke(target) | Scope::Read(target) | Scope::Write(target) => scope.grants(&verb(target.clone())),
        })
    }

    /// Whether one of the key's scopes grants `wanted`.
    pub fn may(&self, wanted: &Scope) -> bool {
        self.scopes.iter().any(|scope| scope.grants(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::Scope;

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for text in ["admin", "apps:*:invoke", "apps:order-desk:write"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for bad in ["", "Admin", "apps", "apps:*", "apps:*:fly", "apps:UP:read", "apps:a:read:x"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
