//! What a call costs: a fresh instance of a Rust component and of a JavaScript one, alone and from many tasks.
//!
//! `cargo xtask bench calls`. The reference is a fixed piece of arithmetic: compare it before comparing two machines,
//! or one machine on two days.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot run ends")]

use std::{
    hint::black_box,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nexus_model::{Component, ComponentAnswer, ComponentHost, ComponentKind};
use nexus_wasm::{CacheKey, ChildCommand, WasmConfig, WasmHost};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

const DEADLINE: Duration = Duration::from_secs(10);
const TASKS: u64 = 64;

const ORDER: &str = r#"{"currency":"EUR","lines":[{"sku":"pen","quantity":3,"unit_price":"0.10"},{"sku":"ink","quantity":1,"unit_price":"19.90"}]}"#;
const DATE: &str = r#"{"text":"3rd of March 2024"}"#;
const DATES: &str = r#"
const MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
  "november", "december"];
function run(input) {
  const match = /^(\d{1,2})(?:st|nd|rd|th)? (?:of )?([a-z]+),? (\d{4})$/i.exec(input.text.trim());
  if (!match) return { abstain: "not a date that I know" };
  const month = MONTHS.indexOf(match[2].toLowerCase()) + 1;
  if (month === 0) return { abstain: "not a month" };
  return { ok: { date: `${match[3]}-${String(month).padStart(2, "0")}-${match[1].padStart(2, "0")}` } };
}"#;

struct Bench {
    runtime: Runtime,
    host: WasmHost,
    rust: Arc<dyn Component>,
    javascript: Arc<dyn Component>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let host = WasmHost::new(config(dir.path()), TaskTracker::new()).unwrap();
        let (rust, javascript) = runtime.block_on(async {
            let order_total = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist/order-total.wasm");
            let order_total = std::fs::read(order_total).expect("run `cargo xtask build`");
            let rust = host.load(ComponentKind::Plugin, &order_total).await.unwrap();
            let javascript = host.build(DATES).await.unwrap();
            (rust, host.load(ComponentKind::Generated, &javascript).await.unwrap())
        });
        Self { runtime, host, rust, javascript, _dir: dir }
    }
}

async fn call(component: &dyn Component, input: &str) {
    match component.run(input, DEADLINE).await {
        Ok(ComponentAnswer::Value(value)) => drop(black_box(value)),
        other => panic!("{other:?}"),
    }
}

/// `calls` calls, shared among the tasks.
async fn flood(component: Arc<dyn Component>, input: &'static str, calls: u64) -> Duration {
    let (left, tasks) = (Arc::new(AtomicU64::new(calls)), TaskTracker::new());
    let start = Instant::now();
    for _ in 0..TASKS {
        let (component, left) = (component.clone(), left.clone());
        tasks.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                call(&*component, input).await;
                tokio::task::yield_now().await;
            }
        });
    }
    tasks.close();
    tasks.wait().await;
    start.elapsed()
}

fn calls(criterion: &mut Criterion) {
    criterion.bench_function("reference: a million steps of a linear congruence", |bencher| {
        bencher
            .iter(|| (0..1_000_000_u64).fold(black_box(1_u64), |x, n| x.wrapping_mul(6_364_136_223_846_793_005) ^ n));
    });
    let bench = Bench::new();
    for (name, component, input) in [("rust", &bench.rust, ORDER), ("javascript", &bench.javascript, DATE)] {
        criterion.bench_function(&format!("fresh call: {name}"), |bencher| {
            bencher.to_async(&bench.runtime).iter(|| call(&**component, input));
        });
        let mut group = criterion.benchmark_group("64 tasks on 2 threads");
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.to_async(&bench.runtime).iter_custom(|calls| flood(component.clone(), input, calls));
        });
        group.finish();
    }
}

/// From JavaScript that was never seen before to a component that answers.
fn builds(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("source to runnable");
    group.sample_size(10);
    group.bench_function("engine compiled", |bencher| {
        let version = AtomicU64::new(0);
        bencher.to_async(&bench.runtime).iter(|| {
            let source = format!("{DATES} const version = {};", version.fetch_add(1, Ordering::Relaxed));
            ready(&bench.host, source)
        });
    });
    group.bench_function("empty cache", |bencher| {
        bencher.to_async(&bench.runtime).iter(|| async {
            let dir = tempfile::tempdir().unwrap();
            let host = WasmHost::new(config(dir.path()), TaskTracker::new()).unwrap();
            ready(&host, DATES.to_owned()).await;
        });
    });
    group.finish();
}

async fn ready(host: &WasmHost, source: String) {
    let component = host.build(&source).await.unwrap();
    let component = host.load(ComponentKind::Generated, &component).await.unwrap();
    call(&*component, DATE).await;
}

fn config(dir: &Path) -> WasmConfig {
    let child = ChildCommand { program: env!("CARGO_BIN_EXE_nexus-compile-child").into(), args: Vec::new() };
    WasmConfig::new(dir.to_owned(), CacheKey::new([7; 32]), child)
}

criterion_group!(benches, calls, builds);
criterion_main!(benches);
