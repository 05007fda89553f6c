//! Streamable HTTP, with the token of the server that is asked and no other.

use std::sync::Arc;

use async_trait::async_trait;
use rmcp::transport::{
    AuthClient, AuthError, AuthorizationManager, CredentialStore, StoredCredentials, StreamableHttpClientTransport,
    auth::{AuthorizationMetadata, OAuthClientConfig},
    streamable_http_client::StreamableHttpClientTransportConfig,
};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use super::{
    error::Fault,
    oauth::{self, OAuth},
    spec::{HttpAuth, SecretSource},
    web::{Web, causes},
};

/// Bytes of an answer that is an error and no message; they are for people.
const COMPLAINT: usize = 4 << 10;

/// What a server is shown.
#[derive(Debug, Clone)]
pub(crate) enum Auth {
    None,
    Bearer(Arc<dyn SecretSource>),
    Tokens(Arc<OAuth>),
}

impl Auth {
    pub(crate) fn new(key: &str, url: &Url, auth: &HttpAuth, web: &Web, tasks: &TaskTracker) -> Self {
        match auth {
            HttpAuth::None => Self::None,
            HttpAuth::Bearer(secret) => Self::Bearer(Arc::clone(secret)),
            HttpAuth::OAuth(spec) => {
                Self::Tokens(Arc::new(OAuth::new(key, url.clone(), (**spec).clone(), web.clone(), tasks.clone())))
            }
        }
    }

    async fn token(&self) -> Result<Option<String>, AuthError> {
        match self {
            Self::None => Ok(None),
            Self::Bearer(secret) => match secret.secret().await {
                Ok(secret) => Ok(Some(secret.expose_secret().to_owned())),
                Err(why) => Err(AuthError::CredentialStoreError(why)),
            },
            Self::Tokens(oauth) => oauth.token().await,
        }
    }

    /// How often there was another token.
    pub(crate) fn generation(&self) -> u64 {
        if let Self::Tokens(oauth) = self { oauth.generation() } else { 0 }
    }

    /// Brings another token after the server refused, or says what somebody has to do.
    pub(crate) async fn renew(self, generation: u64, challenge: String) -> Result<(), Fault> {
        match self {
            Self::None => Err(Fault::LoginFailed("it wants a token, and its definition has none".to_owned())),
            Self::Bearer(_) => Err(Fault::LoginFailed("it refuses the secret of its definition".to_owned())),
            Self::Tokens(oauth) => match Arc::clone(&oauth).renew(generation, challenge.clone()).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(oauth.refused(&challenge)),
                Err(error) => Err(oauth::fault(&error)),
            },
        }
    }

    /// What is wrong where the server refuses a token that is new.
    pub(crate) fn refused(&self, challenge: &str) -> Fault {
        match self {
            Self::Tokens(oauth) => oauth.refused(challenge),
            _ => Fault::LoginFailed("it refuses its token".to_owned()),
        }
    }

    /// The server answered.
    pub(crate) fn worked(&self) {
        if let Self::Tokens(oauth) = self {
            oauth.worked();
        }
    }
}

/// A transport to a server. Of a message, `longest` bytes are read. `listening` is cancelled once the server can say something
/// on its own account.
pub(crate) async fn transport(
    url: Url,
    auth: Auth,
    web: Web,
    longest: usize,
    calls: usize,
    listening: CancellationToken,
) -> Result<StreamableHttpClientTransport<AuthClient<reqwest::Client>>, Fault> {
    web.check(&url).map_err(|error| Fault::Address(error.to_string()))?;
    let manager = wallet(&url, auth, &web).await.map_err(|error| oauth::fault(&error))?;
    let client = web.session(&url, listening).map_err(|error| Fault::Connect(causes(&error)))?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .max_sse_event_size(longest)
        .max_json_response_size(longest)
        .max_error_response_size(COMPLAINT)
        .max_concurrent_requests(calls);
    config.channel_buffer_capacity = calls;
    Ok(StreamableHttpClientTransport::with_client(AuthClient::new(client, manager), config))
}

/// What rmcp asks for a token before each request. It never refreshes one itself: that is done where the definition is known.
async fn wallet(url: &Url, auth: Auth, web: &Web) -> Result<AuthorizationManager, AuthError> {
    let mut manager = AuthorizationManager::new_with_oauth_http_client(url.clone(), Arc::new(web.clone())).await?;
    let mut nowhere = AuthorizationMetadata::default();
    nowhere.authorization_endpoint = url.to_string();
    nowhere.token_endpoint = url.to_string();
    manager.set_metadata(nowhere);
    manager.configure_client(OAuthClientConfig::new(CLIENT, url.as_str()))?;
    manager.set_credential_store(Wallet(auth));
    Ok(manager)
}

const CLIENT: &str = "nexus";

struct Wallet(Auth);

#[async_trait]
impl CredentialStore for Wallet {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        let Some(token) = self.0.token().await? else { return Ok(None) };
        let token = serde_json::from_value(json!({"access_token": token, "token_type": "bearer"}))
            .map_err(|error| AuthError::CredentialStoreError(error.to_string()))?;
        Ok(Some(StoredCredentials::new(CLIENT.to_owned(), Some(token), Vec::new(), None)))
    }

    async fn save(&self, _: StoredCredentials) -> Result<(), AuthError> {
        Ok(())
    }

    async fn clear(&self) -> Result<(), AuthError> {
        Ok(())
    }
}
