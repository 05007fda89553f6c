//! What a model answers is recorded, and replayed.

use std::{path::Path, process::Command};

use nexus_server::replay::Replay;
use serde_json::{Value, json};

use crate::support::{Host, ShoutingEndpoint, write_app};

/// Runs `nexus record echo-desk shout` in a folder; its exit code, its answer, and what it told.
async fn record(dir: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
    command.current_dir(dir).env_clear().args(["record", "echo-desk", "shout", "--json"]).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), value, told)
}

fn prepare(dir: &Path, endpoint: &str, inputs: &[&str]) {
    write_app(&dir.join("apps"));
    let price = "{ input_usd_per_million: 1, output_usd_per_million: 2, as_of: 2026-01-31 }";
    let settings = format!("models:\n  loud: {{ endpoint: \"{endpoint}\", model: m-1, price: {price} }}\n");
    std::fs::write(dir.join("nexus.yaml"), settings).unwrap();
    let lines: Vec<String> = inputs.iter().map(|text| json!({ "text": text }).to_string()).collect();
    std::fs::write(dir.join("inputs.jsonl"), lines.join("\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_recorded_once_and_can_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let endpoint = ShoutingEndpoint::start().await;
    prepare(dir, &endpoint.url, &["one", "two", "one", "fail", "three"]);
    let file = dir.join("apps/recordings/echo-desk/shout.jsonl");

    let (code, told, _) = record(dir, &["--inputs", "inputs.jsonl", "--dry-run"]).await;
    assert_eq!((code, &told["inputs"], &told["to_record"]), (0, &json!(5), &json!(4)));
    assert!(told["estimated_cost_nano_usd"].as_u64() > Some(0), "{told}");
    assert!(endpoint.asked() == 0 && !file.exists(), "a dry run asks nobody");

    let (code, told, noted) = record(dir, &["--inputs", "inputs.jsonl", "--limit", "2"]).await;
    assert_eq!((code, &told["recorded"], &told["skipped"]), (0, &json!(2), &json!(3)), "{noted}");
    let first = std::fs::read_to_string(&file).unwrap();

    let (code, told, noted) = record(dir, &["--inputs", "inputs.jsonl", "--parallel", "1"]).await;
    assert_eq!((code, &told["recorded"], &told["failed"]), (1, &json!(1), &json!(1)), "{noted}");
    assert!(noted.contains("HTTP 500"), "{noted}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&first), "nothing is written over");
    assert_eq!(endpoint.asked(), 4, "what is recorded is not asked again");

    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        let shouted = line["key"]["input"]["text"].as_str().unwrap().to_uppercase();
        assert_eq!(line["answer"], json!({ "shout": shouted }));
        assert_eq!((&line["model"], &line["origin"]), (&json!("m-1"), &json!("recorded")));
        assert_eq!(line["tokens"], json!({ "input": 10, "output": 5 }));
    }
    let replay = Replay::load(&dir.join("apps"), &dir.join("apps/recordings")).unwrap();
    assert_eq!(replay.summary().operations["echo-desk/shout"].recorded, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_may_come_from_a_server() {
    let host = Host::start().await;
    for text in ["one", "two", "two"] {
        host.shout(text).send().await.unwrap().error_for_status().unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), &host.endpoint.url, &[]);
    let (url, key) = (host.url(), host.admin.clone());
    let server = ["--from-server", "--url", &url, "--key", &key];
    // Executions are written down a moment after they are answered.
    for turn in 0.. {
        let (_, told, noted) = record(dir.path(), &[&server[..], &["--dry-run"]].concat()).await;
        if told["inputs"] == 3 {
            break;
        }
        assert!(turn < 100, "{told} {noted}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (code, told, noted) = record(dir.path(), &server).await;
    assert_eq!((code, &told["recorded"], &told["skipped"]), (0, &json!(2), &json!(1)), "{noted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    prepare(dir, "http://127.0.0.1:9/v1", &["one"]);
    let (code, told, _) = record(dir, &["--inputs", "inputs.jsonl", "--model", "quiet"]).await;
    assert!(code == 2 && told["error"].as_str().unwrap().contains("`quiet`"), "{told}");
    std::fs::write(dir.join("inputs.jsonl"), "{\"text\": \"one\"}\n{\"txt\": 1}\n").unwrap();
    let (code, told, _) = record(dir, &["--inputs", "inputs.jsonl"]).await;
    assert!(code == 2 && told["error"].as_str().unwrap().contains("inputs.jsonl:2: "), "{told}");
    std::fs::write(dir.join("inputs.jsonl"), "{\"text\": \"one\"}\n").unwrap();
    let file = dir.join("apps/recordings/echo-desk/shout.jsonl");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "{\"model\": \"half a li").unwrap();
    let (code, told, _) = record(dir, &["--inputs", "inputs.jsonl"]).await;
    assert!(code == 2 && told["error"].as_str().unwrap().contains("shout.jsonl:1"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"model\": \"half a li");
}
