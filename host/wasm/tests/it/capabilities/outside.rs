//! Tools, events and models of the application.

use std::{sync::Arc, time::Duration};

use nexus_model::{ComponentFault, Grants, LinkedPlugin, ToolFault};
use serde_json::json;

use super::{Desk, call, fault, host, linked};

async fn caller() -> (Arc<dyn LinkedPlugin>, Arc<Desk>) {
    let all = || vec!["*".to_owned()];
    let grants = Grants { tools: all(), events: all(), models: all(), ..Grants::default() };
    (linked(&host(|_| {}), "host.wasm", &grants).await, Arc::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_called_with_json() {
    let (caller, desk) = caller().await;
    let tool = |name: &str, arguments: &str| json!({ "name": name, "arguments": arguments });
    let echoed = call(&caller, &desk, "calls.call", tool("echo", r#"{ "a": [1, "é"] }"#)).await;
    assert_eq!(echoed, Ok(json!(r#"{"a":[1,"é"]}"#)));
    for (name, arguments, said) in [
        ("fail", "7", r#"Tool("{\"because\":7}")"#),
        ("forbidden", "{}", r#"Denied("forbidden")"#),
        ("nowhere", "{}", r#"NotFound("nowhere")"#),
        ("echo", "{", "InvalidArguments"),
    ] {
        let error = call(&caller, &desk, "calls.call", tool(name, arguments)).await.unwrap_err();
        assert!(error.as_str().unwrap().contains(said), "{name}: {error}");
    }
    let deep = "[".repeat(100_000);
    let error = call(&caller, &desk, "calls.call", tool("echo", &deep)).await.unwrap_err();
    assert!(error.as_str().unwrap().contains("InvalidArguments"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_hangs_ends_at_the_deadline() {
    let (caller, _) = caller().await;
    let fault = fault(&caller, "calls.call", json!({ "name": "hang", "arguments": "{}" }), 50).await;
    assert_eq!(fault, ToolFault::Component(ComponentFault::Deadline(Duration::from_millis(50))));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_published() {
    let (caller, desk) = caller().await;
    let event = |kind: &str, data: &str| json!({ "kind": kind, "subject": "it", "data": data });
    let id = call(&caller, &desk, "calls.publish", event("com.example.done", "{\"a\": 1}")).await;
    assert_eq!(id, Ok(json!(r#"com.example.done Some("it") {"a":1}"#)));
    let denied = call(&caller, &desk, "calls.publish", event("forbidden", "1")).await.unwrap_err();
    assert!(denied.as_str().unwrap().contains("Denied"), "{denied}");
    let invalid = call(&caller, &desk, "calls.publish", event("com.example.done", "")).await.unwrap_err();
    assert!(invalid.as_str().unwrap().contains("InvalidData"), "{invalid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_asked() {
    let (caller, desk) = caller().await;
    let ask = |model: &str| json!({ "model": model, "system": null, "prompt": "Why?" });
    assert_eq!(call(&caller, &desk, "calls.generate", ask("small")).await, Ok(json!("small None Why?")));
    let limit = call(&caller, &desk, "calls.generate", ask("dear")).await.unwrap_err();
    assert!(limit.as_str().unwrap().contains("Limit"), "{limit}");
}
