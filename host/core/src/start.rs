//! Everything put together.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use nexus_egress::Egress;
use nexus_mcp::hub::{HubConfig, McpHub};
use nexus_model::{
    ComponentHost, DefinitionStore, ModelProvider, OperationRef, PluginHost, RuntimeStore, SilentCaller, StoreError,
    ToolCaller,
};
use nexus_sandbox::{Driver, Owner, PoolName, PoolStatus};
use nexus_signals::{EventBus, EventsConfig, MetricCollector, Window};
use time::OffsetDateTime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    audit::Auditor,
    audit_log::AuditLog,
    budget::Budgets,
    changes::{Changes, Topic},
    durable::Durable,
    events::{EventParts, Events, SecretLookup},
    executions::{Executions, ExecutionsConfig, Told},
    keys::KeyRing,
    memory::Memory,
    oracle::{OptimizationOracle, OracleConfig, OracleParts},
    outgoing::Outgoing,
    registry::{ApplicationRegistry, RegistryError, Remote},
    router::{InFlight, RequestRouter, RouterConfig, Sampler},
    sandboxes::Sandboxes,
    secret::MasterKey,
    servers::{Connecting, HostProgram, ImageMaking, ServerGate, Servers, VaultTokens},
    tools::{ToolAnswer, ToolCall, ToolError, ToolManager, ToolParts},
    traces::TraceBook,
    vault::SecretVault,
};

/// How often metrics are written down.
const METRICS_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether another replica changed secrets.
const SECRETS_EVERY: Duration = Duration::from_millis(500);
/// How often it is written down when keys were used last.
const KEY_USES_EVERY: Duration = Duration::from_secs(30);

/// What Nexus stands on.
#[derive(Clone)]
pub struct Parts {
    /// Applications as files.
    pub definitions: Arc<dyn DefinitionStore>,
    /// State that changes while Nexus runs.
    pub runtime: Arc<dyn RuntimeStore>,
    /// Secrets in the runtime store.
    pub vault: Arc<SecretVault>,
    /// Language models.
    pub models: Arc<dyn ModelProvider>,
    /// The Wasm tier.
    pub components: Arc<dyn ComponentHost>,
    /// The Wasm tier, for plugins.
    pub plugins: Arc<dyn PluginHost>,
    /// Where applications have folders of their own.
    pub folders: PathBuf,
    /// What is counted.
    pub metrics: Arc<MetricCollector>,
    /// What is told.
    pub events: EventBus,
    /// The secrets that definitions name.
    pub secrets: SecretLookup,
    /// Requests to the outside.
    pub egress: Egress,
    /// Programs that the operator lets applications use as MCP servers, by name.
    pub programs: BTreeMap<String, HostProgram>,
    /// How images of community servers are made.
    pub images: ImageMaking,
    /// The program that walks workflows in sandboxes, if it is known where it is.
    pub walker: Option<PathBuf>,
    /// The remote of the definitions, if there is one.
    pub remote: Option<Remote>,
    /// Every task; a drain waits for it.
    pub tracker: TaskTracker,
    /// Ends every loop.
    pub cancel: CancellationToken,
}

/// How the heart works.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// The aliases of models in the settings; a prompt that names another is a fault.
    pub known_models: Vec<String>,
    /// How the oracle works.
    pub oracle: OracleConfig,
    /// How long executions are kept.
    pub executions: ExecutionsConfig,
    /// How events are kept and worked off.
    pub events: EventsConfig,
    /// Time between two looks for new commits.
    pub reload_every: Duration,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            known_models: Vec::new(),
            oracle: OracleConfig::default(),
            executions: ExecutionsConfig::default(),
            events: EventsConfig::default(),
            reload_every: Duration::from_millis(500),
        }
    }
}

/// Why Nexus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The runtime store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the store cannot be opened.
    #[error(
        "the runtime store was sealed under another master key: API keys, secrets and the audit log in it cannot be opened \
         with this one. Bring back the file `master-key` of the data directory, or what NEXUS_MASTER_KEY held. If it is \
         lost, so are they: begin with an empty runtime store, then make keys and set secrets anew; the definitions in Git \
         need no key"
    )]
    OtherMasterKey,
    /// The definitions.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What connects to MCP servers.
    #[error("MCP servers cannot be connected to: {0}")]
    Hub(String),
}

/// Why Nexus takes no calls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The runtime store does not answer.
    #[error("{0}")]
    Store(String),
}

