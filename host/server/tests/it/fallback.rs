//! Another model answers where the one that a prompt names cannot, and everybody can see it.

use nexus_llm::ModelSettings;
use serde_json::{Value, json};

use crate::support::{Host, problem};

fn model(settings: Value) -> ModelSettings {
    serde_json::from_value(settings).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fall_back_answers_and_is_named_priced_and_counted() {
    let host = Host::start_with(|settings| {
        let price = json!({ "input_usd_per_million": 1, "output_usd_per_million": 2, "as_of": "2026-01-31" });
        let spare = json!({ "endpoint": settings.models["loud"].endpoint.to_string(), "model": "m", "price": price });
        settings.models.insert("spare".to_owned(), model(spare));
        let down = json!({ "endpoint": "http://127.0.0.1:1/v1", "model": "m", "fallback": ["spare"] });
        settings.models.insert("loud".to_owned(), model(down));
    })
    .await;
    let answer = host.shout("hi").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.headers()["x-nexus-execution"].to_str().unwrap().to_owned();
    let listed = host.json("/v1/executions?limit=1").await;
    let execution = &listed["executions"][0];
    assert_eq!(execution["id"], id);
    assert_eq!(execution["model"], json!({ "alias": "spare", "model": "m" }));
    assert_eq!(execution["usage"]["cost_nano_usd"], 10 * 1_000 + 5 * 2_000);

    let metrics = host.get("/metrics").send().await.unwrap().text().await.unwrap();
    let counted = "nexus_operation_model_fallbacks_total{app=\"echo-desk\",operation=\"shout\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    let status = host.json("/v1/apps/echo-desk/operations/shout/optimization").await;
    assert_eq!(status["distinct_inputs"], 0, "what another model answered teaches nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_that_is_not_known_is_null() {
    let host = Host::start().await;
    host.shout("hi").send().await.unwrap().error_for_status().unwrap();
    let execution = host.json("/v1/executions?limit=1").await["executions"][0].clone();
    assert_eq!(execution["model"], json!({ "alias": "loud", "model": "m" }));
    assert_eq!((&execution["usage"]["output_tokens"], &execution["usage"]["cost_nano_usd"]), (&json!(5), &Value::Null));
    let metrics = host.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nexus_operation_unpriced_total{app=\"echo-desk\",operation=\"shout\"} 1"), "{metrics}");
    assert!(!metrics.contains("nexus_operation_cost_usd_total{"), "an unknown cost is not 0: {metrics}");
    problem(host.shout("fail").send().await.unwrap(), 502, "provider_failed").await;
}
