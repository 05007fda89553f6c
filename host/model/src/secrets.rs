//! The port to secrets.

use std::fmt;

use secrecy::SecretString;

use crate::{AppName, SecretName};

/// Whose secret it is. An application sees its own secrets and no others; those of the host are for the server's
/// settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretOwner {
    /// The host.
    Host,
    /// This application.
    App(AppName),
}

impl fmt::Display for SecretOwner {
    /// The application's name, or `-`, which is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("-"),
            Self::App(app) => f.write_str(app.as_str()),
        }
    }
}

/// Where secrets are looked up by name.
pub trait SecretSource: Send + Sync {
    /// What kind of source it is: `store`, `environment` or `files`.
    fn kind(&self) -> &'static str;

    /// The secret of this name; `None` if there is none. Quick, so that it can be asked for each use and a changed value
    /// works at once: it never waits for a network.
    fn find(&self, owner: &SecretOwner, name: &SecretName) -> Option<SecretString>;

    /// The names that it has for this owner.
    fn names(&self, owner: &SecretOwner) -> Vec<SecretName>;
}
