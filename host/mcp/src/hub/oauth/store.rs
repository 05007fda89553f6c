//! Where tokens are kept: one secret for each server.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use rmcp::transport::auth::{AuthError, CredentialStore, StoredCredentials};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::OAuth;

/// Keeps what belongs to a login. What it is given is secret, and says nothing to anybody but the hub.
#[async_trait]
pub trait TokenStore: fmt::Debug + Send + Sync {
    /// What was kept last for the server of this key, or what is wrong with the store.
    async fn load(&self, key: &str) -> Result<Option<SecretString>, String>;
    /// Keeps this instead.
    async fn save(&self, key: &str, tokens: SecretString) -> Result<(), String>;
    /// Forgets it.
    async fn clear(&self, key: &str) -> Result<(), String>;
}

/// What Nexus is known by to an authorization server.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) redirect: String,
}

/// A login.
pub(super) struct Kept {
    pub(super) client: Client,
    pub(super) credentials: StoredCredentials,
}

/// Reads what is kept. What cannot be read is as good as nothing: somebody logs in again.
pub(super) async fn read(store: &dyn TokenStore, key: &str) -> Result<Option<Kept>, AuthError> {
    let Some(text) = store.load(key).await.map_err(AuthError::CredentialStoreError)? else { return Ok(None) };
    let Ok(mut kept) = serde_json::from_str::<Value>(text.expose_secret()) else { return Ok(None) };
    let Ok(credentials) = serde_json::from_value(kept["credentials"].take()) else { return Ok(None) };
    let member = |name: &str| kept["client"][name].as_str().map(ToOwned::to_owned);
    let client = Client {
        id: member("id").unwrap_or_default(),
        secret: member("secret"),
        redirect: member("redirect").unwrap_or_default(),
    };
    Ok(Some(Kept { client, credentials }))
}

/// One server's place in the store, as rmcp wants it.
pub(super) struct Keeper {
    store: Arc<dyn TokenStore>,
    key: String,
    client: Client,
}

impl Keeper {
    pub(super) fn new(oauth: &OAuth, client: Client) -> Self {
        Self { store: Arc::clone(&oauth.spec.store), key: oauth.key.clone(), client }
    }
}

#[async_trait]
impl CredentialStore for Keeper {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        Ok(read(&*self.store, &self.key).await?.map(|kept| kept.credentials))
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let credentials =
            serde_json::to_value(credentials).map_err(|error| AuthError::CredentialStoreError(error.to_string()))?;
        let Client { id, secret, redirect } = &self.client;
        let kept = json!({"client": {"id": id, "secret": secret, "redirect": redirect}, "credentials": credentials});
        let kept = SecretString::from(kept.to_string());
        self.store.save(&self.key, kept).await.map_err(AuthError::CredentialStoreError)
    }

    async fn clear(&self) -> Result<(), AuthError> {
        self.store.clear(&self.key).await.map_err(AuthError::CredentialStoreError)
    }
}
