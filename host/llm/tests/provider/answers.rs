//! Answers: whole, in pieces, repaired, and of no use.

use std::{sync::Arc, time::Duration};

use nexus_model::{ModelErrorKind, NanoUsd, Usage};
use serde_json::{Value, json};

use crate::{
    ask,
    endpoint::{Endpoint, Step, answered, ending, event, opening, piece},
    request,
};

fn usage(input_tokens: u64, output_tokens: u64) -> Usage {
    let cost = Some(NanoUsd(input_tokens * 150 + output_tokens * 600));
    Usage { input_tokens, cached_input_tokens: 0, output_tokens, cost }
}

#[tokio::test]
async fn pieces_come_in_order_and_are_counted() {
    let endpoint = Endpoint::start(vec![answered(&["{\"su", "m\":", " 2", "}"], 1_203, 7)]).await;
    let (result, pieces) = ask(&endpoint, &request()).await;
    let generation = result.unwrap();
    assert_eq!(generation.value, json!({ "sum": 2 }));
    assert_eq!(generation.usage, usage(1_203, 7));
    assert_eq!(generation.by.model, "vendor/model-low");
    assert!(!generation.repaired);
    assert_eq!(pieces, ["{\"su", "m\":", " 2", "}"]);
}

#[tokio::test]
async fn a_character_may_be_cut_anywhere() {
    let whole = event(&json!({ "choices": [{ "delta": { "content": "{\"sum\":2, \"é\":1}" } }] }));
    let answer: Vec<Step> = std::iter::once(opening())
        .chain(whole.chars().flat_map(|c| [Step::Send(c.to_string()), Step::Sleep(Duration::from_micros(200))]))
        .chain([ending("stop", 1, 1)])
        .collect();
    let endpoint = Endpoint::start(vec![answer, answered(&["{\"sum\":2}"], 1, 1)]).await;
    assert!(ask(&endpoint, &request()).await.0.unwrap().repaired);
    assert!(endpoint.requests()[1].body.to_string().contains("é"));
}

#[tokio::test]
async fn a_fence_is_no_mistake() {
    let endpoint = Endpoint::start(vec![answered(&["```json\n", "{\"sum\":2}", "\n```"], 5, 5)]).await;
    let generation = ask(&endpoint, &request()).await.0.unwrap();
    assert!(!generation.repaired && generation.value == json!({ "sum": 2 }));
}

#[tokio::test]
async fn reasoning_is_not_the_answer() {
    let thought = event(&json!({ "choices": [{ "delta": { "reasoning_content": "hm, 1+1" } }] }));
    let script = vec![opening(), Step::Send(thought), piece("{\"sum\":2}"), ending("stop", 1, 1)];
    let endpoint = Endpoint::start(vec![script]).await;
    let (result, pieces) = ask(&endpoint, &request()).await;
    assert_eq!(result.unwrap().value, json!({ "sum": 2 }));
    assert_eq!(pieces, ["{\"sum\":2}"]);
}

#[tokio::test]
async fn what_is_not_json_is_repaired_once() {
    let endpoint = Endpoint::start(vec![answered(&["Sure: 2"], 10, 3), answered(&["{\"sum\":", "2}"], 30, 5)]).await;
    let (result, pieces) = ask(&endpoint, &request()).await;
    let generation = result.unwrap();
    assert!(generation.repaired);
    assert_eq!(generation.usage, usage(40, 8));
    assert_eq!(pieces, ["Sure: 2", "<restart>", "{\"sum\":", "2}"]);

    let messages = endpoint.requests()[1].body["messages"].as_array().unwrap().clone();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[2], json!({ "role": "assistant", "content": "Sure: 2" }));
    assert!(messages[3]["content"].as_str().unwrap().starts_with("That is not JSON: expected value"));
}

#[tokio::test]
async fn what_fails_the_schema_is_repaired_once() {
    let endpoint =
        Endpoint::start(vec![answered(&["{\"sum\":\"two\"}"], 10, 3), answered(&["{\"sum\":2}"], 30, 5)]).await;
    let generation = ask(&endpoint, &request()).await.0.unwrap();
    assert!(generation.repaired);
    assert_eq!(generation.usage, usage(40, 8));
    let complaint = endpoint.requests()[1].body["messages"][3]["content"].to_string();
    assert!(complaint.contains("/sum: ") && complaint.contains("integer"), "{complaint}");
}

#[tokio::test]
async fn a_second_bad_answer_is_an_error() {
    let not_json = answered(&["no"], 10, 3);
    let bad = answered(&["{\"sum\":\"x\"}"], 10, 3);
    for (scripts, kind) in [
        (vec![not_json.clone(), not_json.clone()], ModelErrorKind::NotJson),
        (vec![bad.clone(), bad.clone()], ModelErrorKind::SchemaMismatch),
        (vec![not_json.clone(), bad.clone()], ModelErrorKind::SchemaMismatch),
        (vec![bad, not_json], ModelErrorKind::NotJson),
    ] {
        let endpoint = Endpoint::start(scripts).await;
        let error = ask(&endpoint, &request()).await.0.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert_eq!(error.usage, usage(20, 6));
        assert_eq!(endpoint.requests().len(), 2);
        let named = if kind == ModelErrorKind::NotJson { "line 1" } else { "/sum: " };
        assert!(error.detail.contains(named), "{error}");
    }
}

#[tokio::test]
async fn a_broken_schema_asks_nobody() {
    let endpoint = Endpoint::start(vec![answered(&["{}"], 1, 1)]).await;
    let mut request = request();
    request.schema = Arc::new(json!({ "type": "nonsense" }));
    let error = ask(&endpoint, &request).await.0.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::SchemaMismatch);
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn a_schema_may_be_of_any_type() {
    let endpoint = Endpoint::start(vec![answered(&["[1, 2]"], 1, 1)]).await;
    let mut request = request();
    request.schema = Arc::new(json!({ "type": "array" }));
    assert_eq!(ask(&endpoint, &request).await.0.unwrap().value, json!([1, 2]));
    assert_eq!(endpoint.requests()[0].body["response_format"], Value::Null);
}

#[tokio::test]
async fn the_reason_to_stop_is_as_good_as_the_end_mark() {
    let end = Step::Send(event(&json!({ "model": "model-1", "choices": [{ "delta": {}, "finish_reason": "stop" }] })));
    let endpoint = Endpoint::start(vec![vec![opening(), piece("{\"sum\":2}"), end]]).await;
    let generation = ask(&endpoint, &request()).await.0.unwrap();
    assert_eq!((generation.value, generation.by.model.as_str()), (json!({ "sum": 2 }), "model-1"));
}

#[tokio::test]
async fn usage_may_be_missing() {
    let end = Step::Send("data: [DONE]\n\n".to_owned());
    let endpoint = Endpoint::start(vec![vec![opening(), piece("{\"sum\":2}"), end]]).await;
    // What was not counted is not known, and not nothing.
    assert_eq!(ask(&endpoint, &request()).await.0.unwrap().usage, Usage { cost: None, ..Usage::NONE });
}
