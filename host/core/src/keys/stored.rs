//! A key as the store has it.

use std::num::NonZeroU32;

use nexus_model::{Key, StoreError};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::scope::Scope;

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
    /// When it got its present secret, if that is not the first.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<OffsetDateTime>,
    /// Until when the secret before the present one is good too.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub overlap_until: Option<OffsetDateTime>,
    /// When it was used last, to about half a minute. Not stored with the key.
    #[serde(skip)]
    pub last_used_at: Option<OffsetDateTime>,
    /// Requests that it may make in a minute, at each replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredKey {
    #[serde(flatten)]
    pub(super) info: KeyInfo,
    /// HMAC-SHA256 of the secret under the pepper.
    pub(super) tag: [u8; 32],
    /// That of the secret before, which is good until `overlap_until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<[u8; 32]>,
}

impl KeyInfo {
    /// Whether it is neither revoked nor expired.
    pub(super) fn is_alive(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Where the key of this id is.
pub(super) fn key(id: &str) -> Key {
    Key::of_host("key", id)
}

pub(super) fn to_bytes(stored: &StoredKey) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(stored).map_err(|error| StoreError::Unavailable(error.to_string()))
}

pub(super) fn from_bytes(id: &str, value: &[u8]) -> Result<StoredKey, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Unavailable(format!("the stored key `{id}`: {error}")))
}
