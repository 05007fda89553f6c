//! A server's life: build, listen, drain, stop.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use nexus_core::{Core, CoreConfig, MasterKey, NewKey, Parts, Principal, Remote, Scope, SecretLookup, SecretVault};
use nexus_llm::{KeyReference, LanguageModels};
use nexus_mcp::{McpHttpConfig, McpService};
use nexus_model::{ComponentHost, SecretOwner, SecretSource};
use nexus_signals::{
    EventBus, HostMetrics, LogBook, LogQueue, LogRecords, MetricCollector, Redactor, Retention, Telemetry,
};
use nexus_state::{GitDefinitions, GitRemote};
use nexus_wasm::{CacheKey, ChildCommand, WasmConfig, WasmHost};
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    apps_folder::AppsFolder,
    data_dir::DataDir,
    environment::Environment,
    http::{Access, Api, Door, Shared},
    listener::Acceptor,
    runtime_store::OpenStore,
    sandboxes,
    secrets::AllSecrets,
    settings::Settings,
    start_error::StartError,
};

/// How long connections may take to send their last bytes once nothing is in flight any more.
const LAST_BYTES: Duration = Duration::from_secs(1);
/// Bodies of definitions, each as large as `limits.definition_bytes` may be, that are in memory at one time.
const DEFINITION_BODIES: usize = 4;

/// Readers that may follow events at one time.
const FOLLOWERS: usize = 256;

/// Sessions of MCP clients that may be open at one time. An idle one ends after five minutes.
const MCP_SESSIONS: usize = 1_000;

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// The key that the first start made, and where it is.
#[derive(Debug)]
pub enum AdminKey {
    /// There were keys already, or none are asked for.
    None,
    /// It was not written down: whoever started the server shows it, this once.
    Shown(SecretString),
    /// It is in this file, which only the owner can read.
    File(PathBuf),
}

/// What a start is told beside the settings.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Where the keys of models and the master key are looked up.
    pub environment: Environment,
    /// Hand the first key to the caller instead of writing it to a file.
    pub show_admin_key: bool,
    /// What is said in this process, to be kept in the data directory; nothing if `None`.
    pub log: Option<LogRecords>,
    /// Where metrics are exported to; nowhere if `None`.
    pub telemetry: Option<Telemetry>,
    /// Where this process counts what concerns no operation.
    pub metrics: Arc<HostMetrics>,
    /// Learns each secret that is opened, to mask it in what is said.
    pub redactor: Redactor,
}

/// A server that runs until it is stopped.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The key that this start made, if it made one.
    pub admin_key: AdminKey,
    api: Api,
    store: OpenStore,
    connections: TaskTracker,
    tasks: TaskTracker,
    close: CancellationToken,
    abort: CancellationToken,
    cancel: CancellationToken,
    drain: Duration,
    in_flight: usize,
    data: DataDir,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server with the environment of this process, its first key in a file.
    pub async fn start(settings: Settings) -> Result<Running, StartError> {
        let surroundings = Surroundings { environment: Environment::of_process(), ..Surroundings::default() };
        Self::start_in(settings, surroundings).await
    }

    /// Starts a server. Nothing listens before everything else is in order: the settings, the data directory, the
    /// stores, the applications.
    pub async fn start_in(settings: Settings, mut surroundings: Surroundings) -> Result<Running, StartError> {
        let faults = settings.faults();
        if !faults.is_empty() {
            return Err(StartError::Settings(faults));
        }
        let data = DataDir::open(&settings.data_dir)?;
        let Surroundings { environment, redactor, .. } = &surroundings;
        let master = data.master_key(environment.get("NEXUS_MASTER_KEY"), redactor)?;
        let secrets = AllSecrets::of_operator(&settings.secrets_dir, environment, redactor);
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let store = OpenStore::open(&settings, &data, &secrets, (&tasks, &cancel)).await?;
        let metrics =
            Arc::new(MetricCollector::of_replica(data.replica()?).with_host(Arc::clone(&surroundings.metrics)));
        let log = log(&settings, &data, surroundings.log.take(), &metrics, &tasks)?;
        let base = Base { settings, data, store, metrics, log, tasks, cancel };
        match base.build(&master, secrets, surroundings).await {
            Ok(built) => Ok(base.serve(built)),
            Err(error) => {
                base.cancel.cancel();
                base.log.close();
                base.tasks.close();
                // What does not end by then does not hold the store either.
                let _ = tokio::time::timeout(LAST_BYTES, base.tasks.wait()).await;
                if let Err(error) = base.store.close().await {
                    tracing::error!(%error, "the runtime store could not be closed");
                }
                Err(error)
            }
        }
    }
}