/// The running heart of Nexus. Cloning it is cheap.
#[derive(Clone)]
pub struct Core {
    /// Which applications there are.
    pub registry: Arc<ApplicationRegistry>,
    /// Who answers a call.
    pub router: Arc<RequestRouter>,
    /// When code takes over.
    pub oracle: Arc<OptimizationOracle>,
    /// What happened.
    pub executions: Arc<Executions>,
    /// What applications are to remember.
    pub memory: Arc<Memory>,
    /// Who may call.
    pub keys: Arc<KeyRing>,
    /// What happens, and what is done about it.
    pub events: Arc<Events>,
    /// Who changed what, and who was turned away.
    pub audit_log: Arc<AuditLog>,
    /// Secrets in the runtime store.
    pub vault: Arc<SecretVault>,
    /// What applications spend on models.
    pub budgets: Arc<Budgets>,
    /// The tools of applications.
    pub tools: Arc<ToolManager>,
    servers: Arc<Servers>,
    sandboxes: Arc<Sandboxes>,
    durable: Arc<Durable>,
    parts: Parts,
}

impl Core {
    /// Reads keys, metrics and applications, puts active code back in its place, and starts the loops on the tracker.
    pub async fn start(config: CoreConfig, parts: Parts, master: &MasterKey) -> Result<Self, StartError> {
        if !master.is_of(parts.runtime.as_ref()).await? {
            return Err(StartError::OtherMasterKey);
        }
        let keys = Arc::new(KeyRing::load(Arc::clone(&parts.runtime), master).await?);
        let audit_log = Arc::new(AuditLog::new(Arc::clone(&parts.runtime), master));
        parts.metrics.restore(parts.runtime.as_ref()).await?;
        let registry = Arc::new(ApplicationRegistry::new(&parts, config.known_models));
        let host = Uuid::now_v7().to_string();
        let events = Arc::new(events(config.events, &parts, &registry, &host));
        events.start_logging();
        registry.refresh().await?;
        let metrics = Arc::clone(&parts.metrics);
        let lost = move |count| metrics.host().record_traces_dropped(count);
        let traces = Arc::new(TraceBook::start(Arc::clone(&parts.runtime), lost, &parts.tracker));
        let metrics = Arc::clone(&parts.metrics);
        let executions = Arc::new(Executions::start(
            config.executions,
            Arc::clone(&parts.runtime),
            move |count| metrics.host().record_executions_dropped(count),
            Told { events: parts.events.clone(), metrics: Arc::clone(&parts.metrics) },
            &parts.tracker,
        ));
        let budgets = Arc::new(Budgets::new(
            Arc::clone(&parts.runtime),
            Arc::clone(&parts.models),
            Arc::clone(parts.metrics.host()),
        ));
        let oracle = Arc::new(oracle(&config.oracle, &parts, &registry, &traces, &budgets, &host));
        oracle.adopt_all().await;
        let sandboxes = Arc::new(Sandboxes::new(parts.walker.clone(), parts.tracker.clone(), parts.cancel.clone()));
        let durable = Arc::new(Durable::new(
            Arc::clone(&parts.runtime),
            Arc::clone(&registry),
            Arc::clone(&executions),
            host.clone(),
            parts.cancel.clone(),
        ));
        let answering = Answering {
            traces,
            executions: Arc::clone(&executions),
            budgets: Arc::clone(&budgets),
            sandboxes: Arc::clone(&sandboxes),
            durable: Arc::clone(&durable),
        };
        let router = Arc::new(router(&config.oracle, &parts, &registry, answering));
        events.start_triggers(&router, &executions);
        let memory = Memory::start(Arc::clone(&parts.definitions), &parts.tracker, parts.cancel.clone());
        let vault = Arc::clone(&parts.vault);
        let tools = Arc::new(tools(&parts, &registry, &budgets, &events));
        let servers = Arc::new(servers(&parts, &sandboxes)?);
        let core = Self {
            registry,
            router,
            oracle,
            executions,
            memory: Arc::new(memory),
            keys,
            events,
            audit_log,
            vault,
            budgets,
            tools,
            servers,
            sandboxes,
            durable,
            parts,
        };
        core.servers.adjust(&core);
        core.spawn_loops(config.reload_every);
        Ok(core)
    }

