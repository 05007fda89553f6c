//! The runtime store: there, and one that keeps what it is given.

use std::sync::Arc;

use nexus_core::{MasterKey, SecretVault};
use nexus_state::{OpenError, RedisServerInfo};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Finding, data::Hold};
use crate::{
    runtime_store::{EMBEDDED_FILE, OpenStore, redis},
    secrets::AllSecrets,
    settings::{Settings, StoreSettings},
    start_error::StartError,
};

const CHECK: &str = "store";

/// Opens the store, where nobody else has it.
pub(super) async fn look(
    settings: &Settings,
    hold: &Hold,
    secrets: &AllSecrets,
    (tasks, cancel): &(TaskTracker, CancellationToken),
) -> (Option<OpenStore>, Vec<Finding>) {
    let opened = match (&settings.store, hold) {
        (StoreSettings::Redis(address), _) => {
            let opened = redis(settings, address, secrets, (tasks, cancel)).await;
            opened.map(|store| OpenStore::Redis(Arc::new(store)))
        }
        (_, Hold::Server) => return (None, vec![Finding::ok(CHECK, "embedded; the running server has it open")]),
        (_, Hold::Us(data)) if data.join(EMBEDDED_FILE).exists() => {
            OpenStore::open(settings, data, secrets, (tasks, cancel)).await
        }
        _ => return (None, vec![Finding::ok(CHECK, "embedded; nothing is there yet, the first start makes it")]),
    };
    match opened {
        Ok(store) => {
            let findings = told(&store, settings);
            (Some(store), findings)
        }
        Err(error) => (None, vec![failed(&error)]),
    }
}

fn told(store: &OpenStore, settings: &Settings) -> Vec<Finding> {
    match store {
        OpenStore::Embedded(_) => vec![Finding::ok(CHECK, "embedded; it opens")],
        OpenStore::Redis(redis) => of_redis(&settings.store.to_string(), redis.server()),
    }
}

fn of_redis(address: &str, server: &RedisServerInfo) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(CHECK, format!("{address} answers, version {}", server.version))];
    if server.forgets {
        let found = format!("{address} keeps no append-only file: a crash of it loses what was acknowledged");
        let mend = "set `appendonly yes` there, and `appendfsync always` where not even a second may be lost";
        findings.push(Finding::warn(CHECK, found, mend));
    }
    if server.evicts {
        let found = format!("{address} removes keys when it is full");
        findings.push(Finding::warn(CHECK, found, "set `maxmemory-policy noeviction` there"));
    }
    findings
}

fn failed(error: &StartError) -> Finding {
    let (found, mend) = match error {
        StartError::Store(OpenError::Unreachable { address, reason }) => (
            format!("`{address}` cannot be used: {reason}"),
            "start Redis there, set `redis.password` if it asks for one, or change `store`",
        ),
        StartError::Store(OpenError::TooOld { address, version }) => (
            format!("`{address}` is a Redis of version {version}, and 7 or later is needed"),
            "upgrade it, or change `store`",
        ),
        StartError::Store(OpenError::Damaged { path, source }) => (
            format!("`{}` is damaged or is no runtime store: {source}", path.display()),
            "restore it from a backup, or move it away to start empty",
        ),
        StartError::StorePassword(reference) => (
            format!("the password that `redis.password` names is not in {reference}"),
            "put it there, or correct the reference",
        ),
        other => (other.to_string(), "look at the file's owner, mode and disk"),
    };
    Finding::fail(CHECK, found, mend)
}

/// Lets go of a store; tells only of a failure.
pub(super) async fn close(store: Option<OpenStore>) -> Option<Finding> {
    let error = store?.close().await.err()?;
    Some(Finding::fail(CHECK, format!("it cannot be closed: {error}"), "look at the disk and its free space"))
}

/// The secrets in an open store. A store that was sealed under another master key is told of.
pub(super) async fn vault(
    store: Option<&OpenStore>,
    master: Option<&MasterKey>,
) -> (Option<Arc<SecretVault>>, Option<Finding>) {
    let (Some(store), Some(master)) = (store, master) else { return (None, None) };
    let read = async {
        if master.opens(store.port().as_ref()).await? == Some(false) {
            return Ok(None);
        }
        SecretVault::load(store.port(), master).await.map(Some)
    };
    match read.await {
        Ok(Some(vault)) => (Some(Arc::new(vault)), None),
        Ok(None) => {
            let mend = "bring back the file `master-key`, or what NEXUS_MASTER_KEY held; if it is lost, begin with an \
                        empty runtime store and make keys and secrets anew";
            (None, Some(Finding::fail("master key", "the store was sealed under another master key", mend)))
        }
        Err(error) => {
            let found = format!("it cannot be read: {error}");
            (None, Some(Finding::fail(CHECK, found, "look at the store's disk and log")))
        }
    }
}
