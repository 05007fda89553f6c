//! What the hub is told of a server.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_egress::{EgressConfig, Resolver, SystemResolver};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::{breaker::BreakerPolicy, launch::Launcher, oauth::OAuthSpec};

/// The bounds that all servers share.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Which addresses may be reached, and which authorities are trusted.
    pub egress: EgressConfig,
    /// How names become addresses.
    pub resolver: Arc<dyn Resolver>,
    /// How servers that fail are left alone.
    pub breaker: BreakerPolicy,
    /// Calls at one time to one server. More wait as long as a connection may take.
    pub calls: usize,
    /// How long a caller may take to answer a question of a server. The time is not the call's.
    pub answer: Duration,
    /// How long what a server offers is believed to be unchanged, if it says nothing.
    pub lists: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            egress: EgressConfig::default(),
            resolver: Arc::new(SystemResolver),
            breaker: BreakerPolicy::default(),
            calls: 64,
            answer: Duration::from_mins(5),
            lists: Duration::from_mins(5),
        }
    }
}

/// A server outside.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// What it is known by: application and name, or a name alone if applications share it.
    pub key: String,
    /// How it is reached.
    pub connect: Connect,
    /// How long a call may take; asking the caller is not counted.
    pub call_timeout: Duration,
    /// How long the start of a process and the beginning of a session may take.
    pub connect_timeout: Duration,
    /// Bytes that one message of it may have, as they come over the wire.
    pub result_bytes: usize,
    /// The tools that may be called, by name, each as it was when it was approved; nothing is approved where there is none.
    pub approved: Option<BTreeMap<String, Value>>,
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub enum Connect {
    /// By streamable HTTP.
    Http {
        /// Where it is.
        url: Url,
        /// What it is shown. Nothing else is: what came in with a call goes nowhere.
        auth: HttpAuth,
    },
    /// Over the streams of a process.
    Stream(Arc<dyn Launcher>),
}

/// What a server is shown by HTTP.
#[derive(Debug, Clone)]
pub enum HttpAuth {
    /// Nothing.
    None,
    /// A secret, as a bearer token.
    Bearer(Arc<dyn SecretSource>),
    /// A token that an authorization server gives out for it.
    OAuth(Box<OAuthSpec>),
}

/// Where a secret is read whenever it is needed.
#[async_trait]
pub trait SecretSource: fmt::Debug + Send + Sync {
    /// The secret as it is now, or what is wrong with it.
    async fn secret(&self) -> Result<SecretString, String>;
}

#[async_trait]
impl SecretSource for SecretString {
    async fn secret(&self) -> Result<SecretString, String> {
        Ok(self.clone())
    }
}
