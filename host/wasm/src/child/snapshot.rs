//! Runs the top level of generated code and keeps what it leaves behind.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::{
    Store, Trap,
    component::{Component, Instance, Lift, WasmList},
};
use wasmtime_wizer::{ComponentContext, ComponentInstanceState, Wizer};

use super::protocol::{Refusal, RefusalKind};
use crate::{
    config::GuestLimits,
    engine::{EpochTicker, TICK},
    fault::cut,
    wasi::{self, GuestState},
};

/// The function that evaluates the source on standard input.
pub(crate) const INITIALIZE: &str = "initialize";

/// How long the top level may run, on the wall and in fuel.
const TOP_LEVEL_TIME: Duration = Duration::from_secs(2);
const TOP_LEVEL_FUEL: u64 = 5_000_000_000;

/// Reading the memory of the instance passes all of it to the host.
const SNAPSHOT_HOSTCALL_BYTES: usize = 256 << 20;

/// Evaluates `source` in a fresh instance of the instrumented engine and gives the component that has it loaded.
pub(crate) fn take(
    wizer: &Wizer,
    context: &ComponentContext<'_>,
    component: &Component,
    source: Bytes,
) -> Result<Vec<u8>, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Refusal::new(RefusalKind::Host, error.to_string()))?;
    let _ticker = EpochTicker::start(vec![component.engine().clone()])
        .map_err(|error| Refusal::new(RefusalKind::Host, error.to_string()))?;
    runtime.block_on(async {
        let mut running = Running::start(component, source).await.map_err(|e| Refusal::host(&e))?;
        running.initialize().await?;
        let sealed = wizer.snapshot_component(context, &mut running).await.map_err(|e| Refusal::host(&e))?;
        match running.failure {
            Some(failure) => Err(Refusal::host(&failure)),
            None => Ok(sealed),
        }
    })
}

struct Running {
    store: Store<GuestState>,
    instance: Instance,
    /// The first failure to read the instance's state: the trait that reads it has no way to say so.
    failure: Option<wasmtime::Error>,
}

impl Running {
    async fn start(component: &Component, source: Bytes) -> wasmtime::Result<Self> {
        let limits = GuestLimits { hostcall_bytes: SNAPSHOT_HOSTCALL_BYTES, ..GuestLimits::default() };
        let linker = wasi::linker(component.engine())?;
        let mut store = Store::new(component.engine(), GuestState::with_stdin(&limits, source));
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_fuel(TOP_LEVEL_FUEL)?;
        store.set_epoch_deadline(u64::try_from(TOP_LEVEL_TIME.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX));
        let instance = linker.instantiate_async(&mut store, component).await?;
        Ok(Self { store, instance, failure: None })
    }

    async fn initialize(&mut self) -> Result<(), Refusal> {
        let initialize = self
            .instance
            .get_typed_func::<(), ()>(&mut self.store, INITIALIZE)
            .map_err(|error| Refusal::host(&error))?;
        match initialize.call_async(&mut self.store, ()).await {
            Ok(()) => {
                self.store.set_epoch_deadline(u64::from(u32::MAX));
                self.store.set_fuel(u64::MAX).map_err(|error| Refusal::host(&error))
            }
            Err(error) => {
                let said = self.store.data().output().map(|(_, err)| err).unwrap_or_default();
                Err(refusal(&error, &said))
            }
        }
    }

    async fn read<R: Lift + 'static>(&mut self, instance: &str, function: &str) -> wasmtime::Result<R> {
        let missing = || wasmtime::Error::msg(format!("the instrumented engine has no {instance}#{function}"));
        let (_, instance) = self.instance.get_export(&mut self.store, None, instance).ok_or_else(missing)?;
        let (_, index) = self.instance.get_export(&mut self.store, Some(&instance), function).ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, index)?;
        Ok(function.call_async(&mut self.store, ()).await?.0)
    }

    async fn read_or<R: Lift + 'static>(&mut self, instance: &str, function: &str, fallback: R) -> R {
        match self.read(instance, function).await {
            Ok(value) => value,
            Err(error) => {
                self.failure.get_or_insert(error);
                fallback
            }
        }
    }
}

/// Why the top level did not end. `said` is what the engine wrote to standard error.
fn refusal(error: &wasmtime::Error, said: &str) -> Refusal {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt | Trap::OutOfFuel) => {
            let message = format!("the top level ran for more than {} s", TOP_LEVEL_TIME.as_secs());
            Refusal::new(RefusalKind::Limit, message)
        }
        Some(Trap::StackOverflow) => Refusal::new(RefusalKind::Source, "the source nests too deeply"),
        _ if said.trim().is_empty() => Refusal::new(RefusalKind::Source, cut(error.root_cause().to_string())),
        _ => Refusal::new(RefusalKind::Source, cut(said.trim().to_owned())),
    }
}

impl ComponentInstanceState for Running {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.read::<WasmList<u8>>(instance, func).await {
            Ok(list) => contents(list.as_le_slice(&self.store)),
            Err(error) => {
                self.failure.get_or_insert(error);
                contents(&[]);
            }
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.read_or(instance, func, 0).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.read_or(instance, func, 0).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.read_or(instance, func, 0_f32).await.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.read_or(instance, func, 0_f64).await.to_bits()
    }
}
