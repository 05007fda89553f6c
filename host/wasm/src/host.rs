//! The port `ComponentHost`.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use nexus_model::{BuildError, Component, ComponentHost, ComponentKind, Grants, LoadError};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::task::TaskTracker;
use wasmtime::Engine;

use crate::{
    artefact::{self, TrustedCode},
    cache::{CodeCache, EntryId},
    capabilities::Granted,
    child::{ChildError, Children, JIT_RUNNER, Job, RefusalKind},
    config::{CompileLimits, WasmConfig},
    engine::{self, EpochTicker},
    error::HostError,
    loader,
    tier::Tier,
    wasi,
};

/// What the bytes of an entry of the cache are for.
const COMPONENT: &str = "component";
const INSTRUMENTED: &str = "instrumented engine";
const FUNCTIONS: &str = "functions of the engine";

/// Builds, compiles, caches and links components. Cheap to clone.
#[derive(Clone)]
pub struct WasmHost {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: WasmConfig,
    generated: Arc<Tier>,
    plugins: Arc<Tier>,
    cache: Arc<CodeCache>,
    children: Children,
    prepared: OnceCell<Prepared>,
    tracker: TaskTracker,
}

/// What every snapshot starts from.
struct Prepared {
    instrumented: TrustedCode,
    functions: TrustedCode,
}

/// What the cache of compiled code has seen since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCounters {
    /// Entries that were found and verified.
    pub hits: u64,
    /// Entries that were found with a wrong signature, and removed.
    pub forged: u64,
}

impl WasmHost {
    /// Reserves the address space of both pools and opens the cache. Blocking work later runs on `tracker`.
    pub fn new(config: WasmConfig, tracker: TaskTracker) -> Result<Self, HostError> {
        let cache = CodeCache::open(config.cache_dir.clone(), config.cache_key.clone(), config.cache_bytes)
            .map_err(HostError::CacheDir)?;
        let [generated, plugins] = tiers(&config)?;
        let children = Children::new(config.child.clone(), config.max_children, config.child_wait);
        tracing::info!(pool = ?config.pool, limits = ?config.limits, cache = %config.cache_dir.display(), "the Wasm tier is ready");
        let (cache, prepared) = (Arc::new(cache), OnceCell::new());
        Ok(Self { inner: Arc::new(Inner { config, generated, plugins, cache, children, prepared, tracker }) })
    }

    /// Does now what the first [`build`](ComponentHost::build) would do first: compiles the engine for generated code,
    /// unless the cache has it.
    pub async fn warm_up(&self) -> Result<(), BuildError> {
        self.inner.prepared().await.map(|_| ())
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// What the cache of compiled code has seen.
    pub fn cache_counters(&self) -> CacheCounters {
        CacheCounters { hits: self.inner.cache.hits(), forged: self.inner.cache.forged() }
    }
}

impl fmt::Debug for WasmHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmHost").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

fn tiers(config: &WasmConfig) -> Result<[Arc<Tier>; 2], HostError> {
    let make = |kind| {
        engine::host_engine(kind, config.pool)
            .map_err(|source| HostError::Engine { engine: engine::name(kind), source: source.into() })
    };
    let kinds = [ComponentKind::Generated, ComponentKind::Plugin];
    let engines = [make(kinds[0])?, make(kinds[1])?];
    let ticker = Arc::new(EpochTicker::start(engines.to_vec()).map_err(HostError::Ticker)?);
    let [generated, plugins] = engines;
    Ok([tier(kinds[0], generated, config, &ticker)?, tier(kinds[1], plugins, config, &ticker)?])
}

fn tier(
    kind: ComponentKind,
    engine: Engine,
    config: &WasmConfig,
    ticker: &Arc<EpochTicker>,
) -> Result<Arc<Tier>, HostError> {
    let linker = wasi::linker(&engine)
        .map_err(|source| HostError::Engine { engine: engine::name(kind), source: source.into() })?;
    Ok(Arc::new(Tier {
        kind,
        configuration: engine::configuration_id(&engine),
        engine,
        linker,
        limits: config.limits,
        permits: Semaphore::new(config.pool.concurrent as usize),
        _ticker: ticker.clone(),
    }))
}

impl Inner {
    pub(crate) fn tier(&self, kind: ComponentKind) -> &Arc<Tier> {
        match kind {
            ComponentKind::Generated => &self.generated,
            ComponentKind::Plugin => &self.plugins,
        }
    }