    fn spawn_loops(&self, reload_every: Duration) {
        let (following, cancel) = (Arc::clone(&self.servers).follow(self.clone()), self.parts.cancel.clone());
        self.parts.tracker.spawn(async move { cancel.run_until_cancelled(following).await });
        self.parts.tracker.spawn(Arc::clone(&self.durable).drive_all(self.clone()));
        self.parts.tracker.spawn(Arc::clone(&self.durable).take_over());
        let durable = Arc::clone(&self.durable);
        self.parts.tracker.spawn(async move { durable.keep_time().await });
        let (durable, core) = (Arc::clone(&self.durable), self.clone());
        self.parts.tracker.spawn(async move { durable.listen(&core).await });
        self.parts.tracker.spawn(Arc::clone(&self.oracle).watch());
        self.parts.tracker.spawn(Arc::clone(&self.oracle).listen());
        self.audit_log.spawn(&self.parts.tracker, self.parts.cancel.clone());
        let (vault, cancel) = (Arc::clone(&self.vault), self.parts.cancel.clone());
        self.parts.tracker.spawn(async move {
            while wait(SECRETS_EVERY, &cancel).await {
                if let Err(error) = vault.refresh().await {
                    tracing::warn!(%error, "secrets could not be read again; those that are known stay");
                }
            }
        });
        let (keys, cancel) = (Arc::clone(&self.keys), self.parts.cancel.clone());
        self.parts.tracker.spawn(async move {
            while wait(KEY_USES_EVERY, &cancel).await {
                if let Err(error) = keys.flush_uses().await {
                    tracing::warn!(%error, "when keys were used last could not be written down; it is kept in memory");
                }
            }
        });
        self.parts.tracker.spawn(Arc::clone(&self.keys).follow(self.parts.cancel.clone()));
        let (registry, cancel) = (Arc::clone(&self.registry), self.parts.cancel.clone());
        self.parts.tracker.spawn(async move {
            while wait(reload_every, &cancel).await {
                if let Err(error) = registry.refresh().await {
                    tracing::error!(%error, "what is loaded goes on serving");
                }
            }
        });
        self.parts.tracker.spawn(Arc::clone(&self.registry).listen(self.parts.cancel.clone()));
        self.parts.tracker.spawn(Arc::clone(&self.registry).keep_in_step(self.parts.cancel.clone()));
        let parts = self.parts.clone();
        self.parts.tracker.spawn(async move {
            while wait(METRICS_EVERY, &parts.cancel).await {
                if let Err(error) = parts.metrics.flush(parts.runtime.as_ref(), OffsetDateTime::now_utc()).await {
                    tracing::warn!(%error, "metrics could not be written down; they are kept in memory");
                }
            }
        });
    }

    /// Calls a tool of an application within its time limit, in its share of concurrency.
    pub async fn call_tool(&self, call: ToolCall<'_>) -> Result<ToolAnswer, ToolError> {
        self.call_tool_for(call, Arc::new(SilentCaller)).await
    }

    /// As [`Core::call_tool`], for a caller that the tool may speak with if its plugin is granted that.
    pub async fn call_tool_for(
        &self,
        call: ToolCall<'_>,
        caller: Arc<dyn ToolCaller>,
    ) -> Result<ToolAnswer, ToolError> {
        self.tools.call(self, call, caller).await
    }

    /// This host as owner of sandboxes, for a driver. From now on other hosts on the store see that it lives.
    pub async fn own_sandboxes(&self) -> Result<Owner, StoreError> {
        self.sandboxes.own(&self.parts.runtime).await
    }

    /// Has sandboxes started by this driver from now on. Only the first is taken.
    pub fn connect_sandboxes(&self, driver: Arc<dyn Driver>) {
        self.sandboxes.connect(driver, self);
    }

    /// Says why there are no sandboxes, to whoever needs one.
    pub fn sandboxes_missing(&self, why: String) {
        self.sandboxes.missing(why);
    }

    /// The sandboxes of each application; an error that says why there are none.
    pub fn sandbox_status(&self) -> Result<BTreeMap<PoolName, PoolStatus>, String> {
        self.sandboxes.status()
    }

    /// Executions of workflows.
    pub(crate) fn durable(&self) -> &Arc<Durable> {
        &self.durable
    }

    /// Where programs work for applications.
    pub(crate) fn sandboxes(&self) -> &Sandboxes {
        &self.sandboxes
    }

    /// Every task of the host.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.parts.tracker
    }

    /// Requests to the outside that the host makes for applications.
    pub(crate) fn outgoing(&self) -> Outgoing {
        Outgoing { egress: self.parts.egress.clone(), secrets: Arc::clone(&self.parts.secrets) }
    }

    /// Outside MCP servers.
    pub(crate) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The runtime store, to be held on to.
    pub(crate) fn store(&self) -> &Arc<dyn RuntimeStore> {
        &self.parts.runtime
    }

    /// State that changes while Nexus runs.
    pub(crate) fn runtime(&self) -> &dyn RuntimeStore {
        self.parts.runtime.as_ref()
    }

    /// Whether calls can be taken.
    pub async fn check_ready(&self) -> Result<(), NotReady> {
        if self.parts.cancel.is_cancelled() {
            return Err(NotReady::Stopping);
        }
        self.parts.runtime.ping().await.map_err(|error| NotReady::Store(error.to_string()))
    }

    /// An operation's minutes from the minute `from` on, over all hosts on the store.
    pub async fn windows(
        &self,
        operation: &OperationRef,
        from: u64,
        now: OffsetDateTime,
    ) -> Result<Vec<Window>, StoreError> {
        self.parts.metrics.windows_of_all(self.parts.runtime.as_ref(), operation, from, now).await
    }

    /// Writes down what is still in memory. To be called after the last request.
    pub async fn drain(&self) {
        self.sandboxes.drain().await;
        if let Err(error) = self.executions.settle().await {
            tracing::warn!(%error, "the last executions are lost");
        }
        self.parts.events.settle().await;
        if let Err(error) = self.keys.flush_uses().await {
            tracing::warn!(%error, "when keys were used last was lost");
        }
        if let Err(error) = self.parts.metrics.flush(self.parts.runtime.as_ref(), OffsetDateTime::now_utc()).await {
            tracing::warn!(%error, "the last metrics were lost");
        }
    }
}

