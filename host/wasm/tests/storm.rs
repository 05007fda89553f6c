//! Very many hostile calls of plugins in one process: each ends as it should, a neighbour is answered all along, and
//! memory stays flat. `cargo xtask soak plugins` runs 100,000 of them, this test a hundredth.

#![expect(clippy::print_stdout, reason = "what was measured is told to whoever asks with `--nocapture`")]
#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends the test")]

#[path = "it/guests.rs"]
mod guests;
#[expect(dead_code, reason = "the other test needs more of it")]
#[path = "it/services.rs"]
mod services;
#[expect(dead_code, reason = "the other test needs more of it")]
#[path = "it/support.rs"]
mod support;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nexus_model::{ComponentFault, Grants, LinkedPlugin, LoadError, PluginHost, ToolFault, ToolOutcome};
use nexus_wasm::WasmHost;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use self::{
    services::Desk,
    support::{PATIENCE, config, host_with},
};

const DEADLINE: Duration = Duration::from_millis(5);

/// Calls at one time.
const TASKS: usize = 8;

/// How much the process may grow after it has warmed up, in bytes.
const GROWTH: usize = 16 << 20;

/// What a hostile guest may end as. A deadline of 5 ms comes before anything else on a busy machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Deadline,
    Limit,
    Stack,
    /// It found its cap and lives with that.
    Answer,
}

impl End {
    fn is(self, outcome: &Result<ToolOutcome, ToolFault>) -> bool {
        match outcome {
            Err(ToolFault::Component(ComponentFault::Deadline(_))) => true,
            Err(ToolFault::Component(ComponentFault::Limit(_))) => self == Self::Limit,
            Err(ToolFault::Component(ComponentFault::Stack)) => self == Self::Stack,
            Ok(_) => self == Self::Answer,
            Err(_) => false,
        }
    }
}

/// The rows of the table of hostile inputs that a call can be.
fn hostile() -> Vec<(Vec<u8>, End)> {
    vec![
        (guests::endless_loop(), End::Deadline),
        (guests::sleeper(), End::Deadline),
        (guests::memory_grower(), End::Answer),
        (guests::memories_grower(), End::Answer),
        (guests::deep_recursion(), End::Stack),
        (guests::long_answer(), End::Limit),
        (guests::hoarder(), End::Limit),
        (guests::endless_output(60_000), End::Deadline),
        (guests::endless_output(0), End::Deadline),
    ]
}

async fn call(
    plugin: &dyn LinkedPlugin,
    tool: &str,
    arguments: &Value,
    deadline: Duration,
) -> Result<ToolOutcome, ToolFault> {
    plugin.call(tool, arguments, Arc::new(Desk::default()), deadline).await
}

/// How far past their deadlines calls ended, in microseconds.
async fn storm(plugins: &Arc<Vec<(Arc<dyn LinkedPlugin>, End)>>, runs: usize) -> Vec<u64> {
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
                    let (plugin, end) = &plugins[number % plugins.len()];
                    let start = Instant::now();
                    let outcome = call(&**plugin, "handler.run", &json!({ "input": "x" }), DEADLINE).await;
                    let overrun = start.elapsed().saturating_sub(DEADLINE);
                    assert!(end.is(&outcome), "{end:?}: {outcome:?}");
                    overruns.push(u64::try_from(overrun.as_micros()).unwrap());
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

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn runs() -> usize {
    #[expect(clippy::disallowed_methods, reason = "the soak says how long this goes on")]
    std::env::var("NEXUS_TEST_RUNS").map_or(1_000, |runs| runs.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_calls_end_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let host = host_with(config(dir.path()));
    let mut plugins = Vec::new();
    for (component, end) in hostile() {
        plugins.push((host.link(&component, &Grants::default()).await.unwrap(), end));
    }
    let plugins = Arc::new(plugins);
    let add = wat::parse_str(include_str!("it/echo.wat")).unwrap();
    let add = host.link(&add, &Grants::default()).await.unwrap();
    let runs = runs();
    storm(&plugins, (runs / 10).max(1_000)).await;

    let before = resident();
    let (done, tasks) = (Arc::new(AtomicBool::new(false)), TaskTracker::new());
    let neighbour = tasks.spawn(neighbour(add, Arc::clone(&done)));
    let overruns = storm(&plugins, runs).await;
    done.store(true, Ordering::Relaxed);
    let answered = neighbour.await.unwrap();
    let grown = resident().saturating_sub(before);
    println!(
        "{}",
        json!({
            "runs": runs,
            "overrun_p99_us": percentile(&overruns, 99),
            "overrun_max_us": percentile(&overruns, 100),
            "neighbour_calls": answered.len(),
            "neighbour_p50_us": percentile(&answered, 50),
            "neighbour_p99_us": percentile(&answered, 99),
            "resident_growth_bytes": grown,
        })
    );
    assert!(grown <= GROWTH, "{grown} bytes more after {runs} calls");
}

/// Files that are no components, or that ask for what there is no grant for.
fn strangers() -> Vec<Vec<u8>> {
    let whole = wat::parse_str(include_str!("it/echo.wat")).unwrap();
    let noise = (0_u32..4_096).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect::<Vec<u8>>();
    vec![
        wat::parse_str("(module (func (export \"f\")))").unwrap(),
        wat::parse_str("(component (import \"evil:host/everything@1.0.0\" (instance)))").unwrap(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..8], &noise].concat(),
        noise,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_forgeries_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let host = host_with(config(dir.path()));
    let add = wat::parse_str(include_str!("it/echo.wat")).unwrap();
    for round in 0..(runs() / 1_000).max(1) {
        for stranger in strangers() {
            let refused = host.inspect(&stranger).await;
            assert!(matches!(refused, Err(LoadError::NotAComponent(_) | LoadError::ForeignImports(_))), "{refused:?}");
        }
        forge(dir.path());
        let plugin = host.link(&add, &Grants::default()).await.unwrap();
        let sum = call(&*plugin, "add", &json!({ "a": round, "b": 2 }), PATIENCE).await;
        assert_eq!(sum, Ok(ToolOutcome::Value(json!(round + 2))));
    }
    assert_eq!(forged(&host), (runs() / 1_000).max(1) - 1);
}

/// Changes a byte of each entry of the cache.
fn forge(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        fs::write(path, bytes).unwrap();
    }
}

fn forged(host: &WasmHost) -> usize {
    usize::try_from(host.cache_counters().forged).unwrap()
}
