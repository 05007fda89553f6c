//! What an execution of a workflow costs beside what its steps do.

use std::{
    fs::{File, create_dir_all, write},
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nexus_tests::{Api, DockerEngine, House, HouseOptions, WalkerDriver};
use serde_json::{Value, json};

use super::{Figure, Findings, fixture::Bench, memory::mebibytes};
use crate::{out, workspace::Workspace};

const APP: &str = "steps";
/// Executions at one time, when there are many.
const CALLERS: usize = 60;
/// Executions one after another.
const ALONE: usize = 300;
/// Executions before something is measured.
const WARM_UP: usize = 200;
/// Executions that wait for an hour.
const NAPS: usize = 1_000;
/// The longest until all of them wait.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long the disk is asked.
const DISK: Duration = Duration::from_secs(2);
/// Bytes of a write to the disk.
const BLOCK: usize = 4 << 10;

/// Measures the same workflow in a warm container and in a plain process, one after the other, and the disk before each.
pub(super) fn measure(workspace: &Workspace, seconds: u32, programs: Option<&PathBuf>) -> Result<Findings> {
    let bench = Bench::new(workspace, "workflows")?;
    app(&bench.apps().join(APP))?;
    let engine = DockerEngine::find_or_start(&bench.folder.join("engine"))?;
    let own = programs.is_none();
    let programs = programs.map_or_else(|| workspace.programs(), Clone::clone);
    let (mut figures, mut compared) = (Vec::new(), Vec::new());
    if own {
        figures.extend(echo(workspace, &engine.address()?)?);
    }
    for (name, driver) in [("container", WalkerDriver::Docker(engine.address()?)), ("process", WalkerDriver::Process)] {
        out::step("bench", &format!("workflows in a {name}"));
        let syncs = syncs(&bench.folder)?;
        figures.push(Figure::new(format!("{name}: disk, write + fsync of 4 KiB, one after another"), syncs, "1/s"));
        let data = bench.folder.join(name);
        create_dir_all(&data)?;
        let recordings = bench.folder.join("recordings");
        let options = HouseOptions::new(programs.clone(), bench.apps(), recordings, settings(&driver));
        let house = House::start(options, &data)?;
        let durable = load(name, &house, seconds, &mut figures)?;
        figures.push(Figure::new(
            format!("{name}: executions per fsync that the disk does alone"),
            durable / syncs,
            "",
        ));
        compared.push(durable);
        naps(name, &house, &driver, &mut figures)?;
        house.stop()?;
    }
    if let [container, process] = compared[..] {
        figures.push(Figure::new("container, of the process", container / process, ""));
    }
    Ok(Findings {
        name: "workflows",
        configuration: json!({
            "workflow": "set, core.state.increment, set, core.state.increment, set, core.state.increment, set: three effects, \
                         each on the disk before the next begins, on a key of the execution's own",
            "counted": "from the request to the answer with the output, over HTTP",
            "alone": ALONE, "callers": CALLERS, "seconds": seconds, "warm_up": WARM_UP, "naps": NAPS,
            "store": "embedded",
        }),
        figures,
    })
}

fn settings(driver: &WalkerDriver) -> String {
    match driver {
        WalkerDriver::Process => "sandbox: { driver: process }\n".to_owned(),
        WalkerDriver::Docker(host) => format!("sandbox: {{ driver: docker, docker_host: \"{host}\" }}\n"),
    }
}

/// Writes the application.
fn app(folder: &Path) -> Result<()> {
    create_dir_all(folder)?;
    let step = |number: usize| {
        let with = json!({ "tool": "core.state.increment", "arguments": { "key": "${ .key }" } });
        [
            json!({ format!("set{number}"): { "set": { "key": "${ $workflow.input.key }" } } }),
            json!({ format!("call{number}"): { "call": "tool", "with": with } }),
        ]
    };
    let mut tasks: Vec<Value> = (1..=3).flat_map(step).collect();
    tasks.push(json!({ "end": { "set": { "count": "${ .value }" } } }));
    let document = |name: &str| json!({ "dsl": "1.0.0", "namespace": APP, "name": name, "version": "1.0.0" });
    let nap = json!([{ "nap": { "wait": { "hours": 1 } } }]);
    write(folder.join("three.json"), json!({ "document": document("three"), "do": tasks }).to_string())?;
    write(folder.join("nap.json"), json!({ "document": document("nap"), "do": nap }).to_string())?;
    write(folder.join("any.json"), "{}\n")?;
    let operation =
        |name: &str| format!("    {name}: {{ input: any.json, output: any.json, workflow: {name}.json }}\n");
    let head = format!("apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {APP} }}\nspec:\n  operations:\n");
    let tools = "  tools: { allow: [\"core.state.*\"] }\n";
    Ok(write(folder.join("app.yaml"), head + &operation("three") + &operation("nap") + tools)?)
}

/// What a line costs there and back through a container's streams, and nothing else: the benchmark of `nexus-sandbox`.
fn echo(workspace: &Workspace, engine: &str) -> Result<[Figure; 2]> {
    out::step("bench", "a bare line there and back through a container (cargo bench --bench sandbox)");
    // No package is named: that would be another set of features.
    let mut bench = workspace.cargo(["bench", "--profile", "release", "--bench", "sandbox"]);
    let output =
        bench.env("DOCKER_HOST", engine).stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "the benchmark `sandbox` failed");
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix("a line there and back: p50 "));
    let times = line.and_then(|line| line.split_once(" (")?.0.split_once(", p99 "));
    let (p50, p99) =
        times.with_context(|| format!("the benchmark `sandbox` does not say what a line costs: {said}"))?;
    Ok([
        Figure::new("container: a bare line there and back, p50", millis(p50)?, "ms"),
        Figure::new("container: a bare line there and back, p99", millis(p99)?, "ms"),
    ])
}

