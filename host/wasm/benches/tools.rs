//! What reflection costs: a tool called with JSON beside the same function of the same component called with Rust types
//! that were known when this was compiled, each in a fresh instance.
//!
//! `cargo bench --bench tools`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run ends")]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use nexus_model::{Grants, LinkedPlugin, PluginHost};
use nexus_wasm::{CacheKey, ChildCommand, WasmConfig, WasmHost};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits, StoreLimitsBuilder,
    component::{Component, ComponentType, InstancePre, Lift, Linker, Lower},
};

#[expect(dead_code, reason = "tests need more of it")]
#[path = "../tests/it/services.rs"]
mod services;

const DEADLINE: Duration = Duration::from_secs(10);

/// A record of ten fields that comes back as it was.
const RECORD: &str = include_str!("record.wat");

#[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
struct Order {
    id: u32,
    serial: u64,
    price: f64,
    paid: bool,
    priority: u8,
    lines: u16,
    customer: String,
    city: String,
    discount: Option<u32>,
    weight: f32,
}

fn order() -> Order {
    Order {
        id: 7,
        serial: 1 << 40,
        price: 19.9,
        paid: true,
        priority: 3,
        lines: 12,
        customer: "Ada Lovelace".to_owned(),
        city: "London".to_owned(),
        discount: Some(5),
        weight: 0.5,
    }
}

fn json() -> Value {
    json!({ "order": {
        "id": 7, "serial": 1_u64 << 40, "price": 19.9, "paid": true, "priority": 3, "lines": 12,
        "customer": "Ada Lovelace", "city": "London", "discount": 5, "weight": 0.5,
    } })
}

/// The typed call: an engine with the settings of the host that cost time.
struct Typed {
    engine: Engine,
    instance: InstancePre<StoreLimits>,
    function: wasmtime::component::ComponentExportIndex,
}

impl Typed {
    fn new(bytes: &[u8]) -> Self {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(100)
            .max_memory_size(64 << 20)
            .linear_memory_keep_resident(1 << 20)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(64 << 10)
            .pagemap_scan(wasmtime::Enabled::Auto);
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .concurrency_support(false)
            .memory_reservation(4 << 30)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, bytes).unwrap();
        let function = component.get_export_index(None, "same").unwrap();
        let instance = Linker::new(&engine).instantiate_pre(&component).unwrap();
        Self { engine, instance, function }
    }

    async fn call(&self, order: Order) -> Order {
        let mut store = Store::new(&self.engine, StoreLimitsBuilder::new().build());
        store.limiter(|limits| limits);
        store.set_epoch_deadline(1_000_000);
        let instance = self.instance.instantiate_async(&mut store).await.unwrap();
        let same = instance.get_typed_func::<(Order,), (Order,)>(&mut store, self.function).unwrap();
        same.call_async(&mut store, (order,)).await.unwrap().0
    }
}

fn tools(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let bytes = wat::parse_str(RECORD).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let child = ChildCommand { program: env!("CARGO_BIN_EXE_nexus-compile-child").into(), args: Vec::new() };
    let config = WasmConfig::new(dir.path().to_owned(), CacheKey::new([7; 32]), child);
    let host = WasmHost::new(config, TaskTracker::new()).unwrap();
    let plugin: Arc<dyn LinkedPlugin> = runtime.block_on(host.link(&bytes, &Grants::default())).unwrap();
    let typed = Typed::new(&bytes);
    assert_eq!(runtime.block_on(typed.call(order())), order());

    let mut group = criterion.benchmark_group("a record of ten fields");
    group.bench_function("typed", |bencher| {
        bencher.to_async(&runtime).iter(async || black_box(typed.call(order()).await));
    });
    let (arguments, services) = (json(), Arc::new(services::Desk::default()));
    group.bench_function("json", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || black_box(plugin.call("same", &arguments, services.clone(), DEADLINE).await.unwrap()));
    });
    group.finish();
}

criterion_group!(benches, tools);
criterion_main!(benches);
