//! One record of the audit log: how it is written, chained and checked. Values in, decision out.

use nexus_model::{canonical_json, sha256_hex};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use crate::secret::mac;

/// What the first record is chained to.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The most that a record's detail may take, in bytes; a larger one is left out and its size told.
const MAX_DETAIL: usize = 4 << 10;
/// The longest target, in characters.
const MAX_TARGET: usize = 200;

/// One change or denial. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Its place in the log, from 1, without gaps.
    pub seq: u64,
    /// When it was written.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// The id of the key that did it; `local` on a server without keys, `-` for nobody that is known.
    pub key_id: String,
    /// The name of that key.
    pub key_name: String,
    /// What was done, such as `key.create`.
    pub action: String,
    /// To what, such as a key's id or `order-desk/parse-date`.
    pub target: String,
    /// More about it.
    pub detail: Value,
    /// SHA-256 of the record before, as it is stored: canonical JSON (RFC 8785). 64 zeros in the first.
    pub previous: String,
    /// HMAC-SHA256 of this record without this field, under a key that is derived from the master key.
    pub seal: String,
}

/// What is to be written down.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key_id: String,
    pub(super) key_name: String,
    pub(super) action: String,
    pub(super) target: String,
    pub(super) detail: Value,
}

/// The end of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The last record; 0 where there is none.
    pub(super) seq: u64,
    /// The hash of the last record, as it is stored.
    pub(super) hash: String,
}

impl Head {
    pub(super) fn empty() -> Self {
        Self { seq: 0, hash: BEGINNING.to_owned() }
    }

    /// The head as it is stored: sealed, so that cutting off the end of the log shows.
    pub(super) fn to_bytes(&self, key: &[u8; 32]) -> Vec<u8> {
        let seal = hex::encode(mac(key, &[b"head", &self.seq.to_be_bytes(), self.hash.as_bytes()]));
        canonical_json(&serde_json::json!({ "seq": self.seq, "hash": self.hash, "seal": seal })).into_bytes()
    }

    /// The head, if these bytes are one that was sealed with this key.
    pub(super) fn from_bytes(bytes: &[u8], key: &[u8; 32]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let head = Self { seq: value["seq"].as_u64()?, hash: value["hash"].as_str()?.to_owned() };
        (head.to_bytes(key) == bytes).then_some(head)
    }
}

/// The next record of the log, as it is stored, and the head that it makes.
pub(super) fn chain(entry: &Entry, head: &Head, time: OffsetDateTime, key: &[u8; 32]) -> (Vec<u8>, Head) {
    let mut record = AuditRecord {
        seq: head.seq + 1,
        time,
        key_id: entry.key_id.clone(),
        key_name: entry.key_name.clone(),
        action: entry.action.clone(),
        target: entry.target.chars().filter(|c| !c.is_control()).take(MAX_TARGET).collect(),
        detail: bounded(&entry.detail),
        previous: head.hash.clone(),
        seal: String::new(),
    };
    record.seal = seal(&record, key);
    let bytes = stored(&record);
    let next = Head { seq: record.seq, hash: sha256_hex(&bytes) };
    (bytes, next)
}

fn bounded(detail: &Value) -> Value {
    let size = detail.to_string().len();
    if size <= MAX_DETAIL { detail.clone() } else { serde_json::json!({ "left_out_bytes": size }) }
}

fn stored(record: &AuditRecord) -> Vec<u8> {
    canonical_json(&serde_json::to_value(record).unwrap_or_default()).into_bytes()
}

fn seal(record: &AuditRecord, key: &[u8; 32]) -> String {
    let unsealed = stored(&AuditRecord { seal: String::new(), ..record.clone() });
    hex::encode(mac(key, &[b"record", &unsealed]))
}

/// What is wrong with the log, and at which record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// The record is not there.
    #[error("record {0} is missing")]
    Missing(u64),
    /// The record is not as it was written.
    #[error("record {0} was changed, or sealed under another master key")]
    Changed(u64),
    /// Another record stands in the record's place.
    #[error("record {found} stands in the place of record {place}")]
    Reordered {
        /// The place.
        place: u64,
        /// The record that stands there.
        found: u64,
    },
    /// The record is whole, but it was chained to another record than the one that stands before it.
    #[error("record {0} is chained to another record than the one before it")]
    Unchained(u64),
    /// What says where the log ends is gone or was changed.
    #[error("the seal on the end of the log is missing or was changed")]
    Head,
}

