//! Operations that programs in sandboxes answer: by plain processes here, since what is looked at is what the host makes of what
//! they say. Containers are in the end-to-end tests.

use std::fs;

use nexus_server::settings::SandboxDriver;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Host, in_time};

/// A worker in plain Python: the protocol by hand, so that it can also be broken.
const WORKER: &str = r#"
import json, sys
def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n"); sys.stdout.flush()
number = 0
def ask(method, params):
    global number
    number += 1
    send({"id": number, "method": method, "params": params})
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("id") == number:
            return message
    sys.exit(0)
def call(name, arguments, **meta):
    answer = ask("tools/call", {"name": name, "arguments": arguments, "_meta": {"nexus/" + k: v for k, v in meta.items()}})
    result = answer.get("result", {"isError": True, "content": [{"text": answer.get("error", {}).get("message")}]})
    return result.get("isError", False), result.get("structuredContent", result["content"][0]["text"] if result["content"] else None)
ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "worker", "version": "1"}})
send({"method": "notifications/initialized"})
while True:
    work = call("core.work.next", {})[1]
    if not work:
        continue
    told, given, mine = work["definition"], work["input"], work["execution"]
    deed = told["do"]
    if deed == "tool":
        failed, result = call(given["tool"], given.get("arguments", {}), execution=mine, **({"idempotency-key": given["key"]} if "key" in given else {}))
        output = {"failed": failed, "result": result}
    elif deed == "list":
        output = {"tools": [tool["name"] for tool in ask("tools/list", {})["result"]["tools"]]}
    elif deed == "fail":
        call("core.work.finish", {"execution": mine, "error": "I will not"})
        continue
    elif deed == "foreign":
        output = call("core.work.finish", {"execution": "0197a1b2-0000-7000-8000-000000000000", "output": 1})[1]
    elif deed == "garbage":
        sys.stdout.write("{\"jsonrpc\": nonsense\n"); sys.stdout.flush(); sys.stdin.read(); sys.exit(0)
    elif deed == "flood":
        try:
            while True:
                sys.stdout.write("x" * (1 << 20)); sys.stdout.flush()
        except BrokenPipeError:
            sys.exit(0)
    elif deed == "wait":
        while call("core.work.step", {"execution": mine})[1]["go"] == "on":
            pass
        call("core.state.set", {"key": "stopped", "value": True}, execution=mine)
        call("core.work.finish", {"execution": mine, "error": "stopped"})
        continue
    else:
        output = given
    call("core.work.finish", {"execution": mine, "output": output})
"#;

/// Operations of these names, each a worker's that is told its name.
fn app(name: &str, deeds: &[&str], worker: &str) -> (String, String) {
    let operation =
        |deed: &&str| format!("    {deed}: {{ input: any.json, output: any.json, worker: {{ do: {deed} }} }}\n");
    let operations = deeds.iter().map(operation).collect::<Vec<_>>().concat();
    let echo = if deeds.contains(&"echo") { ", echo" } else { "" };
    let image = format!("sha256:{}", "0".repeat(64));
    let yaml = format!(
        "apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {name} }}\nspec:\n  operations:\n{operations}\
         \x20 config: {{ colour: blue }}\n\
         \x20 tools: {{ allow: [core.config.get, core.state.*, core.tools.*{echo}] }}\n\
         \x20 limits: {{ timeout: 20s }}\n\
         \x20 sandbox: {{ image: \"{image}\", command: [python3, {worker}], max: 2, per_sandbox: 1 }}\n",
    );
    (name.to_owned(), yaml)
}

