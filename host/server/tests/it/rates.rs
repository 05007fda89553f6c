//! Rates of keys and of applications.

use std::fs;

use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{Host, SHOUT, problem};

fn seconds(answer: &Response) -> u64 {
    answer.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_its_rate_wherever_it_is_used() {
    let host = Host::start().await;
    let body = json!({ "name": "slow", "scopes": ["apps:*:read", "apps:*:invoke"], "requests_per_minute": 2 });
    let created: Value = host.post("/v1/keys", &body).send().await.unwrap().json().await.unwrap();
    assert_eq!(created["requests_per_minute"], 2);
    let key = created["key"].as_str().unwrap();
    let call = |path: &str| host.client.post(format!("{}{path}", host.url())).bearer_auth(key);
    let first = call(SHOUT).json(&json!({ "text": "x" })).send().await.unwrap();
    assert_eq!(first.status(), 200);
    assert_eq!(first.headers()["ratelimit-policy"], "\"key\";q=2;w=60");
    assert!(first.headers()["ratelimit"].to_str().unwrap().starts_with("\"key\";r=1;t="));
    let list = || host.client.get(format!("{}/v1/apps", host.url())).bearer_auth(key).send();
    assert_eq!(list().await.unwrap().status(), 200);
    let refused = list().await.unwrap();
    assert!((1..=30).contains(&seconds(&refused)));
    assert_eq!(refused.headers()["ratelimit"], "\"key\";r=0;t=60");
    problem(refused, 429, "rate_limited").await;
    // Others go on, and nothing was asked of the model.
    assert_eq!(host.get("/v1/apps").send().await.unwrap().status(), 200);
    let asked = host.endpoint.asked();
    problem(call(SHOUT).json(&json!({ "text": "y" })).send().await.unwrap(), 429, "rate_limited").await;
    assert_eq!(host.endpoint.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_has_its_rate_for_all_its_callers() {
    let mut host = Host::start().await;
    assert!(host.stop().await);
    let app = host.dir.path().join("apps/echo-desk/app.yaml");
    let text = fs::read_to_string(&app).unwrap() + "  limits: { requests_per_minute: 3 }\n";
    fs::write(&app, text).unwrap();
    host.resume().await;
    assert_eq!(host.json("/v1/apps/echo-desk").await["requests_per_minute"], 3);
    for left in [2, 1, 0] {
        let answer = host.shout("x").header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(answer.headers()["ratelimit-policy"], "\"app\";q=3;w=60");
        assert!(answer.headers()["ratelimit"].to_str().unwrap().starts_with(&format!("\"app\";r={left};")));
    }
    let refused = host.shout("x").send().await.unwrap();
    assert!((1..=20).contains(&seconds(&refused)));
    problem(refused, 429, "rate_limited").await;
    let metrics = host.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nexus_requests_refused_total{reason=\"rate_limited\"} 1"), "{metrics}");
}
