//! Answers as events.

use std::time::Duration;

use reqwest::header;
use serde_json::{Value, json};

use crate::support::{Host, SHOUT, in_time, problem};

/// Names and data of the events of an answer.
async fn events(response: reqwest::Response) -> Vec<(String, Value)> {
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = response.text().await.unwrap();
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    let blocks = text.split("\n\n").filter(|block| block.starts_with("event"));
    blocks
        .map(|block| (field(block, "event").unwrap(), serde_json::from_str(&field(block, "data").unwrap()).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_come_first_and_the_answer_last() {
    let host = Host::start().await;
    let response = host.shout("hello").header(header::ACCEPT, "text/event-stream").send().await.unwrap();
    let events = events(response).await;
    let (last, pieces) = events.split_last().unwrap();
    assert!(!pieces.is_empty() && pieces.iter().all(|(name, _)| name == "token"), "{pieces:?}");
    let text: String = pieces.iter().map(|(_, data)| data["text"].as_str().unwrap()).collect();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "shout": "HELLO" }));
    assert_eq!(last.0, "answer");
    assert_eq!((&last.1["output"], &last.1["path"]), (&json!({ "shout": "HELLO" }), &json!("model")));
    let execution = host.json(&format!("/v1/executions/{}", last.1["execution"].as_str().unwrap())).await;
    assert_eq!(execution["output"], json!({ "shout": "HELLO" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_before_the_first_event_is_an_ordinary_problem() {
    let host = Host::start().await;
    let ask = |body: &Value| host.post(SHOUT, body).header(header::ACCEPT, "text/event-stream").send();
    problem(ask(&json!({ "text": 1 })).await.unwrap(), 422, "invalid_input").await;
    problem(ask(&json!({ "text": "fail" })).await.unwrap(), 502, "provider_failed").await;
    let unknown = host.post("/v1/apps/echo-desk/operations/x", &json!({})).header(header::ACCEPT, "text/event-stream");
    problem(unknown.send().await.unwrap(), 404, "unknown_operation").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_frees_its_place() {
    let host = Host::start_with(|settings| settings.limits.in_flight = 1).await;
    tokio::select! {
        answer = host.shout("held").header(header::ACCEPT, "text/event-stream").send() => panic!("{answer:?}"),
        () = host.endpoint.asked_by(1) => {}
    }
    in_time(async {
        while host.shout("x").send().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
