//! Plugins over HTTP and on the command line: real components, added, called, replaced, refused and removed.

use std::{
    fs,
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    program::{Served, run, text},
    support::{Host, ShoutingEndpoint, in_time, problem, write_app},
};

const PLUGIN: &str = "/v1/apps/echo-desk/plugins/sums";

/// A component whose function `times` multiplies by `factor`; `more` is what it imports.
pub(crate) fn component(factor: u32, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(component {more}
            (core module $m
                (func (export "times") (param i32) (result i32) local.get 0 i32.const {factor} i32.mul)
                (func (export "stops") unreachable)
                (func (export "spins") (loop br 0)))
            (core instance $i (instantiate $m))
            (func (export "times") (param "number" u32) (result u32) (canon lift (core func $i "times")))
            (func (export "stops") (canon lift (core func $i "stops")))
            (func (export "spins") (canon lift (core func $i "spins"))))"#
    );
    wat::parse_str(text).unwrap()
}

const CONFIG: &str = r#"(import "wasi:config/store@0.2.0-rc.1" (instance))"#;
pub(crate) const LOGGING: &str = r#"(import "wasi:logging/logging@0.1.0-draft" (instance))"#;

pub(crate) async fn put(
    host: &Host,
    path: &str,
    component: Vec<u8>,
    condition: Option<(&'static str, &str)>,
) -> Response {
    let request = host.ask(Method::PUT, path).header("content-type", "application/wasm").body(component);
    let request = condition.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    request.send().await.unwrap()
}

async fn ok(response: Response, status: u16) -> Value {
    let (got, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn call(host: &Host, tool: &str, arguments: &Value) -> Response {
    host.post(&format!("/v1/apps/echo-desk/tools/{tool}/call"), arguments).send().await.unwrap()
}

async fn times(host: &Host, number: u32) -> Value {
    ok(call(host, "sums.times", &json!({ "number": number })).await, 200).await["result"].clone()
}

async fn app_yaml(host: &Host) -> String {
    host.get("/v1/apps/echo-desk/files/app.yaml").send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_added_called_replaced_and_removed() {
    let host = Host::start().await;
    let before = app_yaml(&host).await;
    let added = put(&host, PLUGIN, component(2, ""), None).await;
    let tag = added.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(ok(added, 201).await["changed"], true);
    assert_eq!(times(&host, 21).await, 42, "it serves when the answer comes");
    let yaml = app_yaml(&host).await;
    assert!(yaml.starts_with(&before) && yaml[before.len()..].contains("    sums:\n"), "{yaml}");

    let plugin = host.json(PLUGIN).await;
    assert_eq!((&plugin["component"], &plugin["grants"]), (&json!("plugins/sums.wasm"), &json!({})));
    assert!(plugin["wit"].as_str().unwrap().contains("export times"), "{plugin}");
    let list = host.json("/v1/apps/echo-desk/plugins").await;
    assert_eq!(list["plugins"][0]["tools"], json!(["sums.spins", "sums.stops", "sums.times"]));
    let tools = host.json("/v1/apps/echo-desk/tools").await;
    assert_eq!(tools["tools"].as_array().unwrap().len(), 3);
    let tool = host.json("/v1/apps/echo-desk/tools/sums.times").await;
    assert_eq!(tool["input"]["required"], json!(["number"]), "{tool}");

    let answer = call(&host, "sums.times", &json!({ "number": 1 })).await;
    assert!(answer.headers().contains_key("x-nexus-execution"));
    let wrong = problem(call(&host, "sums.times", &json!({ "number": "x" })).await, 422, "invalid_arguments").await;
    assert_eq!(wrong["violations"][0]["path"], "/number");
    problem(call(&host, "sums.times", &json!({})).await, 422, "invalid_arguments").await;
    problem(call(&host, "sums.stops", &json!({})).await, 502, "component_fault").await;
    let near = problem(call(&host, "sums.time", &json!({})).await, 404, "unknown_tool").await;
    assert_eq!(near["hint"], "did you mean `sums.times`?");

    problem(put(&host, PLUGIN, component(3, ""), None).await, 428, "precondition_required").await;
    problem(put(&host, PLUGIN, component(3, ""), Some(("if-none-match", "*"))).await, 412, "precondition_failed").await;
    ok(put(&host, PLUGIN, component(3, ""), Some(("if-match", &tag))).await, 200).await;
    assert_eq!(times(&host, 21).await, 63);
    problem(put(&host, PLUGIN, component(4, ""), Some(("if-match", &tag))).await, 412, "precondition_failed").await;

    let remove = || host.ask(Method::DELETE, PLUGIN).header("if-match", "*").send();
    ok(remove().await.unwrap(), 200).await;
    problem(remove().await.unwrap(), 404, "unknown_plugin").await;
    problem(call(&host, "sums.times", &json!({ "number": 1 })).await, 404, "unknown_tool").await;
    assert_eq!(app_yaml(&host).await, before, "what was there is there, byte for byte");
    let audit = host.json("/v1/audit?action=plugin.").await;
    let actions: Vec<_> = audit["records"].as_array().unwrap().iter().map(|record| &record["action"]).collect();
    assert_eq!(actions.iter().filter(|action| **action == "plugin.put").count(), 5, "{actions:?}");
    assert_eq!(actions.iter().filter(|action| **action == "plugin.delete").count(), 2, "{actions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_told_and_more_is_never_granted_unseen() {
    let host = Host::start().await;
    let needy = format!("{CONFIG}{LOGGING}");
    let refused = problem(put(&host, PLUGIN, component(2, &needy), None).await, 422, "definition_faults").await;
    let fault = &refused["faults"][0];
    assert_eq!(fault["code"], "missing_grant", "{refused}");
    let expected = fault["expected"].as_str().unwrap();
    assert!(expected.contains("config:") && expected.contains("logging: true"), "{expected}");

    let granted = |grants: &str| format!("{PLUGIN}?grants={}", grants.replace('"', "%22"));
    let first = granted(r#"{"config":{"a":"1"},"logging":true}"#);
    ok(put(&host, &first, component(2, &needy), None).await, 201).await;
    let anything = Some(("if-match", "*"));
    ok(put(&host, PLUGIN, component(3, LOGGING), anything).await, 200).await;
    let kept = host.json(PLUGIN).await;
    assert_eq!(kept["grants"], json!({ "config": { "a": "1" }, "logging": true }), "the grants stay");
    let more = granted(r#"{"logging":true,"clocks":true,"state":"read"}"#);
    let widened = problem(put(&host, &more, component(4, CONFIG), anything).await, 409, "grants_widened").await;
    assert_eq!(widened["widened"], json!(["state: read", "clocks: true"]));
    assert!(widened["wit_diff"].as_str().unwrap().contains('+'), "{widened}");
    assert_eq!(times(&host, 1).await, 3, "nothing was changed");
    let accepted = format!("{more}&accept=widened");
    ok(put(&host, &accepted, component(4, LOGGING), anything).await, 200).await;
    assert_eq!(host.json(PLUGIN).await["grants"], json!({ "logging": true, "clocks": true, "state": "read" }));
    problem(put(&host, &granted("{"), component(4, ""), anything).await, 400, "invalid_parameter").await;
    problem(put(&host, &granted(r#"{"htp":[]}"#), component(4, ""), anything).await, 400, "invalid_parameter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_is_refused_and_the_neighbour_is_answered() {
    let host = Host::start().await;
    ok(put(&host, PLUGIN, component(2, ""), None).await, 201).await;
    let other = "/v1/apps/echo-desk/plugins/other";
    let module = wat::parse_str("(module)").unwrap();
    let truncated = component(2, "")[..40].to_vec();
    for bytes in [b"\0random".to_vec(), module, Vec::new()] {
        problem(put(&host, other, bytes, None).await, 422, "not_a_component").await;
    }
    problem(put(&host, other, truncated, None).await, 422, "component_not_compiled").await;
    let foreign = component(2, r#"(import "acme:robot/arm@1.0.0" (instance))"#);
    let foreign = problem(put(&host, other, foreign, None).await, 422, "foreign_imports").await;
    assert!(foreign["detail"].as_str().unwrap().contains("acme:robot/arm@1.0.0"), "{foreign}");
    let html = host.ask(Method::PUT, other).header("content-type", "text/html").body("x").send().await.unwrap();
    problem(html, 415, "unsupported_media_type").await;
    let key = host.key(&["apps:echo-desk:read"]).await;
    let denied = host.client.put(format!("{}{other}", host.url())).bearer_auth(&key).body(component(2, ""));
    problem(denied.send().await.unwrap(), 403, "forbidden").await;
    let inspect = host.client.post(format!("{}/v1/plugins/inspect", host.url())).bearer_auth(&key);
    problem(inspect.body(component(2, "")).send().await.unwrap(), 403, "forbidden").await;
    let named = put(&host, "/v1/apps/echo-desk/plugins/No_Name", component(2, ""), None).await;
    problem(named, 422, "invalid_name").await;

    let nothing = json!({});
    let spins = call(&host, "sums.spins", &nothing);
    let neighbour = async {
        for number in 0..20 {
            assert_eq!(times(&host, number).await, 2 * number);
        }
    };
    let (spins, ()) = in_time(futures::future::join(spins, neighbour)).await;
    problem(spins, 504, "component_deadline").await;
}

/// How long calls go on: `NEXUS_TEST_SECONDS`, 2 if it is not set. `cargo xtask soak swap` sets it.
fn seconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the soak says how long this goes on")]
    std::env::var("NEXUS_TEST_SECONDS").map_or(2, |seconds| seconds.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_while_a_component_is_swapped() {
    let host = Host::start().await;
    ok(put(&host, PLUGIN, component(1, ""), None).await, 201).await;
    // The newest factor that was acknowledged, and the newest that was sent.
    let (served, sent) = (AtomicU64::new(1), AtomicU64::new(1));
    let end = Instant::now() + Duration::from_secs(seconds());
    let swaps = async {
        while Instant::now() < end {
            let factor = sent.fetch_add(1, Ordering::SeqCst) + 1;
            let component = component(u32::try_from(factor).unwrap(), "");
            ok(put(&host, PLUGIN, component, Some(("if-match", "*"))).await, 200).await;
            served.store(factor, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let start = Instant::now();
    let ticks = futures::stream::unfold(tokio::time::interval(Duration::from_millis(2)), async |mut interval| {
        let tick = interval.tick().await;
        (Instant::now() < end).then_some((tick, interval))
    });
    let calls = ticks.map(async |_| {
        let (oldest, start) = (served.load(Ordering::SeqCst), Instant::now());
        let answer = times(&host, 1).await.as_u64().unwrap();
        assert!((oldest..=sent.load(Ordering::SeqCst)).contains(&answer), "{answer} when {oldest} was served");
        start.elapsed()
    });
    let calls = async {
        let took: Vec<_> = calls.buffer_unordered(64).collect().await;
        (took, start.elapsed())
    };
    let ((mut took, elapsed), ()) = futures::future::join(calls, swaps).await;
    took.sort_unstable();
    let percentile = |percent: usize| took[took.len() * percent / 100];
    #[expect(clippy::print_stdout, reason = "what was measured is told to whoever asks with `--nocapture`")]
    {
        println!(
            "{} calls in {elapsed:?}, p50 {:?}, p99 {:?}; {} swaps",
            took.len(),
            percentile(50),
            percentile(99),
            sent.load(Ordering::SeqCst) - 1,
        );
    }
    assert!(served.load(Ordering::SeqCst) > 1);
    assert_eq!(times(&host, 1).await, served.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_there_after_a_restart_and_after_a_restore() {
    let mut host = Host::start().await;
    ok(put(&host, PLUGIN, component(2, ""), None).await, 201).await;
    let first = host.json("/v1/apps/echo-desk").await["revision"].as_str().unwrap().to_owned();
    ok(put(&host, PLUGIN, component(5, ""), Some(("if-match", "*"))).await, 200).await;
    host.settings.apps = None;
    host.stop().await;
    host.resume().await;
    assert_eq!(times(&host, 2).await, 10);
    let restore = host.post("/v1/apps/echo-desk/restore", &json!({ "revision": first })).header("if-match", "*");
    ok(restore.send().await.unwrap(), 200).await;
    assert_eq!(times(&host, 2).await, 4);
}

/// What the program does with these arguments: its exit code, standard output and standard error.
fn typed(dir: &std::path::Path, url: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = run(dir, &[&["plugin"], arguments, &["--url", url, "--data-dir", "data"]].concat());
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_managed_on_the_command_line() {
    let endpoint = ShoutingEndpoint::start().await;
    let url = endpoint.url.clone();
    let work = move || {
        let dir = tempfile::tempdir().unwrap();
        write_app(&dir.path().join("apps"));
        let served = Served::start_with(dir.path(), &url, &[], Stdio::null());
        fs::write(dir.path().join("sums.wasm"), component(2, LOGGING)).unwrap();
        fs::write(dir.path().join("grants.yaml"), "grants:\n  logging: true\n").unwrap();
        let type_in = |arguments: &[&str]| typed(dir.path(), &served.url, arguments);
        let done = |arguments: &[&str]| {
            let (code, out, error) = type_in(arguments);
            assert_eq!(code, 0, "{arguments:?}: {out}{error}");
            out
        };
        let app = ["--app", "echo-desk"];
        assert_eq!(done(&["grants", "sums.wasm"]), "grants:\n  logging: true\n");
        assert!(done(&["inspect", "sums.wasm"]).contains("times(number)"));
        let (code, _, error) = type_in(&[&["add", "sums.wasm"], &app[..]].concat());
        assert!(code == 1 && error.contains("logging: true"), "{error}");
        let add = [&["add", "sums.wasm", "--grants", "grants.yaml"], &app[..]].concat();
        assert!(done(&add).starts_with("echo-desk/sums added, revision "));
        assert_eq!(type_in(&add).0, 1, "it is there");
        let ran = done(&[&["run", "sums.times", "--args", "{\"number\": 4}"], &app[..]].concat());
        assert_eq!(ran.trim(), "8");
        assert!(done(&[&["list"], &app[..]].concat()).contains("sums.times"));
        let shown = done(&[&["inspect", "sums", "--json"], &app[..]].concat());
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["grants"], json!({ "logging": true }));

        let wider = [&["update", "--name", "sums", "--grant", "logging", "--grant", "state=read"], &app[..]].concat();
        let (code, _, error) = type_in(&wider);
        assert!(code == 1 && error.contains("+ state: read") && error.contains("--yes"), "{error}");
        assert!(done(&[&wider[..], &["--yes"]].concat()).contains("updated"));
        fs::write(dir.path().join("sums.wasm"), component(3, "")).unwrap();
        let update = ["update", "sums.wasm", "--grant", "state=read"];
        let (code, _, told) = type_in(&[&update[..], &app[..]].concat());
        assert!(code == 0 && told.contains("- sha256:") && told.contains("- logging: true"), "{told}");
        assert!(told.contains("-  import wasi:logging/logging"), "{told}");
        assert_eq!(done(&[&["run", "sums.times", "--args", "{\"number\": 4}"], &app[..]].concat()).trim(), "12");
        assert_eq!(type_in(&[&["update", "sums.wasm", "--name", "other"], &app[..]].concat()).0, 1, "not there");
        assert!(done(&[&["remove", "sums"], &app[..]].concat()).contains("removed"));
        assert!(served.terminate().success());
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
