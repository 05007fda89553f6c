//! What hostile callers and hostile code get: an answer of their own, while the neighbour has his and memory stays flat.

use std::{
    collections::BTreeMap,
    fs::{copy, create_dir_all, write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{Api, Checkout, Fixture, House, Stage, Taste, bombs, copy_folder, input, source};
use serde_json::Value;

const APP: &str = "scale-room";

/// Bytes by which the server may have grown over a round of hostile calls.
const FLAT: u64 = 48 << 20;

/// Starts a server whose operation `convert` is the neighbour: it answers, whatever happens beside it.
fn start(folder: &tempfile::TempDir, fixture: &Fixture) -> Result<(Stage, House)> {
    let stage = Stage::new(folder.path())?;
    stage.add(fixture)?;
    let house = stage.start(0.0)?;
    Ok((stage, house))
}

/// Runs `attack` eight times while a neighbour calls on and on. It has run once before memory is looked at.
fn beside_a_neighbour(house: &House, attack: impl Fn() -> Result<()>) -> Result<()> {
    attack()?;
    with_neighbour(house, || (0..8).try_for_each(|_| attack()))
}

/// Runs `attack` while a neighbour calls on and on: each of his calls must succeed, and the server's memory stay flat.
fn with_neighbour<T>(house: &House, attack: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = house.nexus.resident_bytes()?;
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let attacked = scope(|threads| -> Result<T> {
        let neighbour = threads.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                house.api.call(APP, "convert", &input("convert", 8))?.success()?;
                calls.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let attacked = attack();
        stop.store(true, Ordering::Relaxed);
        neighbour.join().map_err(|_| anyhow::anyhow!("the neighbour broke off"))?.context("the neighbour")?;
        attacked
    })?;
    let grown = house.nexus.resident_bytes()?.saturating_sub(before);
    ensure!(calls.load(Ordering::Relaxed) > 0, "the neighbour had no answer in all that time");
    ensure!(grown < FLAT, "the server grew by {grown} bytes");
    Ok(attacked)
}

fn refused(api: &Api, path: &str, body: &[u8], status: u16, word: &str) -> Result<()> {
    let reply = api.post(path, body)?;
    ensure!(reply.status == status, "{path}: HTTP {} instead of {status}: {}", reply.status, reply.text);
    ensure!(reply.text.contains(word), "{path}: `{word}` is not in {}", reply.text);
    ensure!(reply.json()["status"] == status, "a problem details object: {}", reply.text);
    Ok(())
}

#[test]
fn hostile_requests_get_their_answer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_stage, house) = start(&folder, &Fixture::new(APP, Taste::Opinion)?)?;
    let (api, weigh) = (&house.api, format!("/v1/apps/{APP}/operations/weigh"));
    let nobody = api.with_key(None);
    let stranger = api.with_key(Some("nxs_0000000000000000_notakeynotakeynotakey"));
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(2 << 20));
    let deep = "[".repeat(10_000);
    beside_a_neighbour(&house, || {
        refused(api, &weigh, b"{\"text\": ", 400, "JSON")?;
        refused(api, &weigh, b"\xff\xfe\x00", 400, "JSON")?;
        refused(api, &weigh, deep.as_bytes(), 400, "JSON")?;
        refused(api, &weigh, b"{\"text\": 7, \"more\": 1}", 422, "text")?;
        refused(api, &weigh, large.as_bytes(), 413, "large")?;
        refused(api, "/v1/apps/scale-rom/operations/weigh", b"{}", 404, APP)?;
        refused(api, &format!("/v1/apps/{APP}/operations/wiegh"), b"{}", 404, "weigh")?;
        refused(&nobody, &weigh, b"{}", 401, "key")?;
        refused(&stranger, &weigh, b"{}", 401, "key")
    })?;
    house.stop()
}

#[test]
fn hostile_code_is_stopped_and_the_model_answers_the_same_request() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fixture = Fixture::new(APP, Taste::Opinion)?.with_code("weigh", vec![source("weigh.bombs")?]);
    let (_stage, house) = start(&folder, &fixture)?;
    assert_eq!(house.teach(APP, "weigh")?, "active", "the bombs are on inputs that no split has seen");
    // What fills its memory may run out of time first, on a slow machine.
    let memory = ["failure", "limit", "deadline"];
    let expected = [&["deadline"][..], &memory, &["failure", "limit", "trap"], &["output_schema"]];
    beside_a_neighbour(&house, || {
        for (bomb, reasons) in bombs("weigh").iter().zip(expected) {
            let reply = house.api.call(APP, "weigh", bomb)?;
            let answer: Value = reply.success()?;
            ensure!(answer == fixture.answer("weigh", bomb), "{bomb} is answered with {answer}");
            let reason = reply.fallback.as_deref().unwrap_or("none");
            ensure!(reasons.contains(&reason), "{bomb}: fell back because of {reason}, expected one of {reasons:?}");
        }
        Ok(())
    })?;
    assert_eq!(house.api.call(APP, "weigh", &input("weigh", 200))?.path.as_deref(), Some("component"));
    house.stop()
}

