//! The port `PluginHost`: any component becomes tools.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use nexus_model::{
    ComponentFault, ComponentKind, GrantNeed, Grants, GuestLevel, GuestServices, LinkedPlugin, LoadError, PluginFacts,
    PluginHost, ToolFault, ToolOutcome,
};
use serde_json::Value;
use tokio::time::timeout;
use wasmtime::component::{Component, InstancePre, Val};

use crate::{
    artefact::{self, TrustedCode},
    cache::EntryId,
    capabilities::{self, Granted},
    docs, fault,
    host::WasmHost,
    loader,
    tier::Tier,
    tools::{Tool, Tools},
    wasi::GuestState,
};

/// What the bytes of an entry of the cache are for.
const FACTS: &str = "facts of a plugin";

/// A component that is linked with what it was granted.
struct Linked {
    tier: Arc<Tier>,
    instance: InstancePre<GuestState>,
    tools: Tools,
    granted: Arc<Granted>,
    permits: u32,
}

impl Linked {
    fn new(tier: Arc<Tier>, component: &Component, granted: Arc<Granted>) -> Result<Self, LoadError> {
        let grants = granted.grants();
        let imports = loader::imports(&tier.engine, component);
        needs(&imports)?;
        let missing = capabilities::missing(imports.iter().map(String::as_str), grants);
        if !missing.is_empty() {
            return Err(LoadError::NotGranted(missing));
        }
        let tools = Tools::of(&tier.engine, component)?;
        let linker = capabilities::link(&tier.engine, grants).map_err(|error| LoadError::Host(format!("{error:#}")))?;
        let instance =
            linker.instantiate_pre(component).map_err(|error| LoadError::ForeignImports(vec![format!("{error:#}")]))?;
        let permits = loader::permits_of(component);
        Ok(Self { tier, instance, tools, granted, permits })
    }

    async fn run(
        &self,
        tool: &Tool,
        arguments: &[Val],
        services: &Arc<dyn GuestServices>,
        left: Duration,
    ) -> Result<Vec<Val>, Fault> {
        let state = GuestState::for_plugin(&self.tier.limits, &self.granted, Arc::clone(services));
        let mut store = self.tier.store(state).map_err(Fault::Failed)?;
        let call = async {
            let instance = self.instance.instantiate_async(&mut store).await?;
            let function = instance
                .get_func(&mut store, tool.index)
                .ok_or_else(|| wasmtime::Error::msg("the component does not export the function it did"))?;
            let mut results = tool.results();
            function.call_async(&mut store, arguments, &mut results).await?;
            Ok(results)
        };
        let answer = match timeout(left, call).await {
            Ok(answer) => answer.map_err(Fault::Failed),
            Err(_) => Err(Fault::Late),
        };
        log_output(store.data(), services.as_ref());
        answer
    }
}

/// What the component wrote to standard output and standard error goes to the log.
fn log_output(state: &GuestState, services: &dyn GuestServices) {
    let Some((out, err)) = state.output() else { return };
    for (level, stream, text) in [(GuestLevel::Info, "stdout", out), (GuestLevel::Warn, "stderr", err)] {
        if !text.is_empty() {
            services.log(level, stream, &text);
        }
    }
}

enum Fault {
    Late,
    Failed(wasmtime::Error),
}

#[async_trait]
impl LinkedPlugin for Linked {
    async fn call(
        &self,
        tool: &str,
        arguments: &Value,
        services: Arc<dyn GuestServices>,
        deadline: Duration,
    ) -> Result<ToolOutcome, ToolFault> {
        let start = Instant::now();
        let tool = self.tools.get(tool).ok_or_else(|| ToolFault::Unknown(tool.to_owned()))?;
        let arguments = tool.arguments(arguments)?;
        let _permit = self.tier.admit(self.permits, deadline).await?;
        let failed = |error: &wasmtime::Error| ToolFault::Component(fault::of(error, deadline));
        let left = deadline.saturating_sub(start.elapsed());
        match self.run(tool, &arguments, &services, left).await {
            Ok(results) => tool.outcome(results).map_err(|error| failed(&error)),
            Err(Fault::Failed(error)) => Err(failed(&error)),
            Err(Fault::Late) => Err(ComponentFault::Deadline(deadline).into()),
        }
    }
}

