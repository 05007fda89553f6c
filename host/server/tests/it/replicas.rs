//! Several hosts with the same definitions.

use std::time::{Duration, Instant};

use nexus_server::RemoteSettings;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Host, problem};

const APP: &str = "/v1/apps/echo-desk";

/// What another host serves, at the latest this long after a change was acknowledged. The hosts look every half second.
const SEEN: Duration = Duration::from_secs(5);

async fn change(host: &Host, text: &str) -> Value {
    let path = format!("{APP}/files/docs/notes.md");
    let revision = host.json(&format!("{APP}/files")).await["revision"].as_str().unwrap().to_owned();
    let put = host
        .ask(Method::PUT, &path)
        .header("if-match", format!("\"{revision}\""))
        .body(text.to_owned())
        .send()
        .await
        .unwrap();
    put.error_for_status().unwrap().json::<Value>().await.unwrap()["revision"].clone()
}

async fn served(host: &Host, revision: &Value) -> Duration {
    let begun = Instant::now();
    while host.json("/v1/apps").await["apps"][0]["revision"] != *revision {
        assert!(begun.elapsed() < SEEN, "not within {SEEN:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_a_repository_serve_what_either_writes() {
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared.git");
    let one = Host::start_with(|settings| settings.definitions.repository = Some(shared.clone())).await;
    let other = Host::start_with(|settings| {
        settings.definitions.repository = Some(shared.clone());
        settings.apps = None;
    });
    let other = other.await;
    for round in 0..3 {
        let (writer, reader) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        served(reader, &change(writer, &format!("round {round}")).await).await;
    }
    assert_eq!(other.shout("x").send().await.unwrap().status(), 200);
}

fn remote(url: &std::path::Path, follow: bool) -> RemoteSettings {
    serde_json::from_value(json!({ "url": url, "every": "100ms", "follow": follow })).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_follows_serves_what_the_writer_writes() {
    let dir = tempfile::tempdir().unwrap();
    let hub = dir.path().join("hub.git");
    nexus_state::GitDefinitions::open(&hub).unwrap();
    let writer = Host::start_with(|settings| settings.definitions.remote = Some(remote(&hub, false))).await;
    let follower = Host::start_with(|settings| {
        settings.definitions.remote = Some(remote(&hub, true));
        settings.apps = None;
    });
    let follower = follower.await;
    let revision = change(&writer, "from the writer").await;
    served(&follower, &revision).await;
    let refused = follower.ask(Method::DELETE, APP).header("if-match", "*").send().await.unwrap();
    problem(refused, 409, "definitions_followed").await;
    let push = follower.ask(Method::POST, "/v1/definitions/push").send().await.unwrap();
    problem(push, 409, "definitions_followed").await;
    let push = writer.ask(Method::POST, "/v1/definitions/push").send().await.unwrap();
    assert_eq!(push.json::<Value>().await.unwrap()["moved"], false, "it was sent when it was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_remote_there_is_nothing_to_move() {
    let host = Host::start().await;
    for verb in ["push", "fetch"] {
        let refused = host.ask(Method::POST, &format!("/v1/definitions/{verb}")).send().await.unwrap();
        problem(refused, 409, "no_remote").await;
    }
}
