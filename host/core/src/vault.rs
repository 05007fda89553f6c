//! Secrets at rest: sealed in the runtime store, opened only where they are used.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use nexus_model::{Durability, Key, RuntimeStore, SecretName, SecretOwner, SecretSource, StoreError, Write};
use rand::RngCore;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::secret::MasterKey;

/// Secrets that one host keeps at the most.
const MAX_SECRETS: usize = 10_000;
/// The longest secret, in bytes.
const MAX_BYTES: usize = 64 << 10;
const NONCE_BYTES: usize = 24;
/// Where the host keeps what is its own.
const OWN: &str = "own_secret";

/// What is known of a secret; never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its name.
    pub name: SecretName,
    /// When it was set last.
    pub set_at: OffsetDateTime,
}

/// Why a secret was not kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VaultError {
    /// It is empty or too long.
    #[error("a secret has 1 to {MAX_BYTES} bytes of text")]
    Size,
    /// The host has all the secrets it takes.
    #[error("there are {MAX_SECRETS} secrets already; delete some")]
    TooMany,
    /// It could not be sealed.
    #[error("the secret could not be sealed")]
    Seal,
    /// The store failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Serialize, Deserialize)]
struct Sealed {
    #[serde(with = "time::serde::rfc3339")]
    set_at: OffsetDateTime,
    nonce: String,
    ciphertext: String,
}

/// Secrets in the runtime store: XChaCha20-Poly1305 under a key of their own, derived from the master key, with a random
/// nonce of 192 bits, and owner and name as associated data, so that a value that was moved to another name does not open.
///
/// What is sealed is held in memory and followed by [`SecretVault::refresh`]; what is open never is.
pub struct SecretVault {
    runtime: Arc<dyn RuntimeStore>,
    cipher: XChaCha20Poly1305,
    entries: ArcSwap<BTreeMap<String, Sealed>>,
    /// The store's count of changes when `entries` was read.
    version: AtomicI64,
    changes: tokio::sync::Mutex<()>,
}

impl SecretVault {
    /// Reads the sealed secrets of the store.
    pub async fn load(runtime: Arc<dyn RuntimeStore>, master: &MasterKey) -> Result<Self, StoreError> {
        let key = Zeroizing::new(master.derive("nexus/secrets/1"));
        let vault = Self {
            runtime,
            cipher: XChaCha20Poly1305::new((&*key).into()),
            entries: ArcSwap::default(),
            version: AtomicI64::new(-1),
            changes: tokio::sync::Mutex::default(),
        };
        vault.refresh().await?;
        Ok(vault)
    }

