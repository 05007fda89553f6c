//! API keys: `nxs_` + id + `_` + 256 random bits + checksum. Shown once; only an HMAC is kept.

mod entry;
mod follow;
mod form;
mod stored;
mod uses;

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use nexus_model::{Durability, RuntimeStore, StoreError, Write};
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

pub use form::presented_key_id;
pub use stored::KeyInfo;

use self::{
    entry::{Entries, Entry, read},
    stored::{StoredKey, from_bytes, key, to_bytes},
};
use crate::{
    changes::{Changes, Topic},
    scope::{Principal, Scope},
    secret::{MasterKey, mac},
};

/// Keys that one host keeps at the most.
const MAX_KEYS: usize = 10_000;
/// The longest that an old secret may go on beside its successor.
const MAX_OVERLAP: Duration = Duration::from_hours(30 * 24);
/// How often a change that another replica overtook is tried again.
const TRIES: usize = 16;

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people; 1 to 100 characters.
    pub name: String,
    /// What it may do; at least one.
    pub scopes: Vec<Scope>,
    /// How long it is good for; for ever if `None`.
    pub expires_in: Option<Duration>,
    /// Requests that it may make in a minute, at each replica; any number if `None`.
    pub requests_per_minute: Option<NonZeroU32>,
}

/// A key that is made up, but opens nothing yet.
pub struct PreparedKey {
    stored: StoredKey,
    text: SecretString,
}