#[test]
fn hostile_source_is_refused_while_it_is_built() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let endless = format!("{}\nwhile (true) {{}}", source("weigh.2")?);
    let nested = format!("{}\nconst deep = {}0{};", source("weigh.2")?, "[".repeat(20_000), "]".repeat(20_000));
    let huge = format!("{}\nconst huge = new Array(50000000).fill(\"x\");", source("weigh.2")?);
    let attempts = vec![endless, nested, huge, source("weigh.2")?];
    let (_stage, house) = start(&folder, &Fixture::new(APP, Taste::Opinion)?.with_code("weigh", attempts))?;
    house.teach(APP, "taste")?; // What the first compilation of all keeps is not the bombs'.
    let decided = with_neighbour(&house, || house.teach(APP, "weigh"))?;
    assert_eq!(decided, "active", "the fourth attempt is good");
    let evidence = house.api.optimization(APP, "weigh")?["evidence"].clone();
    let tries = evidence["attempts"].as_array().context("attempts are listed")?;
    assert_eq!(tries.len(), 4, "{evidence}");
    for attempt in &tries[..3] {
        assert!(attempt["refused"]["reason"].is_string(), "{attempt}");
    }
    assert_eq!(house.api.call(APP, "weigh", &input("weigh", 200))?.path.as_deref(), Some("component"));
    house.stop()
}

#[test]
fn hostile_definitions_are_refused_by_name_and_the_others_serve() -> Result<()> {
    let foreign = wat::parse_str("(component (import \"evil:host/shell\" (instance (export \"run\" (func)))))")?;
    let core = wat::parse_str("(module)")?;
    let cases: [(&str, Vec<u8>, &str); 3] = [
        ("foreign", foreign, "evil:host/shell"),
        ("core", core, "component"),
        ("random", vec![0x5a; 4096], "component"),
    ];
    let folder = tempfile::tempdir()?;
    let (stage, house) = start(&folder, &Fixture::new(APP, Taste::Opinion)?)?;
    let house = house.restart_without_apps()?;
    let checkout = Checkout::new(&house, &folder.path().join("clone"))?;
    let schema = stage.apps().join(APP).join("schemas/text.json");
    for (name, bytes, _) in &cases {
        let app = checkout.app(name);
        create_dir_all(app.join("schemas"))?;
        create_dir_all(app.join("plugins"))?;
        copy(&schema, app.join("schemas/text.json"))?;
        write(app.join("plugins/evil.wasm"), bytes)?;
        write(app.join("app.yaml"), definition(name))?;
    }
    copy_folder(&faulty(), &checkout.app("sample"))?;
    let apps = with_neighbour(&house, || {
        checkout.push("Add what does no good")?;
        listed(&house, &["foreign", "core", "random", "sample"])
    })?;
    for (name, _, word) in &cases {
        let app = &apps[*name];
        ensure!(app["status"] == "error", "{app}");
        ensure!(app["faults"].to_string().contains(word), "{name}: `{word}` is not named in {app}");
    }
    let faults = apps["sample"]["faults"].as_array().context("faults are listed")?;
    assert_eq!(faults.len(), 5, "all faults at once: {faults:?}");
    for fault in faults {
        ensure!(fault["line"].is_u64() && fault["column"].is_u64(), "a place: {fault}");
    }
    house.stop()
}

/// The definition with five faults.
fn faulty() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/definitions/tests/invalid/five-faults")
}

/// Waits until the server knows all `names`; what it says of them.
fn listed(house: &House, names: &[&str]) -> Result<BTreeMap<String, Value>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = house.api.get("/v1/apps")?.success()?;
        let listed = answer["apps"].as_array().cloned().unwrap_or_default();
        let with_name = |app: Value| (app["name"].as_str().unwrap_or_default().to_owned(), app);
        let apps: BTreeMap<_, _> = listed.into_iter().map(with_name).collect();
        if names.iter().all(|name| apps.contains_key(*name)) {
            return Ok(apps);
        }
        ensure!(Instant::now() < deadline, "the pushed applications are not seen: {answer}");
        sleep(Duration::from_millis(100));
    }
}

fn definition(name: &str) -> String {
    format!(
        "apiVersion: nexus/v1
kind: Application
metadata: {{ name: {name}, description: Hostile. }}
spec:
  operations:
    evil:
      description: Does no good.
      input: schemas/text.json
      output: schemas/text.json
      component: plugins/evil.wasm
"
    )
}
