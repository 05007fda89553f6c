//! The program as a program.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{SHOUT, ShoutingEndpoint, break_app, write_app};

/// The program in a folder, with no variables.
pub(crate) fn nexus(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
    command.current_dir(dir).env_clear().args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Output {
    nexus(dir, arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server as a process of its own.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
    pub(crate) first: Value,
}

impl Served {
    fn start(dir: &Path, endpoint: &str) -> Self {
        Self::start_with(dir, endpoint, &[], Stdio::null())
    }

    /// With more arguments, and with its log where `stderr` says.
    pub(crate) fn start_with(dir: &Path, endpoint: &str, more: &[&str], stderr: Stdio) -> Self {
        let settings = format!(
            "data_dir: data\nlisten: 127.0.0.1:0\napps: apps\nmodels:\n  loud: {{ endpoint: \"{endpoint}\", model: m }}\n  \
             coder: {{ endpoint: \"{endpoint}\", model: m }}\n"
        );
        std::fs::write(dir.join("nexus.yaml"), settings).unwrap();
        let mut child =
            nexus(dir, &["serve", "--json"]).args(more).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let first: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { child, url: first["listening"].as_str().unwrap().to_owned(), first }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(mut self) -> std::process::ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server as a process of its own, and an administrator who asks it.
pub(crate) struct Program {
    pub(crate) served: Served,
    pub(crate) key: String,
    client: reqwest::Client,
}

impl Program {
    pub(crate) fn start(dir: &Path, endpoint: &str, more: &[&str]) -> Self {
        let stderr = std::fs::File::options().create(true).append(true).open(dir.join("stderr")).unwrap();
        let served = Served::start_with(dir, endpoint, more, stderr.into());
        let key = std::fs::read_to_string(served.first["admin_key_file"].as_str().unwrap()).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { served, key: key.trim().to_owned(), client }
    }

    /// A request with the administrator's key.
    pub(crate) fn ask(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.served.url)).bearer_auth(&self.key)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.ask(reqwest::Method::GET, path)
    }

    pub(crate) fn get_as(&self, key: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.served.url)).bearer_auth(key)
    }

    pub(crate) fn call(&self, text: &str) -> reqwest::RequestBuilder {
        self.ask(reqwest::Method::POST, SHOUT).json(&json!({ "text": text }))
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    /// Waits until the answer to this question has so many records.
    pub(crate) async fn records(&self, path: &str, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let page = self.json(path).await;
            let records = page["records"].as_array().unwrap();
            if records.len() >= count {
                return records.clone();
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{} of {count} records at {path}", records.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes a key with this scope.
    pub(crate) async fn key(&self, scope: &str) -> String {
        let body = json!({ "name": "x", "scopes": [scope] });
        let made = self.client.post(format!("{}/v1/keys", self.served.url)).bearer_auth(&self.key).json(&body);
        let made: Value = made.send().await.unwrap().json().await.unwrap();
        made["key"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_call_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    write_app(&dir.path().join("apps"));
    let endpoint = ShoutingEndpoint::start().await;
    let (dir, endpoint) = (dir.path().to_owned(), endpoint.url.clone());
    tokio::task::spawn_blocking(move || serve_call_and_stop_in(&dir, &endpoint)).await.unwrap();
}

fn serve_call_and_stop_in(dir: &Path, endpoint: &str) {
    let served = Served::start(dir, endpoint);
    let url = served.url.clone();
    let key_file = served.first["admin_key_file"].as_str().unwrap();
    assert!(Path::new(key_file).is_absolute());
    let ask = |arguments: &[&str]| {
        let arguments: Vec<&str> =
            arguments.iter().copied().chain(["--url", &url, "--data-dir", "data", "--json"]).collect();
        let output = run(dir, &arguments);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code().unwrap(), value)
    };
    let (code, answer) = ask(&["call", "echo-desk", "shout", "--input", r#"{"text":"hi"}"#]);
    assert_eq!((code, &answer["output"], &answer["path"]), (0, &json!({ "shout": "HI" }), &json!("model")));
    let (code, problem) = ask(&["call", "echo-desk", "shuot", "--input", "{}"]);
    assert_eq!((code, &problem["code"]), (1, &json!("unknown_operation")));
    let (code, listed) = ask(&["executions", "list", "--app", "echo-desk"]);
    assert_eq!((code, listed["executions"].as_array().unwrap().len()), (0, 1));
    assert_eq!(
        ask(&["executions", "show", answer["execution"].as_str().unwrap()]).1["output"],
        json!({ "shout": "HI" })
    );
    assert_eq!(ask(&["apps", "list"]).1["apps"][0]["name"], "echo-desk");
    assert_eq!(ask(&["metrics", "--metric", "calls"]).1["series"][0]["points"][0]["value"], 1);
    let table = run(dir, &["metrics", "--url", &url, "--data-dir", "data"]);
    assert!(text(&table.stdout).contains("echo-desk/shout  model  1"), "{table:?}");
    assert_eq!(ask(&["jit", "status", "echo-desk"]).1[0]["state"], "profiling");
    assert_eq!(ask(&["jit", "demote", "echo-desk", "shout"]).1["code"], "not_active");
    let (_, created) = ask(&["key", "create", "--name", "x", "--scope", "apps:*:read", "--expires", "1h"]);
    assert!(created["key"].as_str().unwrap().starts_with("nxs_"));
    assert_eq!(
        ask(&["key", "revoke", created["id"].as_str().unwrap()]),
        (0, json!({ "id": created["id"], "revoked": true }))
    );
    assert!(ask(&["key", "list"]).1["keys"].as_array().unwrap().iter().any(|key| key["revoked_at"].is_string()));

    let health = run(dir, &["health", "--url", &url]);
    assert_eq!((health.status.code(), text(&health.stdout).trim()), (Some(0), "ready"), "{health:?}");

    let human =
        run(dir, &["call", "echo-desk", "shout", "--input", r#"{"text":5}"#, "--url", &url, "--data-dir", "data"]);
    let shown = text(&human.stderr);
    assert_eq!(human.status.code(), Some(1), "{shown}");
    assert!(shown.contains("invalid_input") && shown.contains("/text") && !shown.contains('\u{1b}'), "{shown}");
    let stranger = run(dir, &["apps", "list", "--url", &url, "--data-dir", "elsewhere"]);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(text(&stranger.stderr).contains("nexus key create"), "{stranger:?}");

    let mut streamed = nexus(dir, &["call", "echo-desk", "shout", "--stream", "--url", &url, "--data-dir", "data"]);
    let mut streamed = streamed.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    streamed.stdin.take().unwrap().write_all(br#"{"text":"piped"}"#).unwrap();
    let streamed = streamed.wait_with_output().unwrap();
    assert_eq!(text(&streamed.stdout).trim(), r#"{"shout":"PIPED"}"#, "{streamed:?}");
    assert!(text(&streamed.stderr).contains("model"), "{streamed:?}");

    assert!(served.terminate().success());
    let gone = run(dir, &["apps", "list", "--url", &url]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(text(&gone.stderr).contains("nexus serve"), "{gone:?}");
    let health = run(dir, &["health", "--url", &url]);
    assert_eq!(health.status.code(), Some(1));
    assert!(text(&health.stderr).contains("there is no server at"), "{health:?}");
}

#[test]
fn check_shows_five_faults_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let app = write_app(&dir.path().join("apps"));
    let good = run(dir.path(), &["check", "apps"]);
    assert_eq!(
        (good.status.code(), text(&good.stdout).trim()),
        (Some(0), "1 application, 1 operation, no faults"),
        "{good:?}"
    );
    break_app(&app);
    let shown = run(dir.path(), &["check", "apps"]);
    assert_eq!(shown.status.code(), Some(1));
    let report = text(&shown.stderr);
    for word in ["descripton", "description", "txt.json", "text.json", "sometimes", "modle", "app.yaml:", "agreement"] {
        assert!(report.contains(word), "{word}: {report}");
    }
    assert!(text(&shown.stdout).contains("faults"), "{shown:?}");
    let listed = run(dir.path(), &["check", "apps/echo-desk", "--json"]);
    assert_eq!(listed.status.code(), Some(1));
    let faults: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(faults.len() >= 5, "{faults:#?}");
    assert!(faults.iter().all(|fault| fault["line"].as_u64() >= Some(1) && fault["app"] == "echo-desk"));
    assert_eq!(run(dir.path(), &["check", "nowhere"]).status.code(), Some(2));
}

#[test]
fn a_faulty_folder_is_shown_before_anything_listens() {
    let dir = tempfile::tempdir().unwrap();
    break_app(&write_app(&dir.path().join("apps")));
    let started = run(dir.path(), &["serve", "--apps", "apps", "--listen", "127.0.0.1:0"]);
    assert_eq!(started.status.code(), Some(1), "{started:?}");
    let report = text(&started.stderr);
    for word in ["descripton", "txt.json", "sometimes", "modle", "nothing was imported"] {
        assert!(report.contains(word), "{word}: {report}");
    }
    assert!(text(&started.stdout).is_empty());
    let started = run(dir.path(), &["serve", "--apps", "apps", "--listen", "127.0.0.1:0", "--json"]);
    let told: Value = serde_json::from_slice(&started.stdout).unwrap();
    assert!(told["faults"].as_array().unwrap().len() >= 5, "{told}");
}

#[test]
fn bad_settings_end_it_before_a_port_is_bound() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("nexus.yaml"), "listen: 127.0.0.1:0\nlimits:\n  body_byte: 5\n").unwrap();
    let started = run(dir.path(), &["serve"]);
    assert_eq!(started.status.code(), Some(2), "{started:?}");
    assert!(text(&started.stderr).contains("nexus.yaml:3:3"), "{started:?}");
    assert!(!dir.path().join("nexus-data").exists());
    std::fs::remove_file(dir.path().join("nexus.yaml")).unwrap();
    for arguments in [
        &["serve", "--insecure-local", "--listen", "0.0.0.0:0"][..],
        &["serve", "--set", "limits.bodies=1"],
        &["serve", "--config", "nowhere.yaml"],
        &["serve", "--nonsense"],
        &["call", "one"],
        &["apps", "list", "--url", "nonsense"],
    ] {
        let output = run(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}

#[test]
fn settings_are_shown_as_they_would_be_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = nexus(dir.path(), &["serve", "--print-config", "--set", "limits.drain=7s"]);
    let shown = command.env("NEXUS_LIMITS__BODY_BYTES", "9").env("NEXUS_MASTER_KEY", "canary").output().unwrap();
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("drain: 7s") && shown.contains("body_bytes: 9") && shown.contains("127.0.0.1:7070"),
        "{shown}"
    );
    assert!(!shown.contains("canary"));
    assert!(!dir.path().join("nexus-data").exists());
}

#[test]
fn models_are_listed_with_price_and_key_but_never_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let settings = "models:
  small: { model: gpt-4o-mini, key: { env: SMALL_KEY }, fallback: [local] }
  other: { provider: anthropic, model: claude-haiku-4-5, key: { env: OTHER_KEY } }
  local: { provider: ollama, model: qwen3 }
";
    std::fs::write(dir.path().join("nexus.yaml"), settings).unwrap();
    let list = |arguments: &[&str]| {
        let mut command = nexus(dir.path(), &["model", "list"]);
        command.args(arguments).env("SMALL_KEY", "sk-canary-77").output().unwrap()
    };
    let output = list(&["--json"]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row =
        |alias: &str| listed["models"].as_array().unwrap().iter().find(|row| row["alias"] == alias).unwrap().clone();
    assert_eq!((&row("small")["key"], &row("small")["price"]["input_usd_per_million"]), (&json!("set"), &json!(0.15)));
    assert!(row("small")["price"]["as_of"].as_str().unwrap().starts_with("2026-"));
    assert_eq!((&row("other")["key"], &row("other")["provider"]), (&json!("missing"), &json!("anthropic")));
    assert_eq!((&row("local")["key"], &row("local")["price"]), (&json!("none"), &Value::Null));
    let shown = text(&list(&[]).stdout);
    assert!(shown.contains("0.15 / 0.6") && shown.contains("not known") && shown.contains("missing"), "{shown}");
    assert!(!format!("{listed} {shown}").contains("canary"));

    std::fs::write(
        dir.path().join("nexus.yaml"),
        "models:\n  a: { model: m, fallback: [b] }\n  b: { model: m, fallback: [a] }\n",
    )
    .unwrap();
    let refused = list(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("`models.a.fallback[0]`"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_tested_with_one_call() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = ShoutingEndpoint::start().await;
    let url = &endpoint.url;
    let settings = format!(
        "models:\n  loud: {{ endpoint: \"{url}\", model: m }}\n  keyed: {{ endpoint: \"{url}\", model: m, key: {{ env: NO_KEY }} }}\n"
    );
    std::fs::write(dir.path().join("nexus.yaml"), settings).unwrap();
    let path = dir.path().to_owned();
    tokio::task::spawn_blocking(move || {
        // The endpoint shouts whatever it is asked, so it never keeps to the schema.
        let output = run(&path, &["model", "test", "loud", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            (&told["reachable"], &told["schema"], &told["streaming"]),
            (&json!(true), &json!(false), &json!(true))
        );
        assert_eq!((&told["input_tokens"], &told["cost_nano_usd"]), (&json!(20), &Value::Null));
        assert_eq!(told["error"]["code"], "schema_mismatch");
        let output = run(&path, &["model", "test", "keyed"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("missing") && text(&output.stderr).contains("`NO_KEY`"), "{output:?}");
        let output = run(&path, &["model", "test", "lout"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("`loud`"), "{output:?}");
    })
    .await
    .unwrap();
    assert_eq!(endpoint.asked(), 2, "one call and its repair round");
}
