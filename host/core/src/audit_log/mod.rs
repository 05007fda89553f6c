//! The audit log: who changed what, and who was turned away. Append-only and hash-chained; not to be confused with the
//! audit of a component's answers (`audit`).
//!
//! A record is written before the change that it tells of, and the change is refused when it cannot be. Replicas share one
//! chain: a record takes its place in the log by compare-and-set, so that of two writers with the same head one goes
//! first. Records are kept for ever. A change writes about 500 bytes; denials at most
//! three records and one summary a minute and replica, whatever the flood.

mod denials;
mod record;

use std::sync::Arc;

use nexus_model::{Entry as Stored, Key, RuntimeStore, StoreError};
use serde_json::Value;
use time::OffsetDateTime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use denials::Denial;
pub use record::{AuditFault, AuditRecord};

use self::{
    denials::Denials,
    record::{Entry, Head, chain, check},
};
use crate::{scope::Principal, secret::MasterKey};

/// Records that are read at one time.
const PAGE: usize = 500;
/// Pages that a list looks at, at the most.
const PAGES: usize = 20;
/// Records that one verification looks at; it says where to go on.
const VERIFIED_AT_ONCE: u64 = 100_000;
/// How often a writer that lost its place to another tries again.
const TRIES: usize = 64;

/// Why a record was not written, and with it the change that it was to tell of not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditLogError {
    /// The store failed.
    #[error("the audit log could not be written: {0}")]
    Store(#[from] StoreError),
    /// Other writers were faster every time.
    #[error("the audit log could not be written: others wrote to it all the time")]
    Contended,
}

/// Which records to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only those whose action begins with this.
    pub action: Option<String>,
    /// Only those of the key with this id.
    pub key_id: Option<String>,
    /// Only those of this target.
    pub target: Option<String>,
    /// Only those before this record.
    pub before: Option<u64>,
    /// How many, at most 200.
    pub limit: usize,
}

impl AuditFilter {
    fn wants(&self, record: &AuditRecord) -> bool {
        self.action.as_deref().is_none_or(|action| record.action.starts_with(action))
            && self.key_id.as_deref().is_none_or(|id| record.key_id == id)
            && self.target.as_deref().is_none_or(|target| record.target == target)
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Records that are as they were written, from the first that was asked for.
    pub verified: u64,
    /// The first fault; nothing behind it was looked at.
    pub fault: Option<AuditFault>,
    /// Where to go on; `None` at the end of the log or at a fault.
    pub next: Option<u64>,
}

/// The append-only log of changes and denials.
pub struct AuditLog {
    runtime: Arc<dyn RuntimeStore>,
    key: [u8; 32],
    /// The end of the log as this replica knows it.
    head: tokio::sync::Mutex<Option<Head>>,
    denials: Denials,
}

impl AuditLog {
    /// A log in this store, sealed with a key of its own.
    pub fn new(runtime: Arc<dyn RuntimeStore>, master: &MasterKey) -> Self {
        let key = master.derive("nexus/audit-log/1");
        Self { runtime, key, head: tokio::sync::Mutex::default(), denials: Denials::default() }
    }

    /// Writes down that `by` does `action` to `target`, before it is done. Durable when it returns; on an error the change
    /// must not be made. `detail` must hold no secret.
    pub async fn record(
        &self,
        by: &Principal,
        action: &str,
        target: impl Into<String>,
        detail: Value,
    ) -> Result<u64, AuditLogError> {
        self.append(Entry {
            key_id: by.key_id.as_ref().to_owned(),
            key_name: by.name.as_ref().to_owned(),
            action: action.to_owned(),
            target: target.into(),
            detail,
        })
        .await
    }

    /// Writes the record, then makes the change. A change that fails after all is told in a record of its own: the same
    /// action, with the first record's number as `failed`.
    pub async fn change<T, E: From<AuditLogError>>(
        &self,
        by: &Principal,
        action: &str,
        target: impl Into<String>,
        detail: Value,
        change: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let target = target.into();
        let seq = self.record(by, action, target.clone(), detail).await?;
        let outcome = change.await;
        if outcome.is_err()
            && let Err(error) = self.record(by, action, target, serde_json::json!({ "failed": seq })).await
        {
            tracing::warn!(seq, %error, "that the change failed could not be written to the audit log");
        }
        outcome
    }