    /// Takes over what other replicas changed; costs one read while nothing did.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let stored = self.runtime.get(&version_key()).await?;
        let version = stored.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok()).unwrap_or(0);
        if version == self.version.load(Relaxed) {
            return Ok(());
        }
        let mut entries = BTreeMap::new();
        for entry in self.runtime.list(&Key::of_host("secret", ""), None, MAX_SECRETS).await? {
            match serde_json::from_slice(&entry.value) {
                Ok(sealed) => drop(entries.insert(entry.key, sealed)),
                Err(error) => tracing::error!(secret = entry.key, %error, "a stored secret cannot be read"),
            }
        }
        self.entries.store(Arc::new(entries));
        self.version.store(version, Relaxed);
        Ok(())
    }

    /// Keeps a secret, in place of the one that had its name. Durable when it returns; other replicas have it within a
    /// second.
    pub async fn set(&self, owner: &SecretOwner, name: &SecretName, value: &SecretString) -> Result<(), VaultError> {
        let path = path(owner, name);
        let sealed = self.seal(&path, value)?;
        let _one_at_a_time = self.changes.lock().await;
        let mut entries = BTreeMap::clone(&self.entries.load());
        if entries.len() >= MAX_SECRETS && !entries.contains_key(&path) {
            return Err(VaultError::TooMany);
        }
        let value = serde_json::to_vec(&sealed).map_err(|_| VaultError::Seal)?;
        self.write(Write::Set { key: Key::of_host("secret", &path), value, ttl: None }).await?;
        entries.insert(path, sealed);
        self.entries.store(Arc::new(entries));
        Ok(())
    }

    /// Forgets a secret; `false` when there is none of this name.
    pub async fn delete(&self, owner: &SecretOwner, name: &SecretName) -> Result<bool, VaultError> {
        let path = path(owner, name);
        let _one_at_a_time = self.changes.lock().await;
        let mut entries = BTreeMap::clone(&self.entries.load());
        if entries.remove(&path).is_none() {
            return Ok(false);
        }
        self.write(Write::Delete { key: Key::of_host("secret", &path) }).await?;
        self.entries.store(Arc::new(entries));
        Ok(true)
    }

    /// What the host keeps to itself under this name; no definition can name it. Read from the store each time.
    pub(crate) async fn own(&self, name: &str) -> Result<Option<SecretString>, VaultError> {
        let stored = self.runtime.get(&Key::of_host(OWN, name)).await?;
        let sealed = stored.and_then(|stored| serde_json::from_slice(&stored).ok());
        Ok(sealed.and_then(|sealed| self.open(&format!("{OWN}:{name}"), &sealed)))
    }

    /// Keeps something for the host itself; `None` forgets it.
    pub(crate) async fn keep_own(&self, name: &str, value: Option<&SecretString>) -> Result<(), VaultError> {
        let key = Key::of_host(OWN, name);
        let write = match value {
            Some(value) => {
                let sealed = self.seal(&format!("{OWN}:{name}"), value)?;
                Write::Set { key, value: serde_json::to_vec(&sealed).map_err(|_| VaultError::Seal)?, ttl: None }
            }
            None => Write::Delete { key },
        };
        Ok(self.runtime.write(vec![write], Durability::Synced).await?)
    }

    /// What is known of an owner's secrets, by name.
    pub fn list(&self, owner: &SecretOwner) -> Vec<SecretInfo> {
        let entries = self.entries.load();
        let below = format!("{owner}/");
        let own = entries.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
        own.filter_map(|(path, sealed)| {
            Some(SecretInfo { name: path[below.len()..].parse().ok()?, set_at: sealed.set_at })
        })
        .collect()
    }

    /// Makes the change, then counts it. `version` is left as it is: the next refresh reads everything once more.
    async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.runtime.write(vec![write], Durability::Synced).await?;
        self.runtime.increment(&version_key(), 1, None).await?;
        Ok(())
    }

    fn seal(&self, path: &str, value: &SecretString) -> Result<Sealed, VaultError> {
        let value = value.expose_secret().as_bytes();
        if value.is_empty() || value.len() > MAX_BYTES {
            return Err(VaultError::Size);
        }
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: value, aad: path.as_bytes() };
        let sealed = self.cipher.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| VaultError::Seal)?;
        Ok(Sealed { set_at: OffsetDateTime::now_utc(), nonce: hex::encode(nonce), ciphertext: hex::encode(sealed) })
    }

    fn open(&self, path: &str, sealed: &Sealed) -> Option<SecretString> {
        let mut nonce = [0; NONCE_BYTES];
        hex::decode_to_slice(&sealed.nonce, &mut nonce).ok()?;
        let bytes = hex::decode(&sealed.ciphertext).ok()?;
        let payload = Payload { msg: &bytes, aad: path.as_bytes() };
        let open = Zeroizing::new(self.cipher.decrypt(XNonce::from_slice(&nonce), payload).ok()?);
        std::str::from_utf8(&open).ok().map(SecretString::from)
    }
}

impl SecretSource for SecretVault {
    fn kind(&self) -> &'static str {
        "store"
    }

    fn find(&self, owner: &SecretOwner, name: &SecretName) -> Option<SecretString> {
        let path = path(owner, name);
        let entries = self.entries.load();
        let sealed = entries.get(&path)?;
        let open = self.open(&path, sealed);
        if open.is_none() {
            tracing::error!(
                secret = path,
                "a stored secret does not open: it was changed, moved, or sealed under another master key"
            );
        }
        open
    }

    fn names(&self, owner: &SecretOwner) -> Vec<SecretName> {
        self.list(owner).into_iter().map(|info| info.name).collect()
    }
}

fn path(owner: &SecretOwner, name: &SecretName) -> String {
    format!("{owner}/{name}")
}

fn version_key() -> Key {
    Key::of_host("secret_version", "count")
}

#[cfg(test)]
mod tests {
    use nexus_state::memory::MemoryRuntime;

    use super::*;

    const CANARY: &str = "canary-0f1e2d3c4b5a6978";

