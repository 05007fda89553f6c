//! Hostile calls, many at one time, and a neighbour's beside them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nexus_model::{Grants, LinkedPlugin, PluginHost, ToolFault, ToolOutcome};
use nexus_wasm::WasmHost;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::{hostile::Hostile, services::Desk, support::PATIENCE};

const DEADLINE: Duration = Duration::from_millis(5);

/// Calls at one time.
const TASKS: usize = 8;

/// A component with the tool `add`.
pub(crate) fn adder() -> Vec<u8> {
    wat::parse_str(include_str!("../it/echo.wat")).unwrap()
}

pub(crate) async fn call(
    plugin: &dyn LinkedPlugin,
    tool: &str,
    arguments: &Value,
    deadline: Duration,
) -> Result<ToolOutcome, ToolFault> {
    plugin.call(tool, arguments, Arc::new(Desk::default()), deadline).await
}

/// How far past their deadlines calls ended, in microseconds.
pub(crate) async fn storm(plugins: &Arc<Vec<Hostile>>, runs: usize) -> Vec<u64> {
    let (next, tasks) = (Arc::new(AtomicUsize::new(0)), TaskTracker::new());
    let workers: Vec<_> = (0..TASKS)
        .map(|_| {
            let (plugins, next) = (Arc::clone(plugins), Arc::clone(&next));
            tasks.spawn(async move {
                let mut overruns = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        return overruns;
                    }
                    overruns.push(overrun(&plugins[number % plugins.len()]).await);
                }
            })
        })
        .collect();
    let mut overruns = Vec::with_capacity(runs);
    for worker in workers {
        overruns.extend(worker.await.unwrap());
    }
    overruns.sort_unstable();
    overruns
}

async fn overrun(hostile: &Hostile) -> u64 {
    let start = Instant::now();
    let outcome = call(&*hostile.plugin, hostile.tool, &hostile.arguments, DEADLINE).await;
    let overrun = start.elapsed().saturating_sub(DEADLINE);
    assert!(hostile.end.is(&outcome), "{} {}: {outcome:?}", hostile.tool, hostile.arguments);
    u64::try_from(overrun.as_micros()).unwrap()
}

/// The storm, with the calls of a neighbour beside it.
pub(crate) async fn beside_a_neighbour(host: &WasmHost, plugins: &Arc<Vec<Hostile>>, runs: usize) {
    let adder = host.link(&adder(), &Grants::default()).await.unwrap();
    let (done, tasks) = (Arc::new(AtomicBool::new(false)), TaskTracker::new());
    let neighbour = tasks.spawn(neighbour(adder, Arc::clone(&done)));
    let overruns = storm(plugins, runs).await;
    done.store(true, Ordering::Relaxed);
    let answered = neighbour.await.unwrap();
    println!(
        "{}",
        json!({
            "runs": runs,
            "overrun_p99_us": percentile(&overruns, 99),
            "overrun_max_us": percentile(&overruns, 100),
            "neighbour_calls": answered.len(),
            "neighbour_p50_us": percentile(&answered, 50),
            "neighbour_p99_us": percentile(&answered, 99),
        })
    );
}

/// How long the neighbour's calls took, in microseconds, until `done`.
async fn neighbour(plugin: Arc<dyn LinkedPlugin>, done: Arc<AtomicBool>) -> Vec<u64> {
    let mut took = Vec::new();
    while !done.load(Ordering::Relaxed) || took.is_empty() {
        let start = Instant::now();
        let sum = call(&*plugin, "add", &json!({ "a": 40, "b": 2 }), PATIENCE).await;
        assert_eq!(sum, Ok(ToolOutcome::Value(json!(42))));
        took.push(u64::try_from(start.elapsed().as_micros()).unwrap());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort_unstable();
    took
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
