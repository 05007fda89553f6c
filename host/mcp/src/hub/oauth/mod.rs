//! OAuth 2.1 for servers over HTTP: tokens, and how they are come by.

mod login;
mod spec;
mod store;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, AuthorizationMetadata, ClientCredentialsConfig, JwtSigningAlgorithm,
    OAuthClientConfig, WWWAuthenticateParams,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use url::Url;

use self::{
    login::Pending,
    store::{Keeper, Kept},
};
pub use self::{
    login::{Callback, LoginUrl},
    spec::{Grant, KeyAlgorithm, OAuthSpec, Registration},
    store::TokenStore,
};
use super::{
    error::Fault,
    spec::SecretSource,
    web::{Web, causes},
};

/// Logins in a row that a server may ask for before it has answered a call.
const LOGINS: u32 = 3;

/// The tokens of one server.
pub(crate) struct OAuth {
    /// The server, which is what tokens are for.
    resource: Url,
    spec: OAuthSpec,
    key: String,
    web: Web,
    tasks: TaskTracker,
    /// One at a time asks for tokens.
    manager: tokio::sync::Mutex<Option<AuthorizationManager>>,
    /// What the server said when it last refused.
    challenge: Mutex<Option<String>>,
    pending: tokio::sync::Mutex<Option<Pending>>,
    logins: AtomicU32,
    generation: AtomicU64,
}

impl OAuth {
    pub(crate) fn new(key: &str, resource: Url, spec: OAuthSpec, web: Web, tasks: TaskTracker) -> Self {
        Self {
            resource,
            spec,
            key: key.to_owned(),
            web,
            tasks,
            manager: tokio::sync::Mutex::default(),
            challenge: Mutex::default(),
            pending: tokio::sync::Mutex::default(),
            logins: AtomicU32::new(0),
            generation: AtomicU64::new(0),
        }
    }

    /// The token as it is now, refreshed where it runs out; none where somebody has to log in first.
    pub(crate) async fn token(&self) -> Result<Option<String>, AuthError> {
        let mut slot = self.manager.lock().await;
        let manager = match &mut *slot {
            Some(manager) => manager,
            empty => {
                let Some(kept) = self.kept().await? else { return Ok(None) };
                let mut manager = self.manager().await?;
                manager.set_credential_store(Keeper::new(self, kept.client));
                empty.insert(manager)
            }
        };
        match manager.get_access_token().await {
            Ok(token) => Ok(Some(token)),
            // It has run out, and the manager does not know yet where to refresh it.
            Err(AuthError::AuthorizationRequired | AuthError::InternalError(_)) => self.bring(&mut slot, None).await,
            Err(error) => Err(error),
        }
    }

    /// How often there was another token.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Brings another token than there was in that generation, without a person. Answers whether there is one.
    pub(crate) async fn renew(self: Arc<Self>, generation: u64, challenge: String) -> Result<bool, AuthError> {
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(challenge.clone());
        let mut slot = self.manager.lock().await;
        if self.generation() != generation {
            return Ok(true);
        }
        Ok(self.bring(&mut slot, Some(&challenge)).await?.is_some())
    }

    fn bring<'a>(
        &'a self,
        slot: &'a mut Option<AuthorizationManager>,
        challenge: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<String>, AuthError>> {
        let brought = async move {
            let manager = match self.spec.grant {
                Grant::Person(_) => self.refreshed(challenge).await?,
                _ => Some(self.as_nexus(challenge).await?),
            };
            let Some(manager) = manager else { return Ok(None) };
            let token = manager.get_access_token().await?;
            *slot = Some(manager);
            self.generation.fetch_add(1, Ordering::AcqRel);
            Ok(Some(token))
        };
        brought.boxed()
    }

