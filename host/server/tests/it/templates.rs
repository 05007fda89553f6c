//! Applications from templates.

use serde_json::json;

use crate::support::{Host, problem};

#[tokio::test(flavor = "multi_thread")]
async fn an_application_begins_as_a_template() {
    let host = Host::start().await;
    let templates = host.json("/v1/templates").await;
    let names: Vec<_> =
        templates["templates"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["classify", "extract", "summarise"]);
    let make = |body: serde_json::Value| host.post("/v1/apps/from-template", &body).send();
    for name in names {
        let added = make(json!({ "template": name, "parameters": { "model": "loud" } })).await.unwrap();
        assert_eq!(added.status(), 201, "{}", added.text().await.unwrap());
        assert_eq!(host.json(&format!("/v1/apps/{name}")).await["status"], "active");
    }
    let again = make(json!({ "template": "classify", "parameters": { "model": "loud" } })).await.unwrap();
    problem(again, 412, "precondition_failed").await;
    let unknown = problem(make(json!({ "template": "clasify" })).await.unwrap(), 404, "unknown_template").await;
    assert!(unknown["hint"].as_str().unwrap().contains("`classify`"));
    let wrong = json!({ "template": "classify", "parameters": { "name": "A B", "labels": [] } });
    let wrong = problem(make(wrong).await.unwrap(), 422, "invalid_parameters").await;
    assert_eq!(wrong["violations"].as_array().unwrap().len(), 2, "{wrong}");
    let model = json!({ "template": "classify", "parameters": { "name": "other", "model": "lowd" } });
    let model = problem(make(model).await.unwrap(), 422, "definition_faults").await;
    assert_eq!(model["faults"][0]["nearest"], "loud", "{model}");
    let key = host.key(&["apps:support:write"]).await;
    let other = host.client.post(format!("{}/v1/apps/from-template", host.url())).bearer_auth(key);
    let other = other.json(&json!({ "template": "classify", "parameters": { "model": "loud", "name": "mine" } }));
    problem(other.send().await.unwrap(), 403, "forbidden").await;
}