impl PreparedKey {
    /// What will be known of it.
    pub fn info(&self) -> &KeyInfo {
        &self.stored.info
    }
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
    /// The old secret would go on for too long.
    #[error("an overlap is at most 30 days")]
    Overlap,
    /// A key that opens nothing gets no new secret.
    #[error("the key is revoked or expired; make a new one")]
    Ended,
    /// Other replicas changed the key all the time; nothing was changed.
    #[error("the key is being changed by others; try again")]
    Contended,
    /// The store failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All keys of this host.
pub struct KeyRing {
    runtime: Arc<dyn RuntimeStore>,
    pepper: [u8; 32],
    entries: ArcSwap<Entries>,
    changes: tokio::sync::Mutex<()>,
    /// Tells other hosts on the same store of what this one has changed.
    told: Changes,
}

impl KeyRing {
    /// Reads the keys of the store.
    pub async fn load(runtime: Arc<dyn RuntimeStore>, master: &MasterKey) -> Result<Self, StoreError> {
        let entries = read(runtime.as_ref(), &Entries::new()).await?;
        Ok(Self {
            told: Changes::new(Arc::clone(&runtime), Topic::Keys),
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

    /// Whether there is a key of this id, good or ended.
    pub fn knows(&self, id: &str) -> bool {
        self.entries.load().contains_key(id)
    }

    /// Makes up a key. It opens nothing before [`KeyRing::keep`].
    pub fn prepare(&self, request: NewKey) -> Result<PreparedKey, KeyError> {
        if request.name.is_empty() || request.name.chars().count() > 100 {
            return Err(KeyError::Name);
        }
        if request.scopes.is_empty() {
            return Err(KeyError::NoScope);
        }
        let id = form::new_id();
        let now = OffsetDateTime::now_utc();
        let info = KeyInfo {
            id: id.clone(),
            name: request.name,
            scopes: request.scopes,
            created_at: now,
            expires_at: request.expires_in.map(|duration| later(now, duration)),
            revoked_at: None,
            rotated_at: None,
            overlap_until: None,
            last_used_at: None,
            requests_per_minute: request.requests_per_minute,
        };
        let (tag, text) = self.new_secret(&id);
        Ok(PreparedKey { stored: StoredKey { info, tag, previous: None }, text })
    }

    /// Lets a key open what it is for, and returns it: the only time that it is seen. Durable when it returns.
    pub async fn keep(&self, prepared: PreparedKey) -> Result<(KeyInfo, SecretString), KeyError> {
        let PreparedKey { stored, text } = prepared;
        let _one_at_a_time = self.changes.lock().await;
        if self.entries.load().len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let info = stored.info.clone();
        let write = Write::Set { key: key(&info.id), value: to_bytes(&stored)?, ttl: None };
        self.runtime.write(vec![write, self.told.mark()], Durability::Synced).await?;
        self.show(stored);
        Ok((info, text))
    }

    /// Makes a key and returns it: [`KeyRing::prepare`], then [`KeyRing::keep`].
    pub async fn create(&self, request: NewKey) -> Result<(KeyInfo, SecretString), KeyError> {
        self.keep(self.prepare(request)?).await
    }

    /// Gives a key a new secret and returns it, the only time that it is seen; `None` when there is no key of this id. The
    /// old secret goes on for `overlap`, at most 30 days; one that an earlier rotation left ends now.
    pub async fn rotate(&self, id: &str, overlap: Duration) -> Result<Option<(KeyInfo, SecretString)>, KeyError> {
        if overlap > MAX_OVERLAP {
            return Err(KeyError::Overlap);
        }
        let now = OffsetDateTime::now_utc();
        let (tag, text) = self.new_secret(id);
        let changed = self.change(id, |stored| {
            if !stored.info.is_alive(now) {
                return Err(KeyError::Ended);
            }
            stored.previous = (!overlap.is_zero()).then_some(stored.tag);
            stored.info.overlap_until = (!overlap.is_zero()).then(|| later(now, overlap));
            stored.info.rotated_at = Some(now);
            stored.tag = tag;
            Ok(())
        });
        Ok(changed.await?.map(|info| (info, text)))
    }

    /// Ends a key; `false` when there is none of this id. Holds here from the moment that this returns.
    pub async fn revoke(&self, id: &str) -> Result<bool, KeyError> {
        let revoked = self.change(id, |stored| {
            stored.info.revoked_at.get_or_insert_with(OffsetDateTime::now_utc);
            Ok(())
        });
        Ok(revoked.await?.is_some())
    }

    /// Who presents this key; `None` for anything that is not a good key. Takes the same time for every key of the right
    /// form, and never waits.
    pub fn authenticate(&self, presented: &str) -> Option<Principal> {
        let (id, secret) = form::split(presented)?;
        let entries = self.entries.load();
        let entry = entries.get(id)?;
        let tag = mac(&self.pepper, &[id.as_bytes(), secret.as_bytes()]);
        let now = OffsetDateTime::now_utc();
        let StoredKey { info, tag: present, previous } = &entry.stored;
        let is_present: bool = tag.ct_eq(present).into();
        let is_previous: bool = tag.ct_eq(&previous.unwrap_or_default()).into();
        let overlaps = previous.is_some() && info.overlap_until.is_some_and(|end| now < end);
        let known = is_present || (is_previous && overlaps);
        (known && info.is_alive(now)).then(|| {
            entry.used.note(now.unix_timestamp());
            entry.principal.clone()
        })
    }

    /// A fresh secret for the key of this id: its tag, and the key as it is sent.
    fn new_secret(&self, id: &str) -> ([u8; 32], SecretString) {
        let secret = form::new_secret();
        let tag = mac(&self.pepper, &[id.as_bytes(), secret.as_bytes()]);
        (tag, form::written(id, &secret).into())
    }

    /// Changes a key as the store has it, by compare-and-set: what another replica did meanwhile, a revocation above all,
    /// is never undone. `None` when there is no key of this id.
    async fn change(
        &self,
        id: &str,
        change: impl Fn(&mut StoredKey) -> Result<(), KeyError>,
    ) -> Result<Option<KeyInfo>, KeyError> {
        let _one_at_a_time = self.changes.lock().await;
        if !self.entries.load().contains_key(id) {
            return Ok(None);
        }
        for _ in 0..TRIES {
            let Some(present) = self.runtime.get(&key(id)).await? else { return Ok(None) };
            let mut stored = from_bytes(id, &present)?;
            change(&mut stored)?;
            let value = to_bytes(&stored)?;
            if self.runtime.compare_and_set(&key(id), Some(&present), value, None).await? {
                let info = stored.info.clone();
                self.show(stored);
                self.told.tell().await;
                return Ok(Some(info));
            }
        }
        Err(KeyError::Contended)
    }

    /// Lets a stored key take effect here.
    fn show(&self, stored: StoredKey) {
        let mut entries = BTreeMap::clone(&self.entries.load());
        let before = entries.get(&stored.info.id).cloned();
        entries.insert(stored.info.id.clone(), Arc::new(Entry::new(stored, before.as_deref())));
        self.entries.store(Arc::new(entries));
    }
}

fn later(now: OffsetDateTime, duration: Duration) -> OffsetDateTime {
    now.saturating_add(duration.try_into().unwrap_or(time::Duration::MAX))
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
            requests_per_minute: None,
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

    #[tokio::test]
    async fn a_rotated_key_has_two_secrets_for_a_while() {
        let ring = ring().await;
        let (info, first) = ring.create(key(&["admin"])).await.unwrap();
        let (_, second) = ring.rotate(&info.id, Duration::from_hours(1)).await.unwrap().unwrap();
        let opens = |secret: &SecretString| ring.authenticate(secret.expose_secret()).is_some();
        assert!(opens(&first) && opens(&second));
        let (rotated, third) = ring.rotate(&info.id, Duration::from_hours(1)).await.unwrap().unwrap();
        assert!(!opens(&first) && opens(&second) && opens(&third));
        assert!(rotated.rotated_at.is_some() && rotated.overlap_until.is_some());
        let (_, fourth) = ring.rotate(&info.id, Duration::ZERO).await.unwrap().unwrap();
        assert!(!opens(&second) && !opens(&third) && opens(&fourth));
        assert!(ring.rotate("0000", Duration::ZERO).await.unwrap().is_none());
        assert!(matches!(ring.rotate(&info.id, Duration::from_hours(1_000)).await, Err(KeyError::Overlap)));
        ring.revoke(&info.id).await.unwrap();
        assert!(!opens(&fourth));
        assert!(matches!(ring.rotate(&info.id, Duration::ZERO).await, Err(KeyError::Ended)));
    }

    #[tokio::test]
    async fn a_rotation_does_not_undo_what_another_replica_revoked() {
        let runtime: Arc<dyn RuntimeStore> = Arc::new(MemoryRuntime::default());
        let master = MasterKey::from_bytes([1; 32]);
        let one = KeyRing::load(Arc::clone(&runtime), &master).await.unwrap();
        let (info, _) = one.create(key(&["admin"])).await.unwrap();
        let other = KeyRing::load(runtime, &master).await.unwrap();
        one.revoke(&info.id).await.unwrap();
        assert!(matches!(other.rotate(&info.id, Duration::ZERO).await, Err(KeyError::Ended)));
    }

    #[tokio::test]
    async fn the_last_use_is_known_to_every_replica_and_outlives_a_change() {
        let runtime: Arc<dyn RuntimeStore> = Arc::new(MemoryRuntime::default());
        let master = MasterKey::from_bytes([1; 32]);
        let ring = KeyRing::load(Arc::clone(&runtime), &master).await.unwrap();
        let (info, secret) = ring.create(key(&["admin"])).await.unwrap();
        assert_eq!(ring.list().await.unwrap()[0].last_used_at, None);
        ring.authenticate(secret.expose_secret()).unwrap();
        ring.revoke(&info.id).await.unwrap();
        let used = ring.list().await.unwrap()[0].last_used_at;
        assert!(used.is_some());
        ring.flush_uses().await.unwrap();
        let other = KeyRing::load(runtime, &master).await.unwrap();
        assert_eq!(other.list().await.unwrap()[0].last_used_at, used);
    }

    #[tokio::test]
    async fn a_key_has_its_own_rate() {
        let ring = ring().await;
        let request = NewKey { requests_per_minute: NonZeroU32::new(2), ..key(&["admin"]) };
        let (_, secret) = ring.create(request).await.unwrap();
        let who = || ring.authenticate(secret.expose_secret()).unwrap();
        assert_eq!(who().admit().unwrap().unwrap().remaining, 1);
        assert!(who().admit().is_ok() && who().admit().is_err());
        assert_eq!(Principal::local().admit(), Ok(None));
    }
}
