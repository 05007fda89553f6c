//! Who changed what, and who was turned away.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Host, SHOUT, problem};

fn actions(list: &Value) -> Vec<&str> {
    list["records"].as_array().unwrap().iter().map(|record| record["action"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_written_down_with_who_made_them() {
    let host = Host::start().await;
    let created = host.post("/v1/keys", &json!({ "name": "shop", "scopes": ["apps:*:read"] })).send().await.unwrap();
    let created: Value = created.json().await.unwrap();
    let id = created["id"].as_str().unwrap();
    let key = created["key"].as_str().unwrap();
    let rotated = host.post(&format!("/v1/keys/{id}/rotate"), &json!({ "overlap": "1h" })).send().await.unwrap();
    assert_eq!(rotated.status(), 200);
    assert_eq!(host.ask(Method::DELETE, &format!("/v1/keys/{id}")).send().await.unwrap().status(), 204);
    problem(host.post(&format!("{SHOUT}/demote"), &json!(null)).send().await.unwrap(), 409, "not_active").await;

    let list = host.json("/v1/audit").await;
    let expected = ["operation.demote", "operation.demote", "key.revoke", "key.rotate", "key.create", "key.create"];
    assert_eq!(actions(&list)[..6], expected, "{list}");
    let records = list["records"].as_array().unwrap();
    // What was not done after all says so.
    assert_eq!(records[0]["detail"]["failed"], records[1]["seq"]);
    assert_eq!((&records[3]["target"], &records[3]["detail"]["overlap_seconds"]), (&json!(id), &json!(3600)));
    assert_eq!(records[4]["key_name"], "first admin");
    assert_eq!(records[5]["key_id"], "host");
    assert!(!list.to_string().contains(&key[22..]), "no secret is in the log");

    let of_keys = host.json("/v1/audit?action=key.&limit=2").await;
    assert_eq!(actions(&of_keys), ["key.revoke", "key.rotate"]);
    let rest = host.json(&format!("/v1/audit?action=key.&before={}", of_keys["next"])).await;
    assert_eq!(actions(&rest), ["key.create", "key.create"]);
    let whole = host.json("/v1/audit/verification").await;
    assert_eq!((&whole["fault"], &whole["next"]), (&Value::Null, &Value::Null), "{whole}");
    assert!(whole["verified"].as_u64().unwrap() >= 6);

    problem(host.get("/v1/audit?limit=0").send().await.unwrap(), 400, "invalid_parameter").await;
    problem(host.get("/v1/audit?who=me").send().await.unwrap(), 400, "invalid_parameter").await;
    let reader = host.key(&["apps:*:read"]).await;
    for path in ["/v1/audit", "/v1/audit/verification"] {
        let answer = host.client.get(format!("{}{path}", host.url())).bearer_auth(&reader).send().await.unwrap();
        problem(answer, 403, "forbidden").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_is_counted_and_sampled() {
    let host = Host::start().await;
    let reader = host.key(&["apps:*:read"]).await;
    let refused = host.client.get(format!("{}/v1/keys?x=hidden", host.url())).bearer_auth(&reader);
    problem(refused.send().await.unwrap(), 403, "forbidden").await;
    for _ in 0..20 {
        let nobody = host.client.get(format!("{}/v1/apps", host.url())).bearer_auth("nxs_guess");
        problem(nobody.send().await.unwrap(), 401, "unauthorized").await;
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let denied = loop {
        let denied = host.json("/v1/audit?action=denied").await;
        if actions(&denied).len() >= 3 || std::time::Instant::now() > deadline {
            break denied;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(actions(&denied), ["denied"; 3], "a flood leaves a sample: {denied}");
    let first = &denied["records"][2];
    assert_eq!((&first["detail"]["status"], &first["target"]), (&json!(403), &json!("GET /v1/keys")));
    assert_eq!(first["key_id"], reader[4..20]);
    let metrics = host.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nexus_requests_refused_total{reason=\"unauthorized\"} 20"), "{metrics}");
    assert!(metrics.contains("nexus_requests_refused_total{reason=\"forbidden\"} 1"), "{metrics}");
}