/// Waits; `false` when the host stops.
pub(crate) async fn wait(duration: Duration, cancel: &CancellationToken) -> bool {
    tokio::select! {
        () = cancel.cancelled() => false,
        () = tokio::time::sleep(duration) => true,
    }
}

fn events(config: EventsConfig, parts: &Parts, registry: &Arc<ApplicationRegistry>, host: &str) -> Events {
    let event_parts = EventParts {
        runtime: Arc::clone(&parts.runtime),
        registry: Arc::clone(registry),
        bus: parts.events.clone(),
        metrics: Arc::clone(&parts.metrics),
        secrets: Arc::clone(&parts.secrets),
        host: host.to_owned(),
        tracker: parts.tracker.clone(),
        cancel: parts.cancel.clone(),
    };
    Events::new(config, event_parts)
}

fn oracle(
    config: &OracleConfig,
    parts: &Parts,
    registry: &Arc<ApplicationRegistry>,
    traces: &Arc<TraceBook>,
    budgets: &Arc<Budgets>,
    host: &str,
) -> OptimizationOracle {
    let oracle_parts = OracleParts {
        registry: Arc::clone(registry),
        runtime: Arc::clone(&parts.runtime),
        definitions: Arc::clone(&parts.definitions),
        budgets: Arc::clone(budgets),
        components: Arc::clone(&parts.components),
        traces: Arc::clone(traces),
        told: Changes::new(Arc::clone(&parts.runtime), Topic::Code),
        events: parts.events.clone(),
        host: host.to_owned(),
        tracker: parts.tracker.clone(),
        cancel: parts.cancel.clone(),
    };
    OptimizationOracle::new(oracle_parts, config.clone())
}

fn servers(parts: &Parts, sandboxes: &Arc<Sandboxes>) -> Result<Servers, StartError> {
    let config = HubConfig { egress: parts.egress.config().clone(), ..HubConfig::default() };
    let hub = McpHub::new(config, parts.tracker.clone(), parts.cancel.clone()).map_err(StartError::Hub)?;
    let connecting = Connecting {
        sandboxes: Arc::clone(sandboxes),
        programs: parts.programs.clone(),
        secrets: Arc::clone(&parts.secrets),
        tokens: Arc::new(VaultTokens(Arc::clone(&parts.vault))),
        gate: Arc::new(ServerGate::new(parts.egress.clone())),
        tasks: parts.tracker.clone(),
    };
    Ok(Servers::new(hub, connecting, parts.images.clone()))
}

fn tools(
    parts: &Parts,
    registry: &Arc<ApplicationRegistry>,
    budgets: &Arc<Budgets>,
    events: &Arc<Events>,
) -> ToolManager {
    ToolManager::new(ToolParts {
        registry: Arc::clone(registry),
        runtime: Arc::clone(&parts.runtime),
        secrets: Arc::clone(&parts.secrets),
        budgets: Arc::clone(budgets),
        events: Arc::clone(events),
        metrics: Arc::clone(&parts.metrics),
        folders: parts.folders.clone(),
    })
}

/// What answers calls, beside the registry.
struct Answering {
    traces: Arc<TraceBook>,
    executions: Arc<Executions>,
    budgets: Arc<Budgets>,
    sandboxes: Arc<Sandboxes>,
    durable: Arc<Durable>,
}

fn router(
    config: &OracleConfig,
    parts: &Parts,
    registry: &Arc<ApplicationRegistry>,
    answering: Answering,
) -> RequestRouter {
    let Answering { traces, executions, budgets, sandboxes, durable } = answering;
    RequestRouter {
        registry: Arc::clone(registry),
        auditor: Auditor::new(Arc::clone(&budgets), Arc::clone(&traces), parts.tracker.clone(), parts.cancel.clone()),
        config: RouterConfig { audit_share: config.audit_share, component_deadline: config.component_deadline() },
        sampler: Sampler::new(executions.config.components_per_second),
        budgets,
        executions,
        traces,
        sandboxes,
        durable,
        in_flight: InFlight::default(),
    }
}
