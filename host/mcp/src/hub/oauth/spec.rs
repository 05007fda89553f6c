//! What the hub is told of how tokens are come by.

use std::sync::Arc;

use url::Url;

use super::{super::spec::SecretSource, store::TokenStore};

/// How tokens for a server are come by.
#[derive(Debug, Clone)]
pub struct OAuthSpec {
    /// By whom.
    pub grant: Grant,
    /// The scopes to ask for; what the server names, where there are none.
    pub scopes: Vec<String>,
    /// Where tokens are kept.
    pub store: Arc<dyn TokenStore>,
}

/// By whom tokens are asked for.
#[derive(Debug, Clone)]
pub enum Grant {
    /// By Nexus itself, with a secret.
    ClientSecret {
        /// What Nexus is known by.
        client_id: String,
        /// The secret.
        secret: Arc<dyn SecretSource>,
    },
    /// By Nexus itself, with a signature.
    PrivateKey {
        /// What Nexus is known by.
        client_id: String,
        /// The key, in PEM.
        key: Arc<dyn SecretSource>,
        /// How it signs.
        algorithm: KeyAlgorithm,
    },
    /// By a person who logs in.
    Person(Registration),
}

/// How a private key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSA with SHA-256.
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
}

/// How Nexus is known to an authorization server that persons log in at. The first that is there and possible is taken; where
/// there is none, Nexus registers itself.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// A client that was registered before, and its secret if it has one.
    pub client: Option<(String, Option<Arc<dyn SecretSource>>)>,
    /// The URL of a document that describes Nexus; it is the name of the client.
    pub document: Option<Url>,
}
