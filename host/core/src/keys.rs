//! API keys: `nxs_` + id + `_` + 256 random bits + checksum. Shown once; only an HMAC is kept.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use nexus_model::{AppName, Durability, Key, RuntimeStore, StoreError, Write, sha256_hex};
use rand::RngCore;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use crate::secret::{MasterKey, mac};

const PREFIX: &str = "nxs_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;
/// Keys that one host keeps at the most.
const MAX_KEYS: usize = 10_000;

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
}

impl Principal {
    /// Whoever calls a server that was told to ask for no keys: may do everything.
    pub fn local() -> Self {
        Self { key_id: "local".into(), name: "local".into(), scopes: [Scope::Admin].into() }
    }

    /// Whether one of the key's scopes grants `wanted`.
    pub fn may(&self, wanted: &Scope) -> bool {
        self.scopes.iter().any(|scope| scope.grants(wanted))
    }
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people; 1 to 100 characters.
    pub name: String,
    /// What it may do; at least one.
    pub scopes: Vec<Scope>,
    /// How long it is good for; for ever if `None`.
    pub expires_in: Option<Duration>,
}

/// What is known of a key; never the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Names the key in lists, logs and audit records.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it ends.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<OffsetDateTime>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredKey {
    #[serde(flatten)]
    info: KeyInfo,
    /// HMAC-SHA256 of the secret under the pepper.
    tag: [u8; 32],
}

struct Entry {
    stored: StoredKey,
    principal: Principal,
}

/// Why a key was not made, or not revoked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// The name is empty or too long.
    #[error("a key's name has 1 to 100 characters")]
    Name,
    /// A key that may do nothing is of no use.
    #[error("a key needs at least one scope")]
    NoScope,
    /// The host has all the keys it takes.
    #[error("there are {MAX_KEYS} keys already; revoke some")]
    TooMany,
    /// The store failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All keys of this host.
pub struct KeyRing {
    runtime: Arc<dyn RuntimeStore>,
    pepper: [u8; 32],
    entries: ArcSwap<BTreeMap<String, Arc<Entry>>>,
    changes: tokio::sync::Mutex<()>,
}

impl KeyRing {
    /// Reads the keys of the store.
    pub async fn load(runtime: Arc<dyn RuntimeStore>, master: &MasterKey) -> Result<Self, StoreError> {
        let mut entries = BTreeMap::new();
        for entry in runtime.list(&Key::of_host("key", ""), None, MAX_KEYS).await? {
            let stored: StoredKey = serde_json::from_slice(&entry.value)
                .map_err(|error| StoreError::Unavailable(format!("the stored key `{}`: {error}", entry.key)))?;
            entries.insert(stored.info.id.clone(), Arc::new(Entry::new(stored)));
        }
        Ok(Self {
            runtime,
            pepper: master.derive("nexus/api-keys/1"),
            entries: ArcSwap::from_pointee(entries),
            changes: tokio::sync::Mutex::new(()),
        })
    }

    /// Whether no key was ever made.
    pub fn is_empty(&self) -> bool {
        self.entries.load().is_empty()
    }

    /// Makes a key and returns it: the only time that it is seen. Durable when it returns.
    pub async fn create(&self, request: NewKey) -> Result<(KeyInfo, SecretString), KeyError> {
        if request.name.is_empty() || request.name.chars().count() > 100 {
            return Err(KeyError::Name);
        }
        if request.scopes.is_empty() {
            return Err(KeyError::NoScope);
        }
        let mut random = [0; 40];
        rand::rng().fill_bytes(&mut random);
        let (id, secret) = (hex::encode(&random[..8]), hex::encode(&random[8..]));
        let now = OffsetDateTime::now_utc();
        let info = KeyInfo {
            id: id.clone(),
            name: request.name,
            scopes: request.scopes,
            created_at: now,
            expires_at: request.expires_in.map(|duration| now.saturating_add(duration.try_into().unwrap_or_default())),
            revoked_at: None,
        };
        let stored = StoredKey { info: info.clone(), tag: mac(&self.pepper, &[id.as_bytes(), secret.as_bytes()]) };
        let text = format!("{PREFIX}{id}_{secret}{}", checksum(&id, &secret));
        self.keep(stored).await?;
        Ok((info, text.into()))
    }

    /// All keys, revoked ones included, by id.
    pub fn list(&self) -> Vec<KeyInfo> {
        self.entries.load().values().map(|entry| entry.stored.info.clone()).collect()
    }

    /// Ends a key; `false` when there is none of this id. Holds from the moment that this returns.
    pub async fn revoke(&self, id: &str) -> Result<bool, KeyError> {
        let Some(entry) = self.entries.load().get(id).cloned() else { return Ok(false) };
        let mut stored = entry.stored.clone();
        stored.info.revoked_at.get_or_insert_with(OffsetDateTime::now_utc);
        self.keep(stored).await?;
        Ok(true)
    }

