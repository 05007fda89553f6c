//! The sandboxes of applications: programs that take executions over MCP, in the pools that the definitions ask for.

mod owner;

use std::{
    collections::BTreeMap,
    error::Error,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use nexus_mcp::StreamServer;
use nexus_model::{AppName, RuntimeStore, SandboxPool, StoreError};
use nexus_sandbox::{
    BoxError, BuildSpec, Built, Driver, ImageReference, Owner, PoolName, PoolPart, PoolSettings, PoolStatus, Sandbox,
    SandboxError, SandboxHandle, SandboxHandler, SandboxManager, SandboxSpec, Slot,
};
use tokio::sync::mpsc;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    Core,
    catalogue::WorkerCatalogue,
    registry::{ApplicationRegistry, Definition},
    work::{Brought, Desk, Work, WorkError},
};

/// How often it is looked for sandboxes of hosts that are gone.
const REAP_EVERY: Duration = Duration::from_secs(10);
/// How long a sandbox may go on when the host stops.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sandboxes that walk the workflows of one application.
const WALKERS: usize = 4;
/// Executions that one of them walks at one time.
const WALKED: usize = 64;
/// Its memory, in bytes.
const WALKER_MEMORY: u64 = 384 << 20;
/// After how long without work one is stopped.
const WALKER_IDLE: Duration = Duration::from_mins(10);

/// Programs that work for applications. Without a driver there are none, and executions that need one are told why.
pub(crate) struct Sandboxes {
    manager: OnceLock<SandboxManager<Workers>>,
    /// Why there is no driver yet.
    missing: Mutex<String>,
    /// What tells the hosts on this store from others on an engine, once it is known.
    installation: OnceLock<String>,
    /// The program that walks workflows, if it is known where it is.
    walker: Option<PathBuf>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Sandboxes {
    pub(crate) fn new(walker: Option<PathBuf>, tasks: TaskTracker, cancel: CancellationToken) -> Self {
        let missing = Mutex::new("no engine is configured".to_owned());
        Self { manager: OnceLock::new(), missing, installation: OnceLock::new(), walker, tasks, cancel }
    }

    /// Says why there is no driver.
    pub(crate) fn missing(&self, why: String) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// This host as owner of sandboxes. From now on others see that it lives.
    pub(crate) async fn own(&self, runtime: &Arc<dyn RuntimeStore>) -> Result<Owner, StoreError> {
        let owner = owner::new_owner(runtime).await?;
        let _ = self.installation.set(owner.host.clone());
        owner::lease(runtime, &owner.lease).take().await?;
        self.tasks.spawn(owner::hold(Arc::clone(runtime), owner.clone(), self.cancel.clone()));
        Ok(owner)
    }

    /// Takes up a driver, once, and keeps the pools as the definitions want them from then on.
    pub(crate) fn connect(self: &Arc<Self>, driver: Arc<dyn Driver>, core: &Core) {
        let manager = SandboxManager::new(driver, self.tasks.clone());
        manager.reap_on_a_clock(
            Arc::new(owner::StoreOwners(Arc::clone(core.store()))),
            REAP_EVERY,
            self.cancel.child_token(),
        );
        if self.manager.set(manager).is_err() {
            return;
        }
        let (sandboxes, core, cancel) = (Arc::clone(self), core.clone(), self.cancel.clone());
        self.tasks.spawn(async move {
            let following = sandboxes.follow(&core);
            cancel.run_until_cancelled(following).await;
        });
    }

    async fn follow(&self, core: &Core) {
        let mut swaps = core.registry.swaps();
        let mut known = BTreeMap::new();
        loop {
            swaps.mark_unchanged();
            self.adjust(core, &mut known).await;
            if swaps.changed().await.is_err() {
                return;
            }
        }
    }

    async fn adjust(&self, core: &Core, known: &mut BTreeMap<PoolName, Wanted>) {
        let Some(manager) = self.manager.get() else { return };
        let wanted = wanted(&core.registry);
        known.retain(|name, _| {
            let stays = wanted.contains_key(name);
            if !stays {
                manager.remove(name);
            }
            stays
        });
        for (name, pool) in wanted {
            if known.get(&name) == Some(&pool) {
                continue;
            }
            let made = match &pool {
                Wanted::Program(pool) => spec(&name.app, pool).map(|spec| (spec, settings(pool))),
                Wanted::Walker => self.walker(manager, &name.app).await,
            };
            match made {
                Ok((spec, settings)) => {
                    let workers = Workers {
                        core: core.clone(),
                        app: name.app.clone(),
                        tasks: self.tasks.clone(),
                        cancel: self.cancel.clone(),
                    };
                    manager.set(name.clone(), Arc::new(workers), spec, settings);
                }
                // A definition was checked, and a program was there before: what is wrong is new.
                Err(error) => {
                    let app = &name.app;
                    tracing::error!(%app, error = causes(&*error), "the sandboxes of an application cannot be kept");
                }
            }
            known.insert(name, pool);
        }
    }

    /// What walks workflows: the host's own program.
    async fn walker(
        &self,
        manager: &SandboxManager<Workers>,
        app: &AppName,
    ) -> Result<(SandboxSpec, PoolSettings), BoxError> {
        let program = self.walker.as_ref().ok_or("it is not known where the host's own program is")?;
        let mut spec = manager.own_program(program).await?;
        spec.limits.memory = WALKER_MEMORY;
        spec.labels.insert("app".to_owned(), app.to_string());
        let settings = PoolSettings { max: WALKERS, per_sandbox: WALKED, idle: WALKER_IDLE, ..PoolSettings::default() };
        Ok((spec, settings))
    }

    /// Has an execution done by a sandbox of its application, within `left`.
    pub(crate) fn work(&self, work: Work, left: Duration) -> BoxFuture<'_, Result<Brought, WorkError>> {
        let pool = PoolName { app: work.application.app.name.clone(), part: PoolPart::Workers };
        Box::pin(self.work_plain(work, left, pool))
    }