    async fn vault(runtime: &Arc<MemoryRuntime>, master: u8) -> SecretVault {
        let runtime = Arc::clone(runtime) as Arc<dyn RuntimeStore>;
        SecretVault::load(runtime, &MasterKey::from_bytes([master; 32])).await.unwrap()
    }

    fn app() -> SecretOwner {
        SecretOwner::App("order-desk".parse().unwrap())
    }

    fn name(name: &str) -> SecretName {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_secret_is_its_owners_alone() {
        let runtime = Arc::new(MemoryRuntime::default());
        let vault = vault(&runtime, 1).await;
        vault.set(&app(), &name("crm"), &CANARY.into()).await.unwrap();
        vault.set(&SecretOwner::Host, &name("openai"), &"other".into()).await.unwrap();
        assert_eq!(vault.find(&app(), &name("crm")).unwrap().expose_secret(), CANARY);
        assert!(vault.find(&SecretOwner::Host, &name("crm")).is_none());
        assert!(vault.find(&app(), &name("openai")).is_none());
        assert_eq!(vault.names(&app()), [name("crm")]);
        assert!(vault.delete(&app(), &name("crm")).await.unwrap());
        assert!(!vault.delete(&app(), &name("crm")).await.unwrap());
        assert!(vault.find(&app(), &name("crm")).is_none());
    }

    #[tokio::test]
    async fn another_replica_follows_and_another_master_key_opens_nothing() {
        let runtime = Arc::new(MemoryRuntime::default());
        let (one, other) = (vault(&runtime, 1).await, vault(&runtime, 1).await);
        one.set(&app(), &name("crm"), &CANARY.into()).await.unwrap();
        other.refresh().await.unwrap();
        assert_eq!(other.find(&app(), &name("crm")).unwrap().expose_secret(), CANARY);
        one.delete(&app(), &name("crm")).await.unwrap();
        other.refresh().await.unwrap();
        assert!(other.find(&app(), &name("crm")).is_none());
        one.set(&app(), &name("crm"), &CANARY.into()).await.unwrap();
        assert!(vault(&runtime, 2).await.find(&app(), &name("crm")).is_none());
    }

    #[tokio::test]
    async fn what_is_stored_shows_nothing_and_cannot_be_moved() {
        let runtime = Arc::new(MemoryRuntime::default());
        let vault = vault(&runtime, 1).await;
        vault.set(&app(), &name("crm"), &CANARY.into()).await.unwrap();
        let stored = runtime.get(&Key::of_host("secret", "order-desk/crm")).await.unwrap().unwrap();
        let text = String::from_utf8(stored.clone()).unwrap();
        assert!(!text.contains(CANARY) && !text.contains(&hex::encode(CANARY)), "{text}");
        let moved = Write::Set { key: Key::of_host("secret", "order-desk/erp"), value: stored, ttl: None };
        vault.write(moved).await.unwrap();
        vault.refresh().await.unwrap();
        assert!(vault.find(&app(), &name("erp")).is_none());
        assert!(vault.find(&app(), &name("crm")).is_some());
    }

    #[tokio::test]
    async fn what_is_the_hosts_own_is_sealed_and_nobody_elses() {
        let runtime = Arc::new(MemoryRuntime::default());
        let vault = vault(&runtime, 1).await;
        vault.keep_own("a/b", Some(&CANARY.into())).await.unwrap();
        assert_eq!(vault.own("a/b").await.unwrap().unwrap().expose_secret(), CANARY);
        let stored = runtime.get(&Key::of_host(OWN, "a/b")).await.unwrap().unwrap();
        assert!(!String::from_utf8(stored.clone()).unwrap().contains(CANARY));
        let moved = Write::Set { key: Key::of_host(OWN, "other"), value: stored, ttl: None };
        runtime.write(vec![moved], Durability::Synced).await.unwrap();
        assert!(vault.own("other").await.unwrap().is_none() && vault.names(&SecretOwner::Host).is_empty());
        vault.keep_own("a/b", None).await.unwrap();
        assert!(vault.own("a/b").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_secret_has_bounds() {
        let vault = vault(&Arc::new(MemoryRuntime::default()), 1).await;
        for bad in [String::new(), "x".repeat(MAX_BYTES + 1)] {
            let refused = vault.set(&app(), &name("crm"), &bad.into()).await;
            assert!(matches!(refused, Err(VaultError::Size)));
        }
    }
}