    /// Who presents this key; `None` for anything that is not a good key. Takes the same time for every key of the right
    /// form, and never waits.
    pub fn authenticate(&self, presented: &str) -> Option<Principal> {
        let (id, secret) = split(presented)?;
        let entries = self.entries.load();
        let entry = entries.get(id)?;
        let tag = mac(&self.pepper, &[id.as_bytes(), secret.as_bytes()]);
        let known: bool = tag.ct_eq(&entry.stored.tag).into();
        let info = &entry.stored.info;
        let alive = info.revoked_at.is_none() && info.expires_at.is_none_or(|end| OffsetDateTime::now_utc() < end);
        (known && alive).then(|| entry.principal.clone())
    }

    async fn keep(&self, stored: StoredKey) -> Result<(), KeyError> {
        let _one_at_a_time = self.changes.lock().await;
        let mut entries = BTreeMap::clone(&self.entries.load());
        if entries.len() >= MAX_KEYS && !entries.contains_key(&stored.info.id) {
            return Err(KeyError::TooMany);
        }
        let value = serde_json::to_vec(&stored).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let write = Write::Set { key: Key::of_host("key", &stored.info.id), value, ttl: None };
        self.runtime.write(vec![write], Durability::Synced).await?;
        entries.insert(stored.info.id.clone(), Arc::new(Entry::new(stored)));
        self.entries.store(Arc::new(entries));
        Ok(())
    }
}

impl Entry {
    fn new(stored: StoredKey) -> Self {
        let principal = Principal {
            key_id: stored.info.id.as_str().into(),
            name: stored.info.name.as_str().into(),
            scopes: stored.info.scopes.clone().into(),
        };
        Self { stored, principal }
    }
}

/// Id and secret of a key whose form and checksum are right. The checksum finds slips of a copying hand, and lets
/// scanners of public code tell keys from noise; it protects nothing.
fn split(presented: &str) -> Option<(&str, &str)> {
    let rest = presented.strip_prefix(PREFIX)?;
    let well_formed = rest.len() == ID_DIGITS + 1 + SECRET_DIGITS + CHECKSUM_DIGITS
        && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'_'));
    let (id, rest) = well_formed.then(|| rest.split_once('_')).flatten()?;
    let (secret, sum) = (id.len() == ID_DIGITS).then(|| rest.split_at(SECRET_DIGITS))?;
    (sum == checksum(id, secret)).then_some((id, secret))
}

fn checksum(id: &str, secret: &str) -> String {
    let mut sum = sha256_hex(format!("{id}_{secret}"));
    sum.truncate(CHECKSUM_DIGITS);
    sum
}

#[cfg(test)]
mod tests {
    use nexus_state::memory::MemoryRuntime;
    use secrecy::ExposeSecret;

    use super::*;

    async fn ring() -> KeyRing {
        KeyRing::load(Arc::new(MemoryRuntime::default()), &MasterKey::from_bytes([1; 32])).await.unwrap()
    }

    fn key(scopes: &[&str]) -> NewKey {
        NewKey {
            name: "test".to_owned(),
            scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
            expires_in: None,
        }
    }

    #[tokio::test]
    async fn a_key_opens_what_it_was_made_for_and_nothing_else() {
        let ring = ring().await;
        let (_, secret) = ring.create(key(&["apps:order-desk:invoke", "apps:*:read"])).await.unwrap();
        let who = ring.authenticate(secret.expose_secret()).unwrap();
        let may = |scope: &str| who.may(&scope.parse().unwrap());
        assert!(may("apps:order-desk:invoke") && may("apps:anything:read") && may("apps:*:read"));
        assert!(!may("apps:other:invoke") && !may("apps:*:invoke") && !may("apps:order-desk:write") && !may("admin"));
    }

    #[tokio::test]
    async fn what_is_not_the_key_opens_nothing() {
        let ring = ring().await;
        let (_, secret) = ring.create(key(&["admin"])).await.unwrap();
        let good = secret.expose_secret().to_owned();
        assert!(ring.authenticate(&good).is_some());
        for at in [5, 25, good.len() - 1] {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
            assert!(ring.authenticate(std::str::from_utf8(&bad).unwrap()).is_none(), "digit {at}");
        }
        for bad in ["", "nxs_", "nxs__", &good[1..], &good[..good.len() - 1], "nxs_äöü", "Bearer"] {
            assert!(ring.authenticate(bad).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_revoked_key_and_an_expired_key_open_nothing() {
        let ring = ring().await;
        let (info, secret) = ring.create(key(&["admin"])).await.unwrap();
        assert!(ring.revoke(&info.id).await.unwrap());
        assert!(ring.authenticate(secret.expose_secret()).is_none());
        assert!(!ring.revoke("0000").await.unwrap());
        let (_, secret) = ring.create(NewKey { expires_in: Some(Duration::ZERO), ..key(&["admin"]) }).await.unwrap();
        assert!(ring.authenticate(secret.expose_secret()).is_none());
    }

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