/// Reads a duration as Rust shows it for debugging, such as `153.2µs`.
fn millis(text: &str) -> Result<f64> {
    let number = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[number.len()..] {
        "ns" => 1e-6,
        "µs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        other => bail!("`{other}` is no unit of time"),
    };
    Ok(number.parse::<f64>().with_context(|| format!("`{text}` is no time"))? * unit)
}

/// How often the disk of a folder does a write and an fsync in a second, one after another.
fn syncs(folder: &Path) -> Result<f64> {
    let path = folder.join("syncs");
    let mut file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    let (begin, mut count) = (Instant::now(), 0_u32);
    while begin.elapsed() < DISK {
        file.write_all(&[7; BLOCK])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// Executions a second when there are as many callers as there may be.
fn load(name: &str, house: &House, seconds: u32, figures: &mut Vec<Figure>) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let limit = |count: usize| Until { calls: count, end: Instant::now() + Duration::from_hours(1) };
    call(&house.api, &next, CALLERS, &limit(WARM_UP))?;
    let alone = call(&house.api, &next, 1, &limit(ALONE))?;
    let before = house.nexus.processor_time()?;
    let begin = Instant::now();
    let until = Until { calls: usize::MAX, end: begin + Duration::from_secs(u64::from(seconds)) };
    let many = call(&house.api, &next, CALLERS, &until)?;
    let elapsed = begin.elapsed().as_secs_f64();
    let busy = house.nexus.processor_time()?.saturating_sub(before).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 executions")]
    let count = many.len() as f64;
    let rate = count / elapsed;
    figures.extend([
        Figure::new(format!("{name}: alone, p50"), at(&alone, 50), "ms"),
        Figure::new(format!("{name}: alone, p99"), at(&alone, 99), "ms"),
        Figure::new(format!("{name}: {CALLERS} at a time, p50"), at(&many, 50), "ms"),
        Figure::new(format!("{name}: {CALLERS} at a time, p99"), at(&many, 99), "ms"),
        Figure::new(format!("{name}: {CALLERS} at a time, durable"), rate, "executions/s"),
        Figure::new(format!("{name}: the server's processor time"), busy * 1e3 / count, "ms/execution"),
    ]);
    Ok(rate)
}

/// When callers stop.
struct Until {
    calls: usize,
    end: Instant,
}

/// Calls in a closed loop; how long each took, in order of length.
fn call(api: &Api, next: &AtomicUsize, callers: usize, until: &Until) -> Result<Vec<Duration>> {
    let (took, done) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    scope(|threads| {
        let workers: Vec<_> = (0..callers)
            .map(|_| {
                threads.spawn(|| -> Result<()> {
                    while done.fetch_add(1, Relaxed) < until.calls && Instant::now() < until.end {
                        let key = format!("key-{}", next.fetch_add(1, Relaxed));
                        let reply = api.call(APP, "three", &json!({ "key": key }))?;
                        let output = reply.success()?;
                        ensure!(output["count"] == 3, "three steps counted to {output}");
                        took.lock().unwrap_or_else(PoisonError::into_inner).push(reply.elapsed);
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a caller broke off")))
    })?;
    let mut took = took.into_inner().unwrap_or_else(PoisonError::into_inner);
    took.sort_unstable();
    Ok(took)
}

/// The length that so many of a hundred did not exceed, in milliseconds.
fn at(took: &[Duration], percent: usize) -> f64 {
    took.get(took.len() * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// What executions cost that wait for an hour.
fn naps(name: &str, house: &House, driver: &WalkerDriver, figures: &mut Vec<Figure>) -> Result<()> {
    let memory = || -> Result<(u64, u64)> { Ok((house.nexus.resident_bytes()?, driver.resident_bytes(house)?)) };
    let before = memory()?;
    for _ in 0..NAPS {
        let reply = house.api.begin(APP, "nap", &json!({}))?;
        ensure!(reply.status == 202, "HTTP {}: {}", reply.status, reply.text);
    }
    let end = Instant::now() + PATIENCE;
    while waiting(&house.api)? < NAPS {
        ensure!(Instant::now() < end, "{} of {NAPS} wait", waiting(&house.api)?);
        sleep(Duration::from_millis(200));
    }
    let after = memory()?;
    let each = |before: u64, after: u64| (mebibytes(after) - mebibytes(before)) * 1024.0 / 1_000.0;
    figures.extend([
        Figure::new(format!("{name}: server resident"), mebibytes(before.0), "MiB"),
        Figure::new(format!("{name}: server, for each of {NAPS} that wait"), each(before.0, after.0), "KiB"),
        Figure::new(format!("{name}: sandboxes resident"), mebibytes(before.1), "MiB"),
        Figure::new(format!("{name}: sandboxes, for each of {NAPS} that wait"), each(before.1, after.1), "KiB"),
    ]);
    Ok(())
}

/// How many executions wait in no sandbox.
fn waiting(api: &Api) -> Result<usize> {
    let (mut count, mut before) = (0, String::new());
    loop {
        let page = api.get(&format!("/v1/executions?app={APP}&unfinished=true&limit=200{before}"))?.success()?;
        let listed = page["executions"].as_array().context("executions are listed")?;
        count += listed.iter().filter(|execution| execution["status"] == "waiting").count();
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn durations_are_read_in_milliseconds() {
        let read = ["250ns", "12.5µs", "3.25ms", "1.5s"].map(|text| millis(text).unwrap_or(-1.0));
        let expected = [0.000_25, 0.012_5, 3.25, 1_500.0];
        assert!(read.iter().zip(expected).all(|(read, expected)| (read - expected).abs() < 1e-9), "{read:?}");
        assert!(millis("3 weeks").is_err());
    }
}
