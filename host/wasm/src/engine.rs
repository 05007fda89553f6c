//! The two engines and the clock that interrupts their guests.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nexus_model::ComponentKind;
use sha2::{Digest, Sha256};
use wasmtime::{CacheStore, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::{MAX_MEMORY_BYTES, PoolSize};

/// How often a running guest is interrupted, so that others get their turn.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// A component may have this many core instances, memories and tables. Components from Python have 14 core instances.
pub(crate) const MAX_CORE_INSTANCES: u32 = 64;
pub(crate) const MAX_MEMORIES: u32 = 10;
pub(crate) const MAX_TABLES: u32 = 10;

/// How many tables the pool has for each memory: a component made by `wit-component` has a main and a shim table.
pub(crate) const TABLES_PER_MEMORY: u32 = 3;

/// Linear memory and table pages that stay resident between two calls in a slot of the pool.
const MEMORY_KEEP_RESIDENT: usize = 1 << 20;
const TABLE_KEEP_RESIDENT: usize = 64 << 10;
const STACK_KEEP_RESIDENT: usize = 64 << 10;
const MEMORY_GUARD: u64 = 32 << 20;

/// Address space of each linear memory: all that 32 bits can name, so that an access needs no check of its own. What lies
/// beyond the memory's end is never mapped. Of the 128 TiB that a process has, both pools take 16.
const MEMORY_RESERVATION: u64 = 4 << 30;

/// A compile child never has two.
const ONE_INSTANCE: PoolSize = PoolSize { instances: 1, concurrent: 1, warm: 0 };

/// Name of the engine for components of `kind`, in logs and in identifiers.
pub(crate) fn name(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Generated => "generated",
        ComponentKind::Plugin => "plugins",
    }
}

/// The settings of the engine for `kind`. All that decides the machine code depends on `kind` alone, so that a compile
/// child with a small `pool` makes code for the host's large one.
pub(crate) fn config(kind: ComponentKind, pool: PoolSize, pages: Enabled) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).consume_fuel(kind == ComponentKind::Generated);
    config
        .concurrency_support(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_relaxed_simd(false)
        .shared_memory(false);
    if kind == ComponentKind::Generated {
        config.cranelift_nan_canonicalization(true);
    }
    config.memory_init_cow(true).memory_reservation(MEMORY_RESERVATION).memory_guard_size(MEMORY_GUARD);
    // Nobody looks at the frames of a guest, and without the tables for it code is smaller and faster to make.
    config.wasm_backtrace_max_frames(None).generate_address_map(false).native_unwind_info(false);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(pool, pages)));
    config
}

fn pooling(size: PoolSize, pages: Enabled) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(size.instances)
        .total_core_instances(size.instances.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(size.instances)
        .total_tables(size.instances.saturating_mul(TABLES_PER_MEMORY))
        .total_stacks(size.instances)
        .total_gc_heaps(0)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memory_size(MAX_MEMORY_BYTES)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT)
        .max_unused_warm_slots(size.warm)
        .pagemap_scan(pages);
    pool
}

/// Whether the kernel can say which pages an instance has touched (`PAGEMAP_SCAN`, from 6.7 on), so that only those are
/// wiped for the next one.
pub fn pagemap_scan_available() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}

/// The engine of a host: its pool is as large as `pool` says. Where the kernel cannot scan page maps (before 6.7), the
/// pool does without.
pub(crate) fn host_engine(kind: ComponentKind, pool: PoolSize) -> wasmtime::Result<Engine> {
    Engine::new(&config(kind, pool, Enabled::Auto))
}

/// The engine of a compile child. `functions` holds the machine code of functions seen before.
pub(crate) fn compile_engine(kind: ComponentKind, functions: Option<Arc<dyn CacheStore>>) -> wasmtime::Result<Engine> {
    let mut config = config(kind, ONE_INSTANCE, Enabled::No);
    if let Some(functions) = functions {
        config.enable_incremental_compilation(functions)?;
    }
    Engine::new(&config)
}