    /// Counts a request that was turned away; a bounded sample of them is written down. Never waits.
    pub fn deny(&self, denial: Denial) {
        self.denials.note(denial);
    }

    /// The newest records that pass the filter, newest first. Looks at no more than 10,000.
    pub async fn list(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        let limit = filter.limit.clamp(1, 200);
        let mut before = filter.before.map(slot);
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let page = self.runtime.list_newest(&key(""), before.as_deref(), PAGE).await?;
            let last = page.len() < PAGE;
            before = page.last().map(|entry| entry.key.clone());
            for entry in page {
                // What cannot be read is for `verify` to name.
                let Ok(record) = serde_json::from_slice::<AuditRecord>(&entry.value) else { continue };
                if filter.wants(&record) {
                    found.push(record);
                }
            }
            if last || found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Checks the log from record `from` on (from 1), at most 100,000 records.
    pub async fn verify(&self, from: u64) -> Result<Verification, StoreError> {
        let first = from.max(1);
        let mut before = match self.before(first).await? {
            Ok(head) => head,
            Err(fault) => return Ok(Verification { verified: 0, fault: Some(fault), next: None }),
        };
        let end = Head::from_bytes(&self.runtime.get(&head_key()).await?.unwrap_or_default(), &self.key);
        let count = |before: &Head| before.seq + 1 - first;
        while count(&before) < VERIFIED_AT_ONCE {
            let page = self.runtime.list(&key(""), Some(&slot(before.seq)), PAGE).await?;
            let last = page.len() < PAGE;
            for entry in page {
                match self.check(&entry, &before) {
                    Ok(head) => before = head,
                    Err(fault) => {
                        return Ok(Verification { verified: count(&before), fault: Some(fault), next: None });
                    }
                }
            }
            if last {
                return Ok(Verification { verified: count(&before), fault: at_end(&before, end.as_ref()), next: None });
            }
        }
        Ok(Verification { verified: count(&before), fault: None, next: Some(before.seq + 1) })
    }

    /// Writes samples and summaries of denials until the host stops, and what is left then.
    pub(crate) fn spawn(self: &Arc<Self>, tracker: &TaskTracker, cancel: CancellationToken) {
        let log = Arc::clone(self);
        tracker.spawn(async move { denials::write_all(&log, cancel).await });
    }

    /// Takes the next place in the log.
    async fn append(&self, entry: Entry) -> Result<u64, AuditLogError> {
        let mut known = self.head.lock().await;
        for _ in 0..TRIES {
            let head = match known.take() {
                Some(head) => head,
                None => self.newest().await?,
            };
            let (bytes, next) = chain(&entry, &head, OffsetDateTime::now_utc(), &self.key);
            if self.runtime.compare_and_set(&key(&slot(next.seq)), None, bytes, None).await? {
                self.move_head(&next).await?;
                return Ok(known.insert(next).seq);
            }
        }
        Err(AuditLogError::Contended)
    }

    /// The end of the log as the store has it.
    async fn newest(&self) -> Result<Head, StoreError> {
        let newest = self.runtime.list_newest(&key(""), None, 1).await?;
        Ok(newest.first().map_or_else(Head::empty, head_of))
    }

    /// Says where the log ends, unless another replica has said so for a later record.
    async fn move_head(&self, head: &Head) -> Result<(), AuditLogError> {
        for _ in 0..TRIES {
            let stored = self.runtime.get(&head_key()).await?;
            let end = stored.as_deref().and_then(|bytes| Head::from_bytes(bytes, &self.key));
            if end.is_some_and(|end| end.seq >= head.seq) {
                return Ok(());
            }
            let bytes = head.to_bytes(&self.key);
            if self.runtime.compare_and_set(&head_key(), stored.as_deref(), bytes, None).await? {
                return Ok(());
            }
        }
        Err(AuditLogError::Contended)
    }

    /// What the record `first` must be chained to.
    async fn before(&self, first: u64) -> Result<Result<Head, AuditFault>, StoreError> {
        if first == 1 {
            return Ok(Ok(Head::empty()));
        }
        let before = self.runtime.get(&key(&slot(first - 1))).await?;
        Ok(before
            .map_or(Err(AuditFault::Missing(first - 1)), |value| Ok(head_of(&Stored { key: slot(first - 1), value }))))
    }

    fn check(&self, entry: &Stored, before: &Head) -> Result<Head, AuditFault> {
        let place = entry.key.parse().map_err(|_| AuditFault::Missing(before.seq + 1))?;
        check(&entry.value, place, before, &self.key)
    }
}

/// Whether the log ends where its head says. A record behind the head is one whose writer died before it moved the head.
fn at_end(last: &Head, end: Option<&Head>) -> Option<AuditFault> {
    match end {
        None if last.seq == 0 => None,
        None => Some(AuditFault::Head),
        Some(end) if end.seq > last.seq => Some(AuditFault::Missing(last.seq + 1)),
        Some(end) if end.seq == last.seq && end.hash != last.hash => Some(AuditFault::Head),
        Some(_) => None,
    }
}

fn head_of(entry: &Stored) -> Head {
    Head { seq: entry.key.parse().unwrap_or_default(), hash: nexus_model::sha256_hex(&entry.value) }
}

fn key(slot: &str) -> Key {
    Key::of_host("audit", slot)
}

fn head_key() -> Key {
    Key::of_host("audit_head", "head")
}

/// A record's place as a key that sorts.
fn slot(seq: u64) -> String {
    format!("{seq:020}")
}

#[cfg(test)]
mod tests {
    use nexus_model::{Durability, Write};
    use nexus_state::memory::MemoryRuntime;
    use serde_json::json;