    /// What a plugin is granted, with what it needs of this host.
    pub(crate) fn granted(&self, grants: &Grants) -> Result<Arc<Granted>, LoadError> {
        Granted::new(grants, self.config.egress.clone(), self.config.folder)
    }

    fn compile_limits(&self, kind: ComponentKind) -> CompileLimits {
        match kind {
            ComponentKind::Generated => self.config.generated_compile,
            ComponentKind::Plugin => self.config.plugin_compile,
        }
    }

    /// Blocking work, off the threads that serve.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        self.tracker.spawn_blocking(work).await.map_err(|error| error.to_string())
    }

    pub(crate) async fn cached(&self, id: EntryId) -> Result<Option<TrustedCode>, String> {
        let cache = self.cache.clone();
        self.blocking(move || cache.get(&id)).await
    }

    pub(crate) async fn keep(&self, id: EntryId, code: &TrustedCode) -> Result<(), String> {
        let (cache, code) = (self.cache.clone(), code.clone());
        self.blocking(move || cache.put(&id, &code)).await
    }

    async fn prepared(&self) -> Result<&Prepared, BuildError> {
        self.prepared.get_or_try_init(|| self.prepare()).await
    }

    async fn prepare(&self) -> Result<Prepared, BuildError> {
        let id = |purpose| EntryId {
            purpose,
            component: Sha256::digest(JIT_RUNNER).into(),
            configuration: self.generated.configuration,
        };
        let instrumented = self.cached(id(INSTRUMENTED)).await.map_err(BuildError::Host)?;
        let functions = self.cached(id(FUNCTIONS)).await.map_err(BuildError::Host)?;
        if let (Some(instrumented), Some(functions)) = (instrumented, functions) {
            return Ok(Prepared { instrumented, functions });
        }
        let results = self.children.run(Job::Prepare, &[], self.config.plugin_compile).await.map_err(build_error)?;
        let [instrumented, functions] = pair(results)?;
        let prepared =
            Prepared { instrumented: TrustedCode::assert(instrumented), functions: TrustedCode::assert(functions) };
        self.keep(id(INSTRUMENTED), &prepared.instrumented).await.map_err(BuildError::Host)?;
        self.keep(id(FUNCTIONS), &prepared.functions).await.map_err(BuildError::Host)?;
        Ok(prepared)
    }

    pub(crate) fn component_id(&self, kind: ComponentKind, component: &[u8]) -> EntryId {
        EntryId {
            purpose: COMPONENT,
            component: Sha256::digest(component).into(),
            configuration: self.tier(kind).configuration,
        }
    }

    pub(crate) async fn compile(&self, kind: ComponentKind, component: Bytes) -> Result<TrustedCode, LoadError> {
        let limits = self.compile_limits(kind);
        let results = self.children.run(Job::compile(kind), &[component], limits).await.map_err(load_error)?;
        let code = results.into_iter().next();
        code.map(TrustedCode::assert).ok_or_else(|| LoadError::Host("the compile process gave no code".into()))
    }

    /// A component's machine code and its world as WIT text.
    pub(crate) async fn describe(&self, component: Bytes) -> Result<(TrustedCode, String), LoadError> {
        let limits = self.compile_limits(ComponentKind::Plugin);
        let results = self.children.run(Job::Describe, &[component], limits).await.map_err(load_error)?;
        match <[Bytes; 2]>::try_from(results) {
            Ok([code, wit]) => Ok((TrustedCode::assert(code), String::from_utf8_lossy(&wit).into_owned())),
            Err(_) => Err(LoadError::Host("the compile process gave no code".into())),
        }
    }

