//! What applications are to remember.

use std::process::Command;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Host, problem, write_app};

const MEMORY: &str = "/v1/apps/echo-desk/memory";

async fn text(host: &Host, document: &str) -> String {
    host.get(&format!("{MEMORY}/{document}")).send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
}

async fn send(host: &Host, method: Method, document: &str, text: &str) -> Value {
    let request = host.ask(method, &format!("{MEMORY}/{document}")).body(text.to_owned());
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_written_added_to_read_and_removed() {
    let mut host = Host::start().await;
    assert_eq!(host.json(MEMORY).await["documents"], json!([]));
    problem(host.get(&format!("{MEMORY}/brief")).send().await.unwrap(), 404, "unknown_document").await;
    send(&host, Method::PUT, "brief", "Shouts, but kindly.\n").await;
    send(&host, Method::POST, "context", "Closed on Sunday.").await;
    send(&host, Method::POST, "context", "Open late on Friday.").await;
    let returns = "# Returns\n\nGoods can be returned within 30 days.\n\nShipping is not refunded.\n";
    send(&host, Method::PUT, "knowledge/shop/returns", returns).await;
    assert_eq!(text(&host, "context").await, "Closed on Sunday.\nOpen late on Friday.\n");
    let names = host.json(MEMORY).await;
    let names: Vec<_> = names["documents"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["brief", "context", "knowledge/shop/returns"]);

    let hits = host.json(&format!("{MEMORY}/search?q=how%20long%20may%20I%20return%20it")).await;
    assert_eq!(hits["hits"][0]["document"], "knowledge/shop/returns", "{hits}");
    assert!(hits["hits"][0]["text"].as_str().unwrap().contains("30 days"), "{hits}");
    assert_eq!(host.json(&format!("{MEMORY}/search?q=zebra")).await["hits"], json!([]));

    write_app(&host.dir.path().join("apps"));
    host.stop().await;
    host.resume().await;
    assert_eq!(text(&host, "brief").await, "Shouts, but kindly.\n", "an import and a restart leave it alone");
    let removed = host.ask(Method::DELETE, &format!("{MEMORY}/brief")).send().await.unwrap();
    assert_eq!(removed.status(), StatusCode::OK);
    problem(host.get(&format!("{MEMORY}/brief")).send().await.unwrap(), 404, "unknown_document").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_add_at_one_time_is_all_there_in_few_commits() {
    const WRITERS: usize = 100;
    let host = Host::start().await;
    let adding = (0..WRITERS).map(|number| {
        let line = format!("line {number}");
        let request = host.ask(Method::POST, &format!("{MEMORY}/context")).body(line);
        async move { request.send().await.unwrap().error_for_status().unwrap() }
    });
    futures::future::join_all(adding).await;
    let text = text(&host, "context").await;
    for number in 0..WRITERS {
        assert!(text.lines().any(|line| line == format!("line {number}")), "{number} is lost");
    }
    let repository = host.settings.data_dir.join("definitions.git");
    let mut count = Command::new("git");
    count.arg("-C").arg(repository).args(["rev-list", "--count", "nexus/memory/echo-desk"]);
    let count = String::from_utf8(count.output().unwrap().stdout).unwrap();
    assert!(count.trim().parse::<usize>().unwrap() <= WRITERS / 2, "{count} commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_documents_are_refused() {
    let host = Host::start().await;
    for name in ["other", "knowledge/.hidden", "knowledge/a%00b", "knowledge/%2e%2e/x"] {
        let put = host.ask(Method::PUT, &format!("{MEMORY}/{name}")).body("x").send().await.unwrap();
        assert!([404, 422].contains(&put.status().as_u16()), "{name}: {}", put.status());
    }
    let binary = host.ask(Method::PUT, &format!("{MEMORY}/brief")).body(vec![0xff, 0xfe]).send().await.unwrap();
    problem(binary, 400, "invalid_json").await;
    let large = host.ask(Method::PUT, &format!("{MEMORY}/brief")).body("x".repeat((1 << 20) + 1)).send().await.unwrap();
    problem(large, 413, "body_too_large").await;
    let nobody = host.ask(Method::PUT, "/v1/apps/nobody/memory/brief").body("x").send().await.unwrap();
    problem(nobody, 404, "unknown_app").await;
    let key = host.key(&["apps:echo-desk:read"]).await;
    let url = format!("{}{MEMORY}/brief", host.url());
    let refused = host.client.put(url).bearer_auth(key).body("x").send().await.unwrap();
    problem(refused, 403, "forbidden").await;
    problem(host.get(&format!("{MEMORY}/search?q=x&limit=0")).send().await.unwrap(), 400, "invalid_parameter").await;
}