    use super::*;

    fn log(runtime: &Arc<MemoryRuntime>) -> AuditLog {
        AuditLog::new(Arc::clone(runtime) as Arc<dyn RuntimeStore>, &MasterKey::from_bytes([1; 32]))
    }

    async fn write(log: &AuditLog, count: usize) {
        for number in 0..count {
            log.record(&Principal::local(), "test.write", number.to_string(), json!({})).await.unwrap();
        }
    }

    #[tokio::test]
    async fn replicas_write_one_chain() {
        let runtime = Arc::new(MemoryRuntime::default());
        let (one, other) = (log(&runtime), log(&runtime));
        tokio::join!(write(&one, 40), write(&other, 40));
        write(&one, 1).await;
        let found = other.verify(1).await.unwrap();
        assert_eq!(found, Verification { verified: 81, fault: None, next: None });
        let from_the_middle = other.verify(40).await.unwrap();
        assert_eq!(from_the_middle.verified, 42);
        let newest = one.list(&AuditFilter { limit: 3, ..AuditFilter::default() }).await.unwrap();
        assert_eq!(newest.iter().map(|record| record.seq).collect::<Vec<_>>(), [81, 80, 79]);
    }

    #[tokio::test]
    async fn what_is_cut_off_or_taken_out_is_missed() {
        let runtime = Arc::new(MemoryRuntime::default());
        let log = log(&runtime);
        write(&log, 6).await;
        let delete = |seq| vec![Write::Delete { key: key(&slot(seq)) }];
        runtime.write(delete(6), Durability::Synced).await.unwrap();
        assert_eq!(log.verify(1).await.unwrap().fault, Some(AuditFault::Missing(6)));
        runtime.write(delete(3), Durability::Synced).await.unwrap();
        let found = log.verify(1).await.unwrap();
        assert_eq!((found.verified, found.fault), (2, Some(AuditFault::Missing(3))));
        runtime.write(vec![Write::Delete { key: head_key() }], Durability::Synced).await.unwrap();
        assert_eq!(log.verify(4).await.unwrap().fault, Some(AuditFault::Missing(3)));
    }

    #[tokio::test]
    async fn a_change_that_fails_is_told_and_a_filter_finds_it() {
        let runtime = Arc::new(MemoryRuntime::default());
        let log = log(&runtime);
        let failing = async { Err::<(), _>(AuditLogError::Contended) };
        log.change(&Principal::local(), "key.revoke", "k", json!({}), failing).await.unwrap_err();
        write(&log, 1).await;
        let filter = AuditFilter { action: Some("key.".to_owned()), limit: 10, ..AuditFilter::default() };
        let found = log.list(&filter).await.unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].detail, json!({ "failed": 1 }));
    }
}