    /// Looks at a component from outside: its size and its first bytes.
    pub(crate) fn accept(&self, component: &[u8]) -> Result<(), LoadError> {
        if component.len() > self.config.max_component_bytes {
            let message =
                format!("it has {} bytes, at most {} are allowed", component.len(), self.config.max_component_bytes);
            return Err(LoadError::NotAComponent(message));
        }
        loader::check_header(component)
    }

    async fn link(
        &self,
        kind: ComponentKind,
        code: TrustedCode,
        digest: String,
    ) -> Result<Arc<dyn Component>, LoadError> {
        let tier = self.tier(kind).clone();
        let linked = self.blocking(move || {
            let component =
                artefact::component(&tier.engine, &code).map_err(|error| LoadError::Compile(format!("{error:#}")))?;
            loader::link(tier, &component, digest)
        });
        Ok(Arc::new(linked.await.map_err(LoadError::Host)??))
    }
}

#[async_trait]
impl ComponentHost for WasmHost {
    async fn build(&self, source: &str) -> Result<Vec<u8>, BuildError> {
        let inner = &self.inner;
        if source.len() > inner.config.max_source_bytes {
            let message =
                format!("it has {} bytes, at most {} are allowed", source.len(), inner.config.max_source_bytes);
            return Err(BuildError::Source(message));
        }
        let prepared = inner.prepared().await?;
        let blobs = [
            prepared.instrumented.bytes().clone(),
            prepared.functions.bytes().clone(),
            Bytes::copy_from_slice(source.as_bytes()),
        ];
        let limits = inner.config.generated_compile;
        let results = inner.children.run(Job::Snapshot, &blobs, limits).await.map_err(build_error)?;
        let [component, code] = pair(results)?;
        let id = inner.component_id(ComponentKind::Generated, &component);
        inner.keep(id, &TrustedCode::assert(code)).await.map_err(BuildError::Host)?;
        Ok(component.into())
    }

    async fn load(&self, kind: ComponentKind, component: &[u8]) -> Result<Arc<dyn Component>, LoadError> {
        let inner = &self.inner;
        inner.accept(component)?;
        let id = inner.component_id(kind, component);
        let digest = hex::encode(id.component);
        if let Some(code) = inner.cached(id).await.map_err(LoadError::Host)? {
            match inner.link(kind, code, digest.clone()).await {
                Err(LoadError::Compile(error)) => {
                    tracing::warn!(digest, error, "compiled code could not be used; it is made again");
                }
                linked => return linked,
            }
        }
        let code = inner.compile(kind, Bytes::copy_from_slice(component)).await?;
        let component = inner.link(kind, code.clone(), digest).await?;
        inner.keep(id, &code).await.map_err(LoadError::Host)?;
        Ok(component)
    }
}

fn pair(results: Vec<Bytes>) -> Result<[Bytes; 2], BuildError> {
    results.try_into().map_err(|_| BuildError::Host("the compile process gave no component".into()))
}

fn build_error(error: ChildError) -> BuildError {
    match error {
        ChildError::Refused(refusal) => match refusal.kind {
            RefusalKind::Source => BuildError::Source(refusal.message),
            RefusalKind::Limit => BuildError::Limit(refusal.message),
            RefusalKind::NotAComponent | RefusalKind::Compile | RefusalKind::Host => BuildError::Host(refusal.message),
        },
        ChildError::Limit(message) => BuildError::Limit(message),
        error => BuildError::Host(error.to_string()),
    }
}

fn load_error(error: ChildError) -> LoadError {
    match error {
        ChildError::Refused(refusal) => match refusal.kind {
            RefusalKind::NotAComponent => loader::explain(refusal.message),
            RefusalKind::Compile | RefusalKind::Limit | RefusalKind::Source => LoadError::Compile(refusal.message),
            RefusalKind::Host => LoadError::Host(refusal.message),
        },
        ChildError::Limit(message) => LoadError::Compile(message),
        error => LoadError::Host(error.to_string()),
    }
}
