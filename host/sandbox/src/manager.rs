//! The sandboxes of all applications.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use nexus_model::AppName;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    BuildSpec, Built, Driver, Owners, Pool, PoolSettings, PoolStatus, Sandbox, SandboxError, SandboxHandler,
    SandboxSpec, Slot,
};

/// The pools of all applications, on one driver.
pub struct SandboxManager<H: SandboxHandler> {
    driver: Arc<dyn Driver>,
    tasks: TaskTracker,
    pools: Mutex<Pools<H>>,
}

/// Whose a pool is, and what its sandboxes do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolName {
    /// The application.
    pub app: AppName,
    /// What they do for it.
    pub part: PoolPart,
}

/// What the sandboxes of a pool do for their application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolPart {
    /// They run a program of the application's.
    Workers,
    /// They walk its workflows.
    Workflows,
}

struct Pools<H: SandboxHandler> {
    of: BTreeMap<PoolName, Pool<H>>,
    closed: bool,
}

impl<H: SandboxHandler> SandboxManager<H> {
    /// Starts nothing yet.
    pub fn new(driver: Arc<dyn Driver>, tasks: TaskTracker) -> Self {
        Self { driver, tasks, pools: Mutex::new(Pools { of: BTreeMap::new(), closed: false }) }
    }

    fn pools(&self) -> MutexGuard<'_, Pools<H>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a new pool of this name. One that it had gives nothing out any more, and ends when what is out is back, a minute
    /// later at most. After [`drain`](Self::drain) this does nothing.
    pub fn set(&self, name: PoolName, handler: Arc<H>, spec: SandboxSpec, settings: PoolSettings) {
        let mut pools = self.pools();
        if pools.closed {
            return;
        }
        let pool = Pool::new(self.driver.clone(), handler, spec, settings, &self.tasks);
        let before = pools.of.insert(name, pool);
        drop(pools);
        self.retire(before);
    }

    /// Takes a pool away, as [`set`](Self::set) does with the one before.
    pub fn remove(&self, name: &PoolName) {
        let before = self.pools().of.remove(name);
        self.retire(before);
    }

    fn retire(&self, pool: Option<Pool<H>>) {
        if let Some(pool) = pool {
            self.tasks.spawn(async move { pool.drain(Duration::from_mins(1)).await });
        }
    }

    /// A slot of a pool. [`SandboxError::Closed`] if there is none, [`SandboxError::Busy`] if there is no place in time.
    pub async fn checkout(&self, name: &PoolName) -> Result<Slot<H>, SandboxError> {
        let pool = self.pools().of.get(name).cloned().ok_or(SandboxError::Closed)?;
        pool.checkout().await
    }

    /// A sandbox that belongs to no pool: an outside server, for one.
    pub async fn start(&self, spec: &SandboxSpec) -> Result<Sandbox, SandboxError> {
        if self.pools().closed {
            return Err(SandboxError::Closed);
        }
        self.driver.start(spec).await
    }

    /// An image, made by the driver: see [`Driver::build`].
    pub async fn build(&self, spec: BuildSpec, progress: mpsc::Sender<String>) -> Result<Built, SandboxError> {
        self.driver.build(spec, progress).await
    }

    /// A program of the host's own, as something to start: see [`Driver::own_program`].
    pub async fn own_program(&self, program: &Path) -> Result<SandboxSpec, SandboxError> {
        self.driver.own_program(program).await
    }

    /// What each pool has.
    pub fn status(&self) -> BTreeMap<PoolName, PoolStatus> {
        self.pools().of.iter().map(|(name, pool)| (name.clone(), pool.status())).collect()
    }

    /// Reaps at once, and then each `every`, until `ended`.
    pub fn reap_on_a_clock(&self, owners: Arc<dyn Owners>, every: Duration, ended: CancellationToken) {
        let driver = self.driver.clone();
        let reaping = async move {
            let mut clock = interval(every);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                match driver.reap(&*owners).await {
                    Ok(reaped) if reaped == crate::Reaped::default() => {}
                    Ok(reaped) => {
                        tracing::info!(sandboxes = reaped.sandboxes, "removed what hosts left behind that are no more");
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn Error, "what dead hosts left was not looked for");
                    }
                }
            }
        };
        self.tasks.spawn(async move { ended.run_until_cancelled(reaping).await });
    }

    /// Gives nothing out any more, waits for what is out as long as `patience`, then ends all sandboxes of all pools. Sandboxes
    /// without a pool are their holders' to end.
    pub async fn drain(&self, patience: Duration) {
        let pools: Vec<_> = {
            let mut pools = self.pools();
            pools.closed = true;
            std::mem::take(&mut pools.of).into_values().collect()
        };
        join_all(pools.iter().map(|pool| pool.drain(patience))).await;
    }
}

impl<H: SandboxHandler> fmt::Debug for SandboxManager<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxManager").field("pools", &self.status()).finish_non_exhaustive()
    }
}
