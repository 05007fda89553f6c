//! The runtime store that the settings choose.

use std::{path::PathBuf, sync::Arc};

use nexus_model::{Quota, RuntimeStore, StoreError};
use nexus_state::{EmbeddedStore, OpenError, RedisAddress, RedisConfig, RedisStore, RedisTls, SystemClock};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    data_dir::DataDir,
    secrets::AllSecrets,
    settings::{RedisSettings, Settings, StoreSettings},
    start_error::StartError,
};

/// The file of the embedded store, within the data directory.
pub(crate) const EMBEDDED_FILE: &str = "runtime.redb";

/// An open runtime store.
#[derive(Debug, Clone)]
pub(crate) enum OpenStore {
    Embedded(Arc<EmbeddedStore>),
    Redis(Arc<RedisStore>),
}

impl OpenStore {
    /// Opens it. The file of the embedded store is neither made nor locked where a Redis is chosen.
    pub(crate) async fn open(
        settings: &Settings,
        data: &DataDir,
        secrets: &AllSecrets,
        (tasks, cancel): (&TaskTracker, &CancellationToken),
    ) -> Result<Self, StartError> {
        match &settings.store {
            StoreSettings::Embedded => Ok(Self::Embedded(Arc::new(embedded(data, quota(settings))?))),
            StoreSettings::Redis(address) => {
                Ok(Self::Redis(Arc::new(redis(settings, address, secrets, (tasks, cancel)).await?)))
            }
            // The settings' check has refused it already.
            StoreSettings::WithPassword => Err(StartError::Settings(settings.faults())),
        }
    }

    pub(crate) fn port(&self) -> Arc<dyn RuntimeStore> {
        match self {
            Self::Embedded(store) => Arc::clone(store) as Arc<dyn RuntimeStore>,
            Self::Redis(store) => Arc::clone(store) as Arc<dyn RuntimeStore>,
        }
    }

    /// Makes durable what is not, and lets go of it.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => {
                store.close();
                Ok(())
            }
        }
    }
}

pub(crate) fn embedded(data: &DataDir, quota: Quota) -> Result<EmbeddedStore, OpenError> {
    Ok(EmbeddedStore::open(&data.join(EMBEDDED_FILE), Arc::new(SystemClock))?.with_quota(quota))
}

/// Connects to the Redis of the settings. `secrets` are the operator's: what the vault holds cannot be had, it is in the
/// store.
pub(crate) async fn redis(
    settings: &Settings,
    address: &RedisAddress,
    secrets: &AllSecrets,
    (tasks, cancel): (&TaskTracker, &CancellationToken),
) -> Result<RedisStore, StartError> {
    let mut config = RedisConfig::new(address.clone());
    if let Some(reference) = &settings.redis.password {
        let password = secrets.resolve(reference);
        config.password = Some(password.ok_or_else(|| StartError::StorePassword(reference.to_string()))?);
    }
    config.tls = tls(&settings.redis)?;
    config.in_flight = settings.redis.in_flight;
    config.deadline = settings.redis.deadline;
    config.quota = quota(settings);
    Ok(RedisStore::open(config, tasks, cancel.clone()).await?)
}

/// What is trusted and shown over TLS. Blocks for a moment.
fn tls(redis: &RedisSettings) -> Result<RedisTls, StartError> {
    let read =
        |path: &PathBuf| std::fs::read(path).map_err(|source| StartError::StoreFile { path: path.clone(), source });
    let identity = match (&redis.certificate, &redis.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?.into())),
        _ => None,
    };
    Ok(RedisTls { authorities: redis.ca.as_ref().map(read).transpose()?, identity })
}

fn quota(settings: &Settings) -> Quota {
    Quota { bytes: settings.limits.state_bytes, keys: settings.limits.state_keys }
}
