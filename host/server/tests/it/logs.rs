//! The log of the program: kept, searched, followed, and without secrets.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    program::{Program, run, text},
    support::{ShoutingEndpoint, write_app},
};

/// The next event that is not only there to keep the connection alive: its text.
async fn event(stream: &mut reqwest::Response, buffer: &mut String) -> String {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "no event in time");
        if let Some((event, rest)) = buffer.split_once("\n\n") {
            let (event, rest) = (event.to_owned(), rest.to_owned());
            *buffer = rest;
            if event.contains("data:") {
                return event;
            }
            continue;
        }
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await.unwrap();
        buffer.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap()));
    }
}

fn number(event: &str) -> u64 {
    event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_call_are_found_by_whoever_may_read_them() {
    let dir = tempfile::tempdir().unwrap();
    write_app(&dir.path().join("apps"));
    let endpoint = ShoutingEndpoint::start().await;
    let program = Program::start(dir.path(), &endpoint.url, &["--log", "debug"]);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = program.call("hi").header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).send();
    let id = answer.await.unwrap().headers()["x-nexus-execution"].to_str().unwrap().to_owned();
    let records = program.records(&format!("/v1/logs?execution={id}"), 1).await;
    for record in &records {
        assert_eq!((&record["app"], &record["operation"]), (&json!("echo-desk"), &json!("shout")), "{record}");
        assert_eq!(record["trace_id"], trace, "{record}");
    }
    let loaded = program.records("/v1/logs?app=echo-desk&level=info&q=LOADED", 1).await;
    assert_eq!(loaded[0]["target"], "nexus_core::registry::load");

    let mine = program.key("apps:echo-desk:read").await;
    let seen: Value = program.get_as(&mine, "/v1/logs?limit=1000").send().await.unwrap().json().await.unwrap();
    let seen = seen["records"].as_array().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|record| record["app"] == "echo-desk"), "{seen:?}");
    let others = program.key("apps:other:read").await;
    for path in ["/v1/logs", "/v1/logs?app=echo-desk"] {
        assert_eq!(program.get_as(&others, path).send().await.unwrap().status(), 403, "{path}");
    }
    for wrong in ["level=loud", "limit=0", "limit=1001", "since=yesterday", "colour=red", "cursor=x"] {
        let answer = program.get(&format!("/v1/logs?{wrong}")).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }

    let (url, data) = (program.served.url.clone(), dir.path().to_owned());
    let listed = tokio::task::spawn_blocking(move || {
        let ask = ["logs", "--execution", &id, "--since", "1h", "--url", &url, "--data-dir", "data"];
        (run(&data, &ask), run(&data, &[&ask[..], &["--json"]].concat()), run(&data, &["logs", "--since", "soon"]))
    });
    let (human, json, wrong) = listed.await.unwrap();
    assert!(text(&human.stdout).contains("app=echo-desk operation=shout execution="), "{human:?}");
    let first: Value = serde_json::from_str(text(&json.stdout).lines().next().unwrap()).unwrap();
    assert_eq!(first["trace_id"], trace);
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_where_it_stopped_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    write_app(&dir.path().join("apps"));
    let endpoint = ShoutingEndpoint::start().await;
    let mut program = Program::start(dir.path(), &endpoint.url, &["--log", "debug"]);
    let newest = program.json("/v1/logs?limit=1").await["newest"].as_u64().unwrap();
    let follow = |program: &Program, after: u64| {
        let ask = program.get("/v1/logs").header("accept", "text/event-stream").header("last-event-id", after);
        ask.send()
    };
    let mut stream = follow(&program, newest).await.unwrap().error_for_status().unwrap();
    assert!(stream.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    program.call("one").send().await.unwrap();
    let mut buffer = String::new();
    let first = event(&mut stream, &mut buffer).await;
    assert!(first.contains("event: log") && number(&first) == newest + 1, "{first}");
    // What is still in the queue is lost with the process, so the last of the call is waited for.
    let mut seen = number(&first);
    while !event(&mut stream, &mut buffer).await.contains("answered") {
        seen += 1;
    }

    // Killed in the middle of a line.
    program.served.kill();
    let segment = std::fs::read_dir(dir.path().join("data/log")).unwrap().next().unwrap().unwrap().path();
    let mut torn = std::fs::read(&segment).unwrap();
    torn.extend_from_slice(br#"{"id":99999,"time":"2026-"#);
    std::fs::write(&segment, torn).unwrap();

    let mut program = Program::start(dir.path(), &endpoint.url, &["--log", "debug"]);
    program.key.clone_from(&std::fs::read_to_string(dir.path().join("data/admin-key")).unwrap().trim().to_owned());
    let mut stream = follow(&program, seen).await.unwrap().error_for_status().unwrap();
    let mut buffer = String::new();
    loop {
        let event = event(&mut stream, &mut buffer).await;
        assert_eq!(number(&event), seen + 1, "{event}");
        seen += 1;
        if event.contains("application loaded") {
            break;
        }
    }
    // A follower does not keep a server from stopping.
    tokio::task::spawn_blocking(move || assert!(program.served.terminate().success())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_forged_line_reaches_the_log() {
    for format in ["human", "json"] {
        let dir = tempfile::tempdir().unwrap();
        write_app(&dir.path().join("apps"));
        let endpoint = ShoutingEndpoint::start().await;
        std::fs::write(dir.path().join("model-key"), "plain-canary-of-the-model\n").unwrap();
        let key = format!("models.loud.key.file={}", dir.path().join("model-key").display());
        let program =
            Program::start(dir.path(), &endpoint.url, &["--log", "trace", "--log-format", format, "--set", &key]);
        let call = program.call("fail").header("x-api-key", "canary-in-a-header").header("cookie", "a=canary-cookie");
        let id = call.send().await.unwrap().headers()["x-nexus-execution"].to_str().unwrap().to_owned();
        program.records(&format!("/v1/logs?execution={id}"), 1).await;
        program.call("tell plain-canary-of-the-model").send().await.unwrap();
        let admin = program.key.clone();
        tokio::task::spawn_blocking(move || assert!(program.served.terminate().success())).await.unwrap();

        let mut said = text(&std::fs::read(dir.path().join("stderr")).unwrap());
        for entry in std::fs::read_dir(dir.path().join("data/log")).unwrap() {
            let kept = text(&std::fs::read(entry.unwrap().path()).unwrap());
            assert!(kept.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
            said += &kept;
        }
        assert!(said.matches("why it was not answered").count() >= 2, "the provider's words are logged: {said}");
        for secret in [admin.as_str(), "plain-canary", "canary-in-a-header", "canary-cookie", "sk-canary"] {
            let line = said.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{format}: {secret}: {line:?}");
        }
        assert!(!said.contains('\u{1b}') && !said.contains('\r'), "{format}");
        assert_eq!(said.lines().find(|line| line.starts_with("2026-01-01T00:00")), None, "{format}");
    }
}

#[test]
fn what_is_kept_has_bounds_that_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in ["log.keep_bytes=5", "log.keep=1s"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
        let output = command.current_dir(dir.path()).env_clear().args(["serve", "--set", wrong]).stdin(Stdio::null());
        assert_eq!(output.output().unwrap().status.code(), Some(2), "{wrong}");
    }
}
