//! What applications may spend on models.

use std::fs;

use serde_json::json;

use crate::support::{Host, SHOUT, problem};

/// A server whose application has these limits and whose models have a price: an answer uses 10 + 5 tokens and costs
/// 10 + 5 micro-dollars.
async fn host(limits: &str) -> Host {
    let mut host = Host::start_with(|settings| {
        for model in settings.models.values_mut() {
            let price = json!({ "input_usd_per_million": 1, "output_usd_per_million": 1, "as_of": "2026-01-31" });
            model.price = Some(serde_json::from_value(price).unwrap());
        }
    })
    .await;
    assert!(host.stop().await);
    let app = host.dir.path().join("apps/echo-desk/app.yaml");
    let text = fs::read_to_string(&app).unwrap() + &format!("  limits: {{ {limits} }}\n");
    fs::write(&app, text).unwrap();
    host.resume().await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_a_budget_that_outlives_a_restart() {
    // An estimate is about 1,070 tokens, most of them the answer's bound; an answer uses 15.
    let mut host = host("tokens_per_day: 1100").await;
    for text in ["one", "two"] {
        assert_eq!(host.shout(text).send().await.unwrap().status(), 200);
    }
    let budget = host.json("/v1/apps/echo-desk/budget").await;
    assert_eq!((&budget["tokens_today"], &budget["cost_today_nano_usd"]), (&json!(30), &json!(30_000)), "{budget}");
    assert_eq!(budget["tokens_per_day"], 1100);
    let mut refused = None;
    for number in 0..10 {
        let answer = host.shout(&format!("more {number}")).send().await.unwrap();
        if answer.status() != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 86_400);
    let asked = host.endpoint.asked();
    let told = problem(refused, 402, "budget_exceeded").await;
    assert!(told["hint"].as_str().unwrap().contains("T00:00:00Z"), "{told}");
    assert!(told["instance"].as_str().unwrap().starts_with("/v1/executions/"), "it is an execution: {told}");

    assert!(host.stop().await);
    host.resume().await;
    problem(host.shout("again").send().await.unwrap(), 402, "budget_exceeded").await;
    assert_eq!(host.endpoint.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_has_a_budget() {
    let host = host("cost_per_execution_usd: 0.0005").await;
    let refused = host.shout("x").send().await.unwrap();
    assert!(refused.headers().get("retry-after").is_none());
    problem(refused, 402, "budget_exceeded").await;
    assert_eq!(host.endpoint.asked(), 0);
    let budget = host.json("/v1/apps/echo-desk/budget").await;
    assert_eq!((&budget["tokens_today"], &budget["cost_per_execution_nano_usd"]), (&json!(0), &json!(500_000)));
    let metrics = host.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nexus_requests_refused_total{reason=\"over_budget\"} 1"), "{metrics}");
    assert_eq!(host.post(SHOUT, &json!({ "text": 1 })).send().await.unwrap().status(), 422);
}