/// Checks one stored record against the head of what stands before it; gives the head that it makes.
pub(super) fn check(bytes: &[u8], place: u64, before: &Head, key: &[u8; 32]) -> Result<Head, AuditFault> {
    if place > before.seq + 1 {
        return Err(AuditFault::Missing(before.seq + 1));
    }
    let record: AuditRecord = serde_json::from_slice(bytes).map_err(|_| AuditFault::Changed(place))?;
    let sealed: bool = seal(&record, key).as_bytes().ct_eq(record.seal.as_bytes()).into();
    if !sealed || stored(&record) != bytes {
        return Err(AuditFault::Changed(place));
    }
    if record.seq != place {
        return Err(AuditFault::Reordered { place, found: record.seq });
    }
    if record.previous != before.hash {
        return Err(AuditFault::Unchained(place));
    }
    Ok(Head { seq: place, hash: sha256_hex(bytes) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn log(records: u64) -> Vec<Vec<u8>> {
        let mut head = Head::empty();
        let entry = |number: u64| Entry {
            key_id: "k".to_owned(),
            key_name: "test".to_owned(),
            action: "key.create".to_owned(),
            target: format!("target {number}"),
            detail: json!({ "n": number }),
        };
        let mut made = Vec::new();
        for number in 0..records {
            let (bytes, next) = chain(&entry(number), &head, OffsetDateTime::UNIX_EPOCH, &KEY);
            made.push(bytes);
            head = next;
        }
        made
    }

    fn verify(log: &[(u64, Vec<u8>)]) -> Result<Head, AuditFault> {
        log.iter().try_fold(Head::empty(), |before, (place, bytes)| check(bytes, *place, &before, &KEY))
    }

    fn placed(log: Vec<Vec<u8>>) -> Vec<(u64, Vec<u8>)> {
        (1..).zip(log).collect()
    }

    #[test]
    fn a_whole_log_is_found_whole() {
        let log = placed(log(5));
        let head = verify(&log).unwrap();
        assert_eq!(head.seq, 5);
        assert_eq!(Head::from_bytes(&head.to_bytes(&KEY), &KEY), Some(head.clone()));
        assert_eq!(Head::from_bytes(&head.to_bytes(&[8; 32]), &KEY), None);
    }

    #[test]
    fn whatever_was_done_to_it_is_found_and_named() {
        let mut changed = placed(log(5));
        let text = String::from_utf8(changed[2].1.clone()).unwrap().replace("target 2", "target 9");
        changed[2].1 = text.into_bytes();
        assert_eq!(verify(&changed), Err(AuditFault::Changed(3)));

        let mut missing = placed(log(5));
        missing.remove(1);
        assert_eq!(verify(&missing), Err(AuditFault::Missing(2)));

        let mut swapped = placed(log(5));
        let third = swapped[2].1.clone();
        swapped[2].1 = std::mem::replace(&mut swapped[3].1, third);
        assert_eq!(verify(&swapped), Err(AuditFault::Reordered { place: 3, found: 4 }));

        // Another log's record of the same number, sealed with the same key.
        let mut foreign = placed(log(5));
        let other = Head { seq: 2, hash: sha256_hex("another") };
        let entry = Entry {
            key_id: "k".to_owned(),
            key_name: "test".to_owned(),
            action: "key.create".to_owned(),
            target: String::new(),
            detail: Value::Null,
        };
        foreign[2].1 = chain(&entry, &other, OffsetDateTime::UNIX_EPOCH, &KEY).0;
        assert_eq!(verify(&foreign), Err(AuditFault::Unchained(3)));
    }

    #[test]
    fn another_spelling_of_a_record_is_a_change() {
        let mut respelt = placed(log(2));
        respelt[0].1.push(b'\n');
        assert_eq!(verify(&respelt), Err(AuditFault::Changed(1)));
    }

    #[test]
    fn a_detail_has_a_bound() {
        let entry = Entry {
            key_id: String::new(),
            key_name: String::new(),
            action: String::new(),
            target: "t".repeat(1_000),
            detail: json!("x".repeat(10_000)),
        };
        let (bytes, _) = chain(&entry, &Head::empty(), OffsetDateTime::UNIX_EPOCH, &KEY);
        assert!(bytes.len() < 1_000, "{}", bytes.len());
    }
}
