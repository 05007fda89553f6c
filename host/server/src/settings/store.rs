//! Where runtime state is kept.

use std::{fmt, path::PathBuf, time::Duration};

use nexus_llm::KeyReference;
use nexus_state::{AddressError, RedisAddress};
use serde::{Deserialize, Serialize, Serializer, de::Error};

use super::duration;

/// Where runtime state is kept: `embedded` or the address of a Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoreSettings {
    /// A file in the data directory.
    #[default]
    Embedded,
    /// A Redis, which several hosts may share.
    Redis(RedisAddress),
    /// An address with a password, which is never shown; the server does not start with it.
    WithPassword,
}

impl fmt::Display for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Redis(address) => address.fmt(f),
            Self::WithPassword => f.write_str("redis://…"),
        }
    }
}

impl Serialize for StoreSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StoreSettings {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        match text.parse() {
            Ok(address) => Ok(Self::Redis(address)),
            // An error here would show the line; this one is told later, without it.
            Err(AddressError::Password) => Ok(Self::WithPassword),
            Err(AddressError::Scheme) => Err(D::Error::custom(
                "`store` is `embedded`, `redis://HOST:PORT`, `rediss://HOST:PORT` (TLS) or \
                 `redis+cluster://HOST:PORT,HOST:PORT`",
            )),
            Err(error) => Err(D::Error::custom(format!("`store`: {error}"))),
        }
    }
}

/// How a Redis is used, where `store` names one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// Where its password is.
    pub password: Option<KeyReference>,
    /// A PEM file of the authorities that are trusted over TLS, in place of the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file of this host's own certificate, for a Redis that asks for one.
    pub certificate: Option<PathBuf>,
    /// A PEM file of that certificate's private key.
    pub key: Option<PathBuf>,
    /// Commands in flight at one time; more wait.
    pub in_flight: usize,
    /// How long a command may take, the wait for its place included.
    #[serde(with = "duration")]
    pub deadline: Duration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            password: None,
            ca: None,
            certificate: None,
            key: None,
            in_flight: 256,
            deadline: Duration::from_secs(1),
        }
    }
}

/// What is wrong with where state is to be kept.
pub(super) fn faults(store: &StoreSettings, redis: &RedisSettings) -> [(bool, &'static str); 5] {
    let plain = matches!(store, StoreSettings::Redis(address) if !address.is_tls());
    [
        (
            plain && (redis.ca.is_some() || redis.certificate.is_some() || redis.key.is_some()),
            "`redis.ca`, `redis.certificate` and `redis.key` are for an address over TLS: write `store: rediss://…`",
        ),
        (
            redis.certificate.is_some() != redis.key.is_some(),
            "`redis.certificate` and `redis.key` belong together: name both files or none",
        ),
        (
            *store == StoreSettings::WithPassword,
            "`store` holds a password, which would be shown with the settings: take it out, and name where it is as \
             `redis: { password: { env: REDIS_PASSWORD } }` or `{ file: /run/secrets/redis }`",
        ),
        (redis.in_flight == 0, "`redis.in_flight` must be more than 0"),
        (redis.deadline.is_zero(), "`redis.deadline` must be more than 0"),
    ]
}
