//! Sandboxes of one specification, kept ready for one application.

mod life;
mod members;
mod plan;
mod slot;
mod work;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::oneshot, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{members::Asked, work::Shared};
pub use self::{
    plan::{Action, Member, Phase, PoolState, plan},
    slot::Slot,
};
use crate::{BoxError, Driver, Sandbox, SandboxError, SandboxSpec};

/// How long the driver may take for what does not end by itself.
const RELUCTANT: Duration = Duration::from_secs(30);

/// Makes something of a sandbox that others can use: a server of its protocol, for one.
#[async_trait]
pub trait SandboxHandler: Send + Sync + 'static {
    /// What a sandbox is used by.
    type Session: Send + Sync + 'static;

    /// Takes a sandbox that has just been started, and is done when it can serve. An error ends it. The session holds the streams;
    /// the pool knows by itself when the sandbox ends.
    async fn attach(&self, sandbox: Sandbox) -> Result<Self::Session, BoxError>;
}

/// How a pool is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// Sandboxes that are kept in any case.
    pub min: usize,
    /// Sandboxes at most, those included that are ending.
    pub max: usize,
    /// Sandboxes without load that are kept ready, as far as `max` allows.
    pub spare: usize,
    /// Slots of one sandbox.
    pub per_sandbox: usize,
    /// How long somebody may wait before more is started.
    pub queue: Duration,
    /// How long a sandbox may be without load before it is ended.
    pub idle: Duration,
    /// Callers that may wait.
    pub waiting: usize,
    /// How long they may wait.
    pub patience: Duration,
    /// How long a sandbox may take until it serves.
    pub start: Duration,
    /// How long a sandbox may take to end when its input is closed.
    pub grace: Duration,
    /// How long nothing is started after a start has failed.
    pub pause: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            min: 0,
            max: 4,
            spare: 1,
            per_sandbox: 8,
            queue: Duration::from_millis(200),
            idle: Duration::from_mins(5),
            waiting: 64,
            patience: Duration::from_secs(10),
            start: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            pause: Duration::from_secs(2),
        }
    }
}

/// What a pool has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Sandboxes that were started and serve nobody yet.
    pub starting: usize,
    /// Sandboxes that serve.
    pub ready: usize,
    /// Sandboxes that are ending.
    pub ending: usize,
    /// Slots that are taken.
    pub taken: usize,
    /// Callers that wait.
    pub waiting: usize,
}

/// Sandboxes of one specification. Clones are the same pool. When the last is dropped, its sandboxes end.
pub struct Pool<H: SandboxHandler> {
    shared: Arc<Shared<H>>,
    running: Arc<DropGuard>,
}

impl<H: SandboxHandler> Clone for Pool<H> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), running: self.running.clone() }
    }
}

impl<H: SandboxHandler> Pool<H> {
    /// Begins to keep `min` and `spare` sandboxes.
    pub fn new(
        driver: Arc<dyn Driver>,
        handler: Arc<H>,
        spec: SandboxSpec,
        settings: PoolSettings,
        tasks: &TaskTracker,
    ) -> Self {
        let ended = CancellationToken::new();
        let shared = Arc::new(Shared::new(driver, handler, spec, settings, tasks.clone(), ended.clone()));
        tasks.spawn(work::keep(shared.clone()));
        Self { shared, running: Arc::new(ended.drop_guard()) }
    }

    /// A slot of a sandbox that serves; callers are served in the order in which they came. [`SandboxError::Busy`] when too many
    /// wait already, or the wait was too long.
    pub async fn checkout(&self) -> Result<Slot<H>, SandboxError> {
        let (sender, given) = oneshot::channel();
        match self.shared.ask(sender) {
            Asked::Given(slot) => return Ok(slot),
            Asked::Closed => return Err(SandboxError::Closed),
            Asked::Full => return Err(self.shared.busy()),
            Asked::Waits => {}
        }
        // Whoever goes away while he waits is forgotten with the next look at the queue.
        match timeout(self.shared.settings.patience, given).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(SandboxError::Closed),
            Err(_) => Err(self.shared.busy()),
        }
    }

    /// What it has now.
    pub fn status(&self) -> PoolStatus {
        self.shared.status()
    }

    /// Gives nothing out any more, waits for what is out as long as `patience`, then ends all sandboxes. Done when
    /// they are gone, or half a minute after they should have been.
    pub async fn drain(&self, patience: Duration) {
        self.shared.close();
        let _ = timeout(patience, self.shared.until(|status| status.taken == 0)).await;
        self.shared.end_all();
        let gone = self.shared.until(|status| status.starting + status.ready + status.ending == 0);
        let _ = timeout(self.shared.settings.grace + RELUCTANT, gone).await;
    }
}
