//! A person's login, in two steps: a URL to open, and where it led.

use std::{
    fmt,
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use rmcp::transport::auth::{AuthError, AuthorizationManager, OAuthClientConfig};
use secrecy::ExposeSecret;
use url::{Host, Url};

use super::{
    Grant, LOGINS, OAuth, Registration, fault,
    store::{Client, Keeper},
};
use crate::hub::error::Fault;

/// How long a login may take.
const LOGIN: Duration = Duration::from_mins(15);

/// Where somebody logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginUrl {
    /// To be opened in a browser. It is a stranger's text: HTTPS, or HTTP on this machine, and no more is known of it. It must
    /// not come near a shell.
    pub url: Url,
    /// What the login is known by when it comes back.
    pub state: String,
}

/// What comes back from a login.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    /// What tokens are given for.
    pub code: String,
    /// Which login it was.
    pub state: String,
    /// Who says so, where it says so.
    pub issuer: Option<String>,
}

impl Callback {
    /// Reads it from where the browser was sent; says what is wrong with it where it is no success.
    pub fn from_url(url: &Url) -> Result<Self, String> {
        let parameter =
            |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        if let Some(error) = parameter("error") {
            return Err(parameter("error_description").map_or(error.clone(), |more| format!("{error}: {more}")));
        }
        let missing = |name: &str| format!("it has no `{name}`");
        Ok(Self {
            code: parameter("code").ok_or_else(|| missing("code"))?,
            state: parameter("state").ok_or_else(|| missing("state"))?,
            issuer: parameter("iss"),
        })
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// A login that has begun.
pub(super) struct Pending {
    manager: AuthorizationManager,
    state: String,
    begun: Instant,
}

impl OAuth {
    /// Begins a login. One that has begun before ends with it.
    pub(crate) async fn begin_login(&self, redirect: &Url) -> Result<LoginUrl, Fault> {
        let Grant::Person(registration) = &self.spec.grant else {
            return Err(Fault::LoginFailed("it is not for persons: Nexus itself asks for tokens".to_owned()));
        };
        let logins = self.logins.load(Ordering::Relaxed);
        if logins >= LOGINS {
            return Err(Fault::LoginsSpent(logins));
        }
        let mut pending = self.pending.lock().await;
        *pending = None;
        let (manager, url) = self.authorize(registration, redirect).await.map_err(|error| fault(&error))?;
        let url = openable(&url).map_err(Fault::LoginFailed)?;
        let state = url.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| state.into_owned());
        let state = state.unwrap_or_default();
        *pending = Some(Pending { manager, state: state.clone(), begun: Instant::now() });
        Ok(LoginUrl { url, state })
    }

    /// Ends a login. A callback that does not belong to it changes nothing: the right one may still come.
    pub(crate) async fn finish_login(&self, callback: &Callback) -> Result<(), Fault> {
        let mut slot = self.pending.lock().await;
        let none = || Fault::LoginFailed("no such login has begun, or it took too long".to_owned());
        let pending = slot.take_if(|pending| pending.begun.elapsed() > LOGIN).map_or(slot.as_ref(), |_| None);
        let pending = pending.filter(|pending| pending.state == callback.state).ok_or_else(none)?;
        let tokens = pending.manager.exchange_code_for_token_with_issuer(
            &callback.code,
            &callback.state,
            callback.issuer.as_deref(),
        );
        tokens.await.map_err(|error| fault(&error))?;
        self.logins.fetch_add(1, Ordering::Relaxed);
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // What is kept is read again when a token is needed.
        *slot = None;
        *self.manager.lock().await = None;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    async fn authorize(
        &self,
        registration: &Registration,
        redirect: &Url,
    ) -> Result<(AuthorizationManager, String), AuthError> {
        let challenge = self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut manager = self.manager().await?;
        let found = manager.resolve_metadata_from_challenge(challenge.as_deref()).await?;
        if !found.source.is_discovered() {
            return Err(AuthError::NoAuthorizationSupport);
        }
        let metadata = found.metadata;
        manager.set_metadata(metadata.clone());
        // What another authorization server gave is of no use here, and none of its business.
        let kept = self.kept().await?.filter(|kept| kept.credentials.issuer == metadata.issuer);
        let granted = kept.as_ref().map(|kept| kept.credentials.granted_scopes.clone()).unwrap_or_default();
        let scopes = self.scopes(&manager, &metadata, challenge.as_deref(), &granted).await;
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let by_document = metadata.additional_fields.get("client_id_metadata_document_supported");
        let by_document = by_document.is_some_and(|supported| supported == true);
        let config = if let Some((id, secret)) = &registration.client {
            let mut config = OAuthClientConfig::new(id.as_str(), redirect.as_str());
            if let Some(secret) = secret {
                let secret = secret.secret().await.map_err(AuthError::CredentialStoreError)?;
                config.client_secret = Some(secret.expose_secret().to_owned());
            }
            config
        } else if let Some(document) = registration.document.as_ref().filter(|_| by_document) {
            OAuthClientConfig::new(document.as_str(), redirect.as_str())
        } else if let Some(kept) = kept.filter(|kept| kept.client.redirect == redirect.as_str()) {
            let mut config = OAuthClientConfig::new(kept.client.id, redirect.as_str());
            config.client_secret = kept.client.secret;
            config
        } else {
            manager.register_client("Nexus", redirect.as_str(), &scopes).await?
        };
        let client = Client {
            id: config.client_id.clone(),
            secret: config.client_secret.clone(),
            redirect: redirect.as_str().to_owned(),
        };
        manager.configure_client(config)?;
        manager.set_credential_store(Keeper::new(self, client));
        let url = manager.get_authorization_url(&scopes).await?;
        Ok((manager, url))
    }
}

/// A URL that may be opened in a browser, whoever wrote it.
fn openable(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| format!("the server's page for logins has no proper URL: {error}"))?;
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let open = match url.scheme() {
        "https" => url.has_host(),
        "http" => local,
        _ => false,
    };
    if open && url.username().is_empty() && url.password().is_none() {
        Ok(url)
    } else {
        Err(format!("the server's page for logins is at `{}`, which is not opened: it must be HTTPS", url.scheme()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_are_opened() {
        for url in
            ["https://login.example/authorize?a=$(id)", "http://localhost:1/a", "http://127.0.0.1/a", "http://[::1]/"]
        {
            assert!(openable(url).is_ok(), "{url}");
        }
        for url in [
            "http://login.example/",
            "http://localhost.example/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "file:/c:/windows/system32/calc.exe?response_type=code",
            "$(touch /tmp/owned)",
            "https://user:password@login.example/",
            "vbscript:run",
        ] {
            assert!(openable(url).is_err(), "{url}");
        }
    }
}
