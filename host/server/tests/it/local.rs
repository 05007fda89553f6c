//! A server without keys.

use reqwest::header;
use serde_json::json;

use crate::support::{Host, SHOUT, problem};

#[tokio::test(flavor = "multi_thread")]
async fn only_this_machine_is_answered() {
    let host = Host::start_with(|settings| settings.insecure_local = true).await;
    assert!(host.admin.is_empty());
    let call = || host.client.post(format!("{}{SHOUT}", host.url())).json(&json!({ "text": "x" }));
    assert_eq!(call().send().await.unwrap().status(), 200);
    let own = call().header(header::ORIGIN, host.url()).send().await.unwrap();
    assert_eq!(own.status(), 200);
    assert!(!own.headers().contains_key("access-control-allow-origin"));
    let rebound = call().header(header::HOST, "evil.example").send().await.unwrap();
    problem(rebound, 403, "foreign_origin").await;
    for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
        problem(call().header(header::ORIGIN, origin).send().await.unwrap(), 403, "foreign_origin").await;
    }
    assert_eq!(host.client.get(format!("{}/metrics", host.url())).send().await.unwrap().status(), 200);
}
