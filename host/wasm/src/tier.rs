//! One of the two engines, with its pool, and a call of a component on it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use nexus_model::{Component, ComponentAnswer, ComponentFault, ComponentKind};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use wasmtime::{
    Engine, Store,
    component::{ComponentExportIndex, InstancePre, Linker},
};

use crate::{
    config::GuestLimits,
    engine::{EpochTicker, TABLES_PER_MEMORY},
    fault,
    handler::Outcome,
    wasi::GuestState,
};

/// Who speaks in the log where a component does. What it says is a stranger's text, of bounded length.
const GUEST: &str = "nexus::guest";

/// An engine and what its calls share.
pub(crate) struct Tier {
    pub(crate) kind: ComponentKind,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestState>,
    pub(crate) configuration: [u8; 32],
    pub(crate) limits: GuestLimits,
    /// One permit per memory that a call takes from the pool.
    pub(crate) permits: Semaphore,
    pub(crate) _ticker: Arc<EpochTicker>,
}

impl Tier {
    /// A fresh store with every limit set.
    pub(crate) fn store(&self, state: GuestState) -> wasmtime::Result<Store<GuestState>> {
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(self.limits.hostcall_bytes);
        if self.kind == ComponentKind::Generated {
            store.set_fuel(self.limits.fuel)?;
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }

    /// Waits for room in the pool, at most until `deadline`.
    pub(crate) async fn admit(&self, permits: u32, deadline: Duration) -> Result<SemaphorePermit<'_>, ComponentFault> {
        if let Ok(permit) = self.permits.try_acquire_many(permits) {
            return Ok(permit);
        }
        match timeout(deadline, self.permits.acquire_many(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(ComponentFault::Exhausted),
        }
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier").field("kind", &self.kind).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A component that is linked, and of which instances are made.
pub(crate) struct LinkedComponent {
    pub(crate) tier: Arc<Tier>,
    pub(crate) digest: String,
    pub(crate) instance: InstancePre<GuestState>,
    pub(crate) run: ComponentExportIndex,
    pub(crate) permits: u32,
}

/// How many memories' worth of the pool an instance takes.
pub(crate) fn permits(memories: u32, tables: u32) -> u32 {
    memories.max(tables.div_ceil(TABLES_PER_MEMORY)).max(1)
}

impl LinkedComponent {
    async fn call(&self, store: &mut Store<GuestState>, input: &str) -> wasmtime::Result<Outcome> {
        let instance = self.instance.instantiate_async(&mut *store).await?;
        let run = instance.get_typed_func::<(&str,), (Outcome,)>(&mut *store, self.run)?;
        let (outcome,) = run.call_async(&mut *store, (input,)).await?;
        Ok(outcome)
    }

    fn log_output(&self, state: &GuestState) {
        let Some((out, err)) = state.output() else { return };
        if !out.is_empty() {
            tracing::info!(target: GUEST, component = self.digest, stream = "stdout", "{out}");
        }
        if !err.is_empty() {
            tracing::warn!(target: GUEST, component = self.digest, stream = "stderr", "{err}");
        }
    }
}

#[async_trait]
impl Component for LinkedComponent {
    async fn run(&self, input: &str, deadline: Duration) -> Result<ComponentAnswer, ComponentFault> {
        self.run_counted(input, deadline).await.0
    }

    async fn run_counted(
        &self,
        input: &str,
        deadline: Duration,
    ) -> (Result<ComponentAnswer, ComponentFault>, Option<u64>) {
        let start = Instant::now();
        let _permit = match self.tier.admit(self.permits, deadline).await {
            Ok(permit) => permit,
            Err(fault) => return (Err(fault), None),
        };
        let mut store = match self.tier.store(GuestState::new(&self.tier.limits)) {
            Ok(store) => store,
            Err(error) => return (Err(fault::of(&error, deadline)), None),
        };
        let left = deadline.saturating_sub(start.elapsed());
        let answer = match timeout(left, self.call(&mut store, input)).await {
            Ok(Ok(outcome)) => Ok(outcome.into()),
            Ok(Err(error)) => Err(fault::of(&error, deadline)),
            Err(_) => Err(ComponentFault::Deadline(deadline)),
        };
        self.log_output(store.data());
        // Plugins run without fuel, and have none left to ask for.
        (answer, store.get_fuel().ok().map(|left| self.tier.limits.fuel.saturating_sub(left)))
    }

    fn digest(&self) -> &str {
        &self.digest
    }
}

impl fmt::Debug for LinkedComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkedComponent")
            .field("kind", &self.tier.kind)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::permits;

    #[test]
    fn a_component_takes_as_many_permits_as_memories() {
        assert_eq!(permits(0, 0), 1);
        assert_eq!(permits(1, 2), 1);
        assert_eq!(permits(2, 2), 2);
        assert_eq!(permits(1, 7), 3);
    }
}