    /// Refreshes what a person's login has brought; none where that cannot be or does not help.
    async fn refreshed(&self, challenge: Option<&str>) -> Result<Option<AuthorizationManager>, AuthError> {
        if challenge.is_some_and(|challenge| self.parse(challenge).is_insufficient_scope()) {
            return Ok(None);
        }
        let Some(kept) = self.kept().await? else { return Ok(None) };
        let mut manager = self.manager().await?;
        let found = manager.resolve_metadata_from_challenge(challenge).await?;
        // Tokens and clients are known to the server that gave them out and to no other.
        if !found.source.is_discovered() || found.metadata.issuer != kept.credentials.issuer {
            return Ok(None);
        }
        manager.set_metadata(found.metadata);
        let mut client = OAuthClientConfig::new(kept.client.id.as_str(), kept.client.redirect.as_str());
        client.client_secret.clone_from(&kept.client.secret);
        manager.configure_client(client)?;
        manager.set_credential_store(Keeper::new(self, kept.client));
        match manager.refresh_token().await {
            Ok(_) => Ok(Some(manager)),
            Err(AuthError::AuthorizationRequired | AuthError::TokenRefreshRejected(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The server answered: it may ask for logins again.
    pub(crate) fn worked(&self) {
        self.logins.store(0, Ordering::Relaxed);
    }

    /// What somebody has to do whom the server refused.
    pub(crate) fn refused(&self, challenge: &str) -> Fault {
        if !matches!(self.spec.grant, Grant::Person(_)) {
            return Fault::LoginFailed("it refuses the token that Nexus was given for it".to_owned());
        }
        let logins = self.logins.load(Ordering::Relaxed);
        if logins >= LOGINS { Fault::LoginsSpent(logins) } else { Fault::Login { scope: self.parse(challenge).scope } }
    }

    fn parse(&self, challenge: &str) -> WWWAuthenticateParams {
        WWWAuthenticateParams::parse(challenge, &self.resource)
    }

    async fn manager(&self) -> Result<AuthorizationManager, AuthError> {
        AuthorizationManager::new_with_oauth_http_client(self.resource.clone(), Arc::new(self.web.clone())).await
    }

    async fn kept(&self) -> Result<Option<Kept>, AuthError> {
        store::read(&*self.spec.store, &self.key).await
    }

    /// Asks for a token as Nexus itself.
    async fn as_nexus(&self, challenge: Option<&str>) -> Result<AuthorizationManager, AuthError> {
        let mut manager = self.manager().await?;
        let found = manager.resolve_metadata_from_challenge(challenge).await?;
        if !found.source.is_discovered() {
            return Err(AuthError::NoAuthorizationSupport);
        }
        let config = self.client_credentials(&manager, &found.metadata, challenge).await?;
        manager.set_metadata(found.metadata);
        manager.validate_client_credentials_metadata(&config)?;
        manager.configure_client_credentials(&config)?;
        manager.set_credential_store(Keeper::new(self, store::Client::default()));
        // rmcp's future must stay on its thread, so it is given one for as long as it takes.
        let runtime = Handle::current();
        let exchanged = self
            .tasks
            .spawn_blocking(move || runtime.block_on(manager.exchange_client_credentials(&config)).map(|_| manager));
        exchanged.await.map_err(|error| AuthError::InternalError(error.to_string()))?
    }

    async fn client_credentials(
        &self,
        manager: &AuthorizationManager,
        metadata: &AuthorizationMetadata,
        challenge: Option<&str>,
    ) -> Result<ClientCredentialsConfig, AuthError> {
        let scopes = self.scopes(manager, metadata, challenge, &[]).await;
        let resource = Some(self.resource.to_string());
        Ok(match &self.spec.grant {
            Grant::ClientSecret { client_id, secret } => ClientCredentialsConfig::ClientSecret {
                client_id: client_id.clone(),
                client_secret: read(secret).await?.expose_secret().to_owned(),
                scopes,
                resource,
            },
            Grant::PrivateKey { client_id, key, algorithm } => ClientCredentialsConfig::PrivateKeyJwt {
                client_id: client_id.clone(),
                signing_key: read(key).await?.expose_secret().as_bytes().to_vec(),
                signing_algorithm: match algorithm {
                    KeyAlgorithm::Rs256 => JwtSigningAlgorithm::RS256,
                    KeyAlgorithm::Es256 => JwtSigningAlgorithm::ES256,
                },
                token_endpoint_audience: None,
                scopes,
                resource,
            },
            Grant::Person(_) => return Err(AuthError::AuthorizationRequired),
        })
    }

    /// What was granted before, with what is asked for now: by the definition and the challenge, or else as the server's
    /// documents say.
    async fn scopes(
        &self,
        manager: &AuthorizationManager,
        metadata: &AuthorizationMetadata,
        challenge: Option<&str>,
        granted: &[String],
    ) -> Vec<String> {
        let asked = challenge.and_then(|challenge| self.parse(challenge).scope).unwrap_or_default();
        let mut wanted = self.spec.scopes.clone();
        wanted.extend(asked.split_whitespace().map(ToOwned::to_owned));
        if wanted.is_empty() {
            wanted = manager.select_initial_scopes(&[]).await;
        }
        // Without it some servers give out no token that can be refreshed.
        let offline = "offline_access";
        let person = matches!(self.spec.grant, Grant::Person(_));
        let offered = metadata.scopes_supported.iter().flatten().any(|scope| scope == offline);
        if person && offered && !wanted.is_empty() {
            wanted.push(offline.to_owned());
        }
        let mut scopes: Vec<String> = Vec::new();
        for scope in granted.iter().cloned().chain(wanted) {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        scopes
    }
}

async fn read(source: &Arc<dyn SecretSource>) -> Result<SecretString, AuthError> {
    source.secret().await.map_err(AuthError::CredentialStoreError)
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth").field("resource", &self.resource.as_str()).finish_non_exhaustive()
    }
}

/// An error of a login, in the hub's words.
pub(crate) fn fault(error: &AuthError) -> Fault {
    match error {
        AuthError::AuthorizationRequired => Fault::Login { scope: None },
        AuthError::CredentialStoreError(why) => Fault::Secret(why.clone()),
        other => Fault::LoginFailed(causes(other)),
    }
}