    /// Has an execution walked by a sandbox for workflows of its application.
    pub(crate) fn walk(&self, work: Work) -> BoxFuture<'_, Result<Brought, WorkError>> {
        let left = work.until.saturating_duration_since(std::time::Instant::now());
        let pool = PoolName { app: work.application.app.name.clone(), part: PoolPart::Workflows };
        Box::pin(self.work_plain(work, left, pool))
    }

    /// Whether there is what starts sandboxes.
    pub(crate) fn check(&self) -> Result<(), WorkError> {
        self.manager.get().map(drop).ok_or_else(|| WorkError::NoSandbox(self.why()))
    }

    async fn work_plain(&self, work: Work, left: Duration, pool: PoolName) -> Result<Brought, WorkError> {
        let manager = self.manager.get().ok_or_else(|| WorkError::NoSandbox(self.why()))?;
        let slot = tokio::time::timeout(left, place(manager, &pool)).await;
        let slot = slot.map_err(|_| WorkError::Late(left))?.map_err(refused)?;
        let left = work.until.saturating_duration_since(std::time::Instant::now());
        let desk = &slot.session().desk;
        tokio::select! {
            outcome = desk.done(work, left) => outcome,
            exit = slot.sandbox().wait() => {
                let said = slot.sandbox().complaints();
                tracing::warn!(sandbox = slot.sandbox().id(), code = exit.code, said, "a sandbox ended with work in it");
                Err(WorkError::Lost(format!("exit code {}", exit.code.map_or("unknown".to_owned(), |code| code.to_string()))))
            }
        }
    }

    /// A sandbox that belongs to no pool.
    pub(crate) async fn start(&self, spec: &SandboxSpec) -> Result<Sandbox, SandboxStartError> {
        let manager = self.manager.get().ok_or_else(|| SandboxStartError::Missing(self.why()))?;
        Ok(manager.start(spec).await?)
    }

    /// The name at the engine of what belongs to a server of an application, and to no other installation's.
    pub(crate) fn name_of(&self, app: &AppName, server: &str) -> String {
        format!("nexus-{}-{app}-{server}", self.installation.get().map_or("none", String::as_str))
    }

    /// Makes an image, telling `progress` how far it is.
    pub(crate) async fn build(
        &self,
        spec: BuildSpec,
        progress: mpsc::Sender<String>,
    ) -> Result<Built, SandboxStartError> {
        let manager = self.manager.get().ok_or_else(|| SandboxStartError::Missing(self.why()))?;
        Ok(manager.build(spec, progress).await?)
    }

    /// What each application has; `None` where there is no driver, for this reason.
    pub(crate) fn status(&self) -> Result<BTreeMap<PoolName, PoolStatus>, String> {
        self.manager.get().map(SandboxManager::status).ok_or_else(|| self.why())
    }

    /// Ends all sandboxes of all pools, gently at first.
    pub(crate) fn drain(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.drain_plain())
    }

    async fn drain_plain(&self) {
        if let Some(manager) = self.manager.get() {
            manager.drain(PATIENCE).await;
        }
    }

    fn why(&self) -> String {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A place in a sandbox that can be spoken with.
async fn place(manager: &SandboxManager<Workers>, pool: &PoolName) -> Result<Slot<Workers>, SandboxError> {
    loop {
        let slot = manager.checkout(pool).await?;
        if !slot.session().desk.ended.is_cancelled() {
            return Ok(slot);
        }
        // It is about to end: the pool gives it out no more once it has.
        slot.sandbox().kill().await;
    }
}

/// Why a sandbox was not started, or no image was made for one.
#[derive(Debug, thiserror::Error)]
pub enum SandboxStartError {
    /// There is no driver, for this reason.
    #[error("there are no sandboxes: {0}")]
    Missing(String),
    /// The driver has refused, or failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// What a pool is made of.
#[derive(Debug, PartialEq)]
enum Wanted {
    /// A program of the application's.
    Program(SandboxPool),
    /// The host's own, which walks workflows.
    Walker,
}

fn wanted(registry: &ApplicationRegistry) -> BTreeMap<PoolName, Wanted> {
    let mut pools = BTreeMap::new();
    for app in registry.names() {
        let Some(Ok(application)) = registry.callable(app.as_str()) else { continue };
        if let Some(pool) = application.app.sandbox.clone() {
            pools.insert(PoolName { app: app.clone(), part: PoolPart::Workers }, Wanted::Program(pool));
        }
        if application.operations.values().any(|entry| matches!(entry.definition, Definition::Workflow)) {
            pools.insert(PoolName { app, part: PoolPart::Workflows }, Wanted::Walker);
        }
    }
    pools
}

fn spec(app: &AppName, pool: &SandboxPool) -> Result<SandboxSpec, BoxError> {
    let image: ImageReference = pool.image.parse()?;
    let mut spec = SandboxSpec::new(image);
    spec.command.clone_from(&pool.command);
    spec.limits.memory = pool.memory_mib << 20;
    spec.labels.insert("app".to_owned(), app.to_string());
    Ok(spec)
}

fn settings(pool: &SandboxPool) -> PoolSettings {
    PoolSettings {
        min: pool.min,
        max: pool.max,
        spare: pool.warm,
        per_sandbox: pool.per_sandbox,
        idle: pool.idle,
        ..PoolSettings::default()
    }
}

fn refused(error: SandboxError) -> WorkError {
    match error {
        SandboxError::Busy { retry_after } => WorkError::Busy { retry_after },
        error => WorkError::NoSandbox(causes(&error)),
    }
}

/// An error with all that caused it, in one line.
pub(crate) fn causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (**error).source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

/// Makes workers of the sandboxes of one application.
pub(crate) struct Workers {
    core: Core,
    app: AppName,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// A sandbox that can be given executions.
pub(crate) struct Worker {
    desk: Arc<Desk>,
    _serving: DropGuard,
}

#[async_trait]
impl SandboxHandler for Workers {
    type Session = Worker;

    async fn attach(&self, sandbox: Sandbox) -> Result<Worker, BoxError> {
        let Sandbox { input, output, handle } = sandbox;
        let ended = self.cancel.child_token();
        let desk = Arc::new(Desk::new(ended.clone()));
        let catalogue = WorkerCatalogue {
            core: self.core.clone(),
            app: self.app.clone(),
            sandbox: handle.id().to_owned(),
            desk: Arc::clone(&desk),
        };
        let serving = StreamServer::begin(
            Box::new(output),
            Box::new(input),
            Arc::new(catalogue),
            rand::random(),
            self.tasks.clone(),
            ended.clone(),
        )
        .await?;
        self.tasks.spawn(watch(serving, handle, ended.clone()));
        Ok(Worker { desk, _serving: ended.drop_guard() })
    }
}

/// Ends a sandbox when nobody can speak with it any more.
async fn watch(serving: StreamServer, handle: SandboxHandle, ended: CancellationToken) {
    let why = serving.ended().await;
    if let Err(error) = why
        && handle.ended().is_none()
    {
        tracing::warn!(sandbox = handle.id(), %error, said = handle.complaints(), "a sandbox cannot be spoken with; it is ended");
    }
    ended.cancel();
    handle.wait_or_kill(PATIENCE).await;
}