impl fmt::Debug for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linked")
            .field("tools", &self.tools)
            .field("grants", self.granted.grants())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl PluginHost for WasmHost {
    async fn inspect(&self, component: &[u8]) -> Result<Arc<PluginFacts>, LoadError> {
        let inner = self.inner();
        inner.accept(component)?;
        let id = inner.component_id(ComponentKind::Plugin, component);
        if let Some(facts) = self.cached_facts(facts_id(id)).await {
            return Ok(facts);
        }
        let bytes = Bytes::copy_from_slice(component);
        let (code, wit) = inner.describe(bytes.clone()).await?;
        inner.keep(id, &code).await.map_err(LoadError::Host)?;
        let engine = inner.tier(ComponentKind::Plugin).engine.clone();
        let facts = inner.blocking(move || {
            let compiled =
                artefact::component(&engine, &code).map_err(|error| LoadError::Compile(format!("{error:#}")))?;
            let imports = loader::imports(&engine, &compiled);
            let grants = needs(&imports)?;
            let tools = Tools::of(&engine, &compiled)?;
            Ok(PluginFacts {
                digest: hex::encode(id.component),
                tools: tools.signatures(&docs::read(&bytes)),
                left_out: tools.left_out(),
                offers: tools.offers(),
                grants,
                imports,
                wit,
            })
        });
        let facts = facts.await.map_err(LoadError::Host)??;
        let bytes = serde_json::to_vec(&facts).map_err(|error| LoadError::Host(error.to_string()))?;
        inner.keep(facts_id(id), &TrustedCode::assert(bytes.into())).await.map_err(LoadError::Host)?;
        Ok(Arc::new(facts))
    }

    async fn known(&self, digest: &str) -> Option<Arc<PluginFacts>> {
        let component = hex::decode(digest).ok()?.try_into().ok()?;
        let configuration = self.inner().tier(ComponentKind::Plugin).configuration;
        self.cached_facts(EntryId { purpose: FACTS, component, configuration }).await
    }

    async fn link(&self, component: &[u8], grants: &Grants) -> Result<Arc<dyn LinkedPlugin>, LoadError> {
        let inner = self.inner();
        inner.accept(component)?;
        let id = inner.component_id(ComponentKind::Plugin, component);
        if let Some(code) = inner.cached(id).await.map_err(LoadError::Host)? {
            match self.linked(code, grants).await {
                Err(LoadError::Compile(error)) => {
                    tracing::warn!(error, "compiled code could not be used; it is made again");
                }
                linked => return linked,
            }
        }
        let code = inner.compile(ComponentKind::Plugin, Bytes::copy_from_slice(component)).await?;
        let linked = self.linked(code.clone(), grants).await?;
        inner.keep(id, &code).await.map_err(LoadError::Host)?;
        Ok(linked)
    }
}

impl WasmHost {
    async fn linked(&self, code: TrustedCode, grants: &Grants) -> Result<Arc<dyn LinkedPlugin>, LoadError> {
        let tier = self.inner().tier(ComponentKind::Plugin).clone();
        let granted = self.inner().granted(grants)?;
        let linked = self.inner().blocking(move || {
            let component =
                artefact::component(&tier.engine, &code).map_err(|error| LoadError::Compile(format!("{error:#}")))?;
            Linked::new(tier, &component, granted)
        });
        Ok(Arc::new(linked.await.map_err(LoadError::Host)??))
    }

    async fn cached_facts(&self, id: EntryId) -> Option<Arc<PluginFacts>> {
        let entry = self.inner().cached(id).await.ok()??;
        serde_json::from_slice(entry.bytes()).ok().map(Arc::new)
    }
}

/// The least grants that a component with these imports needs. It is refused when no grant is for one of them.
fn needs(imports: &[String]) -> Result<Vec<GrantNeed>, LoadError> {
    capabilities::needs(imports.iter().map(String::as_str)).map_err(LoadError::ForeignImports)
}

fn facts_id(component: EntryId) -> EntryId {
    EntryId { purpose: FACTS, ..component }
}