async fn start(apps: &[(&str, &[&str])]) -> Host {
    let host = Host::start_with(|settings| {
        settings.sandbox.driver = SandboxDriver::Process;
        let folder = settings.apps.clone().unwrap();
        let worker = folder.parent().unwrap().join("worker.py");
        fs::write(&worker, WORKER).unwrap();
        for (name, deeds) in apps {
            let (name, yaml) = app(name, deeds, &worker.display().to_string());
            fs::create_dir(folder.join(&name)).unwrap();
            fs::write(folder.join(&name).join("app.yaml"), yaml).unwrap();
            fs::write(folder.join(&name).join("any.json"), "{}").unwrap();
        }
    })
    .await;
    // What starts sandboxes is looked for while the server serves already.
    in_time(async {
        while host.json("/v1/sandboxes").await["available"] != true {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    host
}

async fn run(host: &Host, app: &str, operation: &str, input: Value) -> (StatusCode, Value) {
    let answer = in_time(host.post(&format!("/v1/apps/{app}/operations/{operation}"), &input).send()).await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn tool(host: &Host, input: Value) -> Value {
    let (status, answer) = run(host, "desk", "tool", input).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_answers_and_uses_what_it_may() {
    let mut host = start(&[("desk", &["echo", "tool", "list", "fail"])]).await;
    let (status, answer) = run(&host, "desk", "echo", json!({ "a": [1] })).await;
    assert_eq!((status, &answer), (StatusCode::OK, &json!({ "a": [1] })), "{answer}");
    let (_, listed) = run(&host, "desk", "list", json!({})).await;
    let tools = listed["tools"].as_array().unwrap();
    for named in ["core.work.next", "core.config.get", "core.state.set", "echo"] {
        assert!(tools.contains(&json!(named)), "{named}: {tools:?}");
    }
    assert!(!tools.contains(&json!("core.logs.write")) && !tools.contains(&json!("fail")), "{tools:?}");
    let config = tool(&host, json!({ "tool": "core.config.get", "arguments": { "name": "colour" } })).await;
    assert_eq!(config, json!({ "failed": false, "result": { "value": "blue" } }));
    // An application that is named is not looked at: an execution is its own application's.
    let other = json!({ "tool": "core.config.get", "arguments": { "app": "echo-desk", "name": "colour" } });
    assert_eq!(tool(&host, other).await["result"], json!({ "value": "blue" }));
    let found = tool(&host, json!({ "tool": "core.tools.search", "arguments": { "query": "" } })).await;
    let found: Vec<_> = found["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["tool"].clone()).collect();
    assert!(found.contains(&json!("echo")) && !found.contains(&json!("core.logs.write")), "{found:?}");
    let echoed = tool(&host, json!({ "tool": "echo", "arguments": { "input": 7 } })).await;
    assert_eq!(echoed["failed"], false, "{echoed}");
    // What the definition does not name is denied, whoever asked for it, and the audit log says so.
    let denied = tool(&host, json!({ "tool": "core.logs.write", "arguments": { "message": "hi" } })).await;
    assert_eq!(denied["failed"], true);
    assert!(denied["result"].as_str().unwrap().starts_with("forbidden"), "{denied}");
    let denials = in_time(async {
        loop {
            let records = host.json("/v1/audit?key=app:desk").await;
            if records["records"].as_array().is_some_and(|records| !records.is_empty()) {
                return records;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(denials.to_string().contains("core.logs.write"), "{denials}");
    let (status, failed) = run(&host, "desk", "fail", json!({})).await;
    assert_eq!((status, &failed["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("sandbox_failed")), "{failed}");
    assert!(failed["detail"].as_str().unwrap().contains("I will not"), "{failed}");
    assert!(host.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_key_is_made_once() {
    let mut host = start(&[("desk", &["tool"])]).await;
    let add = |key: &str| {
        let arguments = json!({ "key": "count" });
        json!({ "tool": "core.state.increment", "arguments": arguments, "key": key })
    };
    // A key is an execution's: another one has others of the same name.
    for count in 1..=2 {
        assert_eq!(tool(&host, add("a")).await["result"], json!({ "value": count }));
    }
    assert!(host.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_breaks_the_rules_is_ended_and_nobody_else_notices() {
    let mut host = start(&[("desk", &["echo"]), ("bad", &["foreign", "garbage", "flood", "echo"])]).await;
    for deed in ["foreign", "garbage", "flood"] {
        let (bad, good) = tokio::join!(run(&host, "bad", deed, json!({})), run(&host, "desk", "echo", json!(deed)));
        assert_eq!((bad.0, &bad.1["code"]), (StatusCode::BAD_GATEWAY, &json!("sandbox_lost")), "{deed}: {}", bad.1);
        assert_eq!((good.0, &good.1), (StatusCode::OK, &json!(deed)));
        // Another takes its place.
        let (status, answer) = run(&host, "bad", "echo", json!(deed)).await;
        assert_eq!((status, &answer), (StatusCode::OK, &json!(deed)), "{answer}");
    }
    assert!(host.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_cancelled_and_the_program_told() {
    let mut host = start(&[("desk", &["wait", "echo", "tool"])]).await;
    let waiting = run(&host, "desk", "wait", json!({}));
    let cancelled = async {
        let id = in_time(async {
            loop {
                let pools = host.json("/v1/sandboxes").await;
                if let Some(id) = pools["executions"].as_array().and_then(|ids| ids.first()) {
                    return id.as_str().unwrap().to_owned();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        let path = format!("/v1/executions/{id}/cancel");
        host.ask(Method::POST, &path).send().await.unwrap().status()
    };
    let ((status, answer), done) = tokio::join!(waiting, cancelled);
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("cancelled")), "{answer}");
    assert_eq!(done, StatusCode::NO_CONTENT);
    // What is over is not there to be cancelled.
    let id = answer["instance"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let again = host.ask(Method::POST, &format!("/v1/executions/{id}/cancel")).send().await.unwrap().status();
    assert_eq!(again, StatusCode::NOT_FOUND);
    assert!(host.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_the_server_serves_and_says_what_is_missing() {
    let mut host = Host::start_with(|settings| {
        settings.sandbox.driver = SandboxDriver::Docker;
        settings.sandbox.docker_host = Some("unix:///nowhere/docker.sock".to_owned());
        let folder = settings.apps.clone().unwrap().join("desk");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("app.yaml"), app("desk", &["echo"], "none").1).unwrap();
        fs::write(folder.join("any.json"), "{}").unwrap();
    })
    .await;
    assert_eq!(host.shout("hi").send().await.unwrap().status(), 200);
    in_time(async {
        while !host.json("/v1/sandboxes").await["missing"].as_str().unwrap().contains("/nowhere/docker.sock") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let (status, answer) = run(&host, "desk", "echo", json!({})).await;
    assert_eq!((status, &answer["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("sandbox_unavailable")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("docker"), "{answer}");
    assert!(host.stop().await);
}