/// What is there before anything else, and is given back if the rest fails.
struct Base {
    settings: Settings,
    data: DataDir,
    store: OpenStore,
    metrics: Arc<MetricCollector>,
    log: LogBook,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// What listens.
struct Built {
    /// Seals what MCP clients keep for the server.
    mcp_key: [u8; 32],
    core: Core,
    secrets: Arc<AllSecrets>,
    admin_key: AdminKey,
    listener: TcpListener,
    addr: SocketAddr,
}

impl Base {
    async fn build(
        &self,
        master: &MasterKey,
        of_operator: AllSecrets,
        surroundings: Surroundings,
    ) -> Result<Built, StartError> {
        let Self { settings, data, store, metrics, tasks, cancel, .. } = self;
        let definitions = GitDefinitions::open(&settings.repository())?;
        let vault = Arc::new(SecretVault::load(store.port(), master).await?);
        let secrets = Arc::new(of_operator.behind(Arc::clone(&vault) as Arc<dyn SecretSource>));
        let key = CacheKey::new(master.derive("nexus/compiled-code/1"));
        let egress = settings.egress.open();
        let mut wasm = wasm(settings, data.join("compiled"), key)?;
        wasm.egress = egress.clone();
        let wasm = Arc::new(WasmHost::new(wasm, tasks.clone())?);
        let parts = Parts {
            remote: remote(settings, &definitions, &secrets)?,
            definitions: Arc::new(definitions),
            runtime: store.port(),
            vault,
            models: Arc::new(models(settings, Arc::clone(&secrets))?),
            components: Arc::clone(&wasm) as Arc<dyn ComponentHost>,
            plugins: wasm,
            folders: data.join("folders"),
            metrics: Arc::clone(metrics),
            events: EventBus::new(),
            secrets: self::secrets(settings, Arc::clone(&secrets)),
            egress,
            programs: settings.mcp.programs(),
            images: settings.mcp.images(),
            walker: sandboxes::walker(),
            tracker: tasks.clone(),
            cancel: cancel.clone(),
        };
        let core = Core::start(core_config(settings), parts, master).await?;
        let (sandbox, running) = (settings.sandbox.clone(), core.clone());
        tasks.spawn(sandboxes::provide(sandbox, running, tasks.clone(), cancel.clone()));
        if let Some(telemetry) = surroundings.telemetry {
            tasks.spawn(telemetry.push_metrics(Arc::clone(metrics), cancel.clone()));
        }
        if let Some(folder) = &settings.apps {
            let watcher = AppsFolder::import(folder.clone(), Arc::clone(&core.registry)).await?;
            tasks.spawn(watcher.watch(cancel.clone()));
        }
        let failed = |source| StartError::Listen { addr: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let admin_key = first_key(&core, data, settings, surroundings.show_admin_key).await?;
        let mcp_key = master.derive("nexus/mcp-rounds/1");
        Ok(Built { mcp_key, core, secrets, admin_key, listener, addr })
    }

    fn serve(self, built: Built) -> Running {
        let Self { settings, data, store, metrics, log, tasks, cancel } = self;
        let Built { mcp_key, core, secrets, admin_key, listener, addr } = built;
        let mcp = McpHttpConfig { body_bytes: settings.limits.body_bytes, sessions: MCP_SESSIONS };
        let mcp = McpService::new(&mcp, mcp_key, tasks.clone(), &cancel);
        let api = api(&settings, core, metrics, log, secrets, mcp, &tasks);
        let (connections, close, abort) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let acceptor = Acceptor {
            door: Door::new(api.clone()),
            limits: settings.limits.clone(),
            connections: connections.clone(),
            close: close.clone(),
            abort: abort.clone(),
        };
        connections.spawn(acceptor.run(listener));
        let (drain, in_flight) = (settings.limits.drain, settings.limits.in_flight);
        Running { addr, admin_key, api, store, connections, tasks, close, abort, cancel, drain, in_flight, data }
    }
}

impl Running {
    /// The base URL, as `http://127.0.0.1:7070`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops: not ready, nothing new is begun, what is in flight is finished within the time of the settings, what is
    /// in memory is written down. Says whether everything was finished.
    pub async fn stop(self) -> bool {
        self.api.begin_drain();
        let permits = u32::try_from(self.in_flight).unwrap_or(u32::MAX);
        let idle = tokio::time::timeout(self.drain, self.api.permits.acquire_many(permits)).await.is_ok();
        self.close.cancel();
        self.connections.close();
        let closed = tokio::time::timeout(LAST_BYTES, self.connections.wait()).await.is_ok();
        self.abort.cancel();
        self.connections.wait().await;
        self.api.core.drain().await;
        self.cancel.cancel();
        self.api.log.close();
        self.tasks.close();
        drop(self.api);
        if tokio::time::timeout(self.drain, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "some tasks did not end in time");
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the runtime store could not be closed");
        }
        drop(self.data);
        idle && closed
    }
}

fn core_config(settings: &Settings) -> CoreConfig {
    CoreConfig {
        known_models: settings.models.keys().cloned().collect(),
        oracle: settings.oracle.clone(),
        executions: settings.executions.clone(),
        events: settings.events.clone(),
        ..CoreConfig::default()
    }
}

fn secrets(settings: &Settings, all: Arc<AllSecrets>) -> SecretLookup {
    let named = settings.secrets.clone();
    Arc::new(move |app, name| match named.get(app).and_then(|secrets| secrets.get(name)) {
        Some(reference) => all.resolve(reference),
        None => all.find(&SecretOwner::App(app.clone()), &name.replace('_', "-").parse().ok()?),
    })
}

/// The remote that the settings name. One that cannot be used, or whose password is not there, is an error now.
fn remote(
    settings: &Settings,
    definitions: &GitDefinitions,
    secrets: &AllSecrets,
) -> Result<Option<Remote>, StartError> {
    let Some(set) = &settings.definitions.remote else { return Ok(None) };
    let found = |reference: &KeyReference| {
        let password = secrets.resolve(reference);
        password.ok_or_else(|| StartError::RemotePassword(reference.to_string()))
    };
    let config = set.config(set.password.as_ref().map(found).transpose()?);
    let port = Arc::new(GitRemote::new(definitions.clone(), config)?);
    let every = Some(set.every).filter(|every| !every.is_zero());
    Ok(Some(Remote { port, name: format!("{} ({})", set.url, set.branch), follow: set.follow, every }))
}

fn models(settings: &Settings, secrets: Arc<AllSecrets>) -> Result<LanguageModels, StartError> {
    let resolver = Arc::new(move |reference: &KeyReference| secrets.resolve(reference));
    Ok(LanguageModels::new(settings.models.clone(), resolver)?)
}

/// The Wasm tier as the settings have it, with its compiled code in `cache`.
pub(crate) fn wasm(settings: &Settings, cache: PathBuf, key: CacheKey) -> Result<WasmConfig, StartError> {
    let program = match &settings.wasm.compiler {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(StartError::Program)?,
    };
    let child = ChildCommand { program, args: vec!["compile-child".to_owned()] };
    let mut config = WasmConfig::new(cache, key, child);
    config.cache_bytes = settings.wasm.cache_bytes;
    config.max_children = settings.wasm.compilers;
    config.limits.memory_bytes = settings.wasm.memory_bytes.min(nexus_wasm::MAX_MEMORY_BYTES);
    config.pool.instances = settings.wasm.instances;
    config.pool.concurrent = settings.wasm.concurrent;
    config.pool.warm = settings.wasm.warm;
    config.folder.bytes = settings.wasm.folder_bytes;
    Ok(config)
}

async fn first_key(core: &Core, data: &DataDir, settings: &Settings, show: bool) -> Result<AdminKey, StartError> {
    if settings.insecure_local || !core.keys.is_empty() {
        return Ok(AdminKey::None);
    }
    let (name, scopes) = ("first admin".to_owned(), vec![Scope::Admin]);
    let prepared = core.keys.prepare(NewKey { name, scopes, expires_in: None, requests_per_minute: None })?;
    let id = prepared.info().id.clone();
    core.audit_log.record(&Principal::host(), "key.create", id, serde_json::json!({ "scopes": ["admin"] })).await?;
    let (_, secret) = core.keys.keep(prepared).await?;
    if show {
        return Ok(AdminKey::Shown(secret));
    }
    Ok(AdminKey::File(data.keep_admin_key(secret.expose_secret())?))
}

fn log(
    settings: &Settings,
    data: &DataDir,
    records: Option<LogRecords>,
    metrics: &Arc<MetricCollector>,
    tasks: &TaskTracker,
) -> Result<LogBook, StartError> {
    let retention = Retention { bytes: settings.log.keep_bytes, age: settings.log.keep };
    let records = records.unwrap_or_else(|| LogQueue::new().1);
    let host = Arc::clone(metrics.host());
    let lost = move |count| host.record_log_lost(count);
    Ok(LogBook::start(data.join("log"), retention, records, lost, tasks)?)
}

fn api(
    settings: &Settings,
    core: Core,
    metrics: Arc<MetricCollector>,
    log: LogBook,
    secrets: Arc<AllSecrets>,
    mcp: McpService,
    tasks: &TaskTracker,
) -> Api {
    Api::new(Shared {
        core,
        metrics,
        log,
        mcp,
        secrets,
        limits: settings.limits.clone(),
        access: if settings.insecure_local { Access::Local } else { Access::Keys },
        metrics_open: settings.metrics_open || settings.insecure_local,
        tasks: tasks.clone(),
        permits: Arc::new(Semaphore::new(settings.limits.in_flight)),
        followers: Arc::new(Semaphore::new(FOLLOWERS)),
        definition_bodies: Semaphore::new(DEFINITION_BODIES),
        draining: AtomicBool::new(false),
        openapi: crate::http::openapi_json().into(),
    })
}