/// Identifies all that machine code depends on: wasmtime's version, the target and its features, the settings.
/// SHA-256.
pub(crate) fn configuration_id(engine: &Engine) -> [u8; 32] {
    struct Sha(Sha256);
    impl std::hash::Hasher for Sha {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Sha(Sha256::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
    hasher.0.finalize().into()
}

/// A thread that advances the epoch of some engines every [`TICK`]. Ends when dropped.
pub(crate) struct EpochTicker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EpochTicker {
    pub(crate) fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("wasm-epoch".into()).stack_size(64 << 10).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(TICK);
                engines.iter().for_each(Engine::increment_epoch);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Ends within a tick; a panic in it has been reported already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for EpochTicker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochTicker")
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::WasmFeatures;

    use super::*;

    const KINDS: [ComponentKind; 2] = [ComponentKind::Generated, ComponentKind::Plugin];

    fn engine(kind: ComponentKind) -> Engine {
        host_engine(kind, PoolSize::default()).unwrap()
    }

    #[test]
    fn the_floor_is_set() {
        for kind in KINDS {
            let engine = engine(kind);
            assert!(engine.get_epoch_interruption());
            assert_eq!(engine.get_consume_fuel(), kind == ComponentKind::Generated);
            assert!(!engine.get_concurrency_support());
            assert!(!engine.get_shared_memory());
            assert!(engine.get_memory_init_cow());
            assert_eq!(engine.get_memory_reservation(), 4 << 30);
            assert_eq!(engine.get_memory_guard_size(), 32 << 20);
            assert_eq!(engine.get_max_wasm_stack(), Engine::default().get_max_wasm_stack());
        }
    }

    #[test]
    fn proposals_beyond_the_floor_are_off() {
        let off = [
            WasmFeatures::THREADS,
            WasmFeatures::SHARED_EVERYTHING_THREADS,
            WasmFeatures::MEMORY64,
            WasmFeatures::GC,
            WasmFeatures::FUNCTION_REFERENCES,
            WasmFeatures::EXCEPTIONS,
            WasmFeatures::LEGACY_EXCEPTIONS,
            WasmFeatures::STACK_SWITCHING,
            WasmFeatures::RELAXED_SIMD,
            WasmFeatures::CM_ASYNC,
            WasmFeatures::CM_THREADING,
        ];
        for kind in KINDS {
            let features = engine(kind).get_wasm_features();
            for feature in off {
                assert!(!features.intersects(feature), "{kind:?}: {feature:?}");
            }
        }
    }

    #[test]
    fn the_pool_is_sized_for_the_floor() {
        let engine = engine(ComponentKind::Plugin);
        let pool = engine.get_pooling_config().unwrap();
        assert_eq!(pool.get_total_component_instances(), 2_000);
        assert_eq!(pool.get_total_memories(), 2_000);
        assert_eq!(pool.get_total_stacks(), 2_000);
        assert_eq!(pool.get_max_memory_size(), 64 << 20);
        assert_eq!(pool.get_max_core_instances_per_component(), 64);
        assert_eq!((pool.get_max_memories_per_component(), pool.get_max_tables_per_component()), (10, 10));
        assert_eq!(pool.get_memory_keep_resident(), 1 << 20);
        assert_eq!(pool.get_table_keep_resident(), 64 << 10);
        assert_eq!(pool.get_async_stack_keep_resident(), 64 << 10);
        assert_eq!(pool.get_max_unused_warm_slots(), 256);
        assert!(matches!(pool.get_pagemap_scan(), Enabled::Auto));
    }

    #[test]
    fn a_child_compiles_for_the_host() {
        let pool = PoolSize { instances: 4, concurrent: 2, warm: 1 };
        let [generated, plugins] = KINDS.map(|kind| configuration_id(&host_engine(kind, pool).unwrap()));
        assert_ne!(generated, plugins);
        assert_eq!(generated, configuration_id(&compile_engine(ComponentKind::Generated, None).unwrap()));
        assert_eq!(plugins, configuration_id(&compile_engine(ComponentKind::Plugin, None).unwrap()));
    }

    #[test]
    fn the_ticker_counts_and_ends() {
        let engine = compile_engine(ComponentKind::Plugin, None).unwrap();
        let weak = engine.weak();
        let ticker = EpochTicker::start(vec![engine]).unwrap();
        assert!(weak.upgrade().is_some());
        drop(ticker);
        assert!(weak.upgrade().is_none());
    }
}
