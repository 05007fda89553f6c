//! A key's life, and what it opens.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Host, SHOUT, in_time, problem};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_and_revoked() {
    let host = Host::start().await;
    let body = json!({ "name": "shop", "scopes": ["apps:echo-desk:invoke"] });
    let created = host.post("/v1/keys", &body).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let created: Value = created.json().await.unwrap();
    let (key, id) = (created["key"].as_str().unwrap(), created["id"].as_str().unwrap());
    assert!(key.starts_with("nxs_"));
    let call =
        || host.client.post(format!("{}{SHOUT}", host.url())).bearer_auth(key).json(&json!({ "text": "x" })).send();
    assert_eq!(call().await.unwrap().status(), 200);

    let listed = host.json("/v1/keys").await;
    assert!(listed["keys"].as_array().unwrap().iter().any(|listed| listed["id"] == id && listed["name"] == "shop"));
    assert!(!listed.to_string().contains(key), "a key is shown once");

    for _ in 0..2 {
        assert_eq!(host.ask(Method::DELETE, &format!("/v1/keys/{id}")).send().await.unwrap().status(), 204);
    }
    problem(call().await.unwrap(), 401, "unauthorized").await;
    problem(host.ask(Method::DELETE, "/v1/keys/nobody").send().await.unwrap(), 404, "unknown_key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_has_two_secrets_for_a_while() {
    let host = Host::start().await;
    let body = json!({ "name": "shop", "scopes": ["apps:*:read"] });
    let created: Value = host.post("/v1/keys", &body).send().await.unwrap().json().await.unwrap();
    let rotate = |overlap: Value| host.post(&format!("/v1/keys/{}/rotate", created["id"].as_str().unwrap()), &overlap);
    let rotated: Value = rotate(json!({ "overlap": "24h" })).send().await.unwrap().json().await.unwrap();
    assert_eq!(rotated["id"], created["id"]);
    assert!(rotated["overlap_until"].is_string() && rotated["rotated_at"].is_string());
    let list = async |key: &Value| {
        let request = host.client.get(format!("{}/v1/apps", host.url())).bearer_auth(key.as_str().unwrap());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((list(&created["key"]).await, list(&rotated["key"]).await), (200, 200));
    let again: Value = rotate(json!({})).send().await.unwrap().json().await.unwrap();
    assert_eq!((list(&created["key"]).await, list(&rotated["key"]).await, list(&again["key"]).await), (401, 401, 200));
    let listed = host.json("/v1/keys").await;
    let listed = listed["keys"].as_array().unwrap().iter().find(|key| key["id"] == created["id"]).unwrap().clone();
    assert!(listed["last_used_at"].is_string(), "{listed}");

    problem(rotate(json!({ "overlap": "90d" })).send().await.unwrap(), 422, "invalid_key").await;
    problem(host.post("/v1/keys/nobody/rotate", &json!({})).send().await.unwrap(), 404, "unknown_key").await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(host.ask(Method::DELETE, &format!("/v1/keys/{id}")).send().await.unwrap().status(), 204);
    problem(rotate(json!({})).send().await.unwrap(), 409, "key_ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires() {
    let host = Host::start().await;
    let body = json!({ "name": "short", "scopes": ["apps:*:read"], "expires_in": "1s" });
    let created: Value = host.post("/v1/keys", &body).send().await.unwrap().json().await.unwrap();
    let key = created["key"].as_str().unwrap();
    let list = || host.client.get(format!("{}/v1/apps", host.url())).bearer_auth(key).send();
    assert_eq!(list().await.unwrap().status(), 200);
    let expired = async {
        loop {
            let answer = list().await.unwrap();
            if answer.status() != 200 {
                return answer;
            }
        }
    };
    problem(in_time(expired).await, 401, "unauthorized").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_not_made() {
    let host = Host::start().await;
    for (body, status, code) in [
        (json!({ "name": "x", "scopes": ["everything"] }), 422, "invalid_key"),
        (json!({ "name": "x", "scopes": [] }), 422, "invalid_key"),
        (json!({ "name": "", "scopes": ["admin"] }), 422, "invalid_key"),
        (json!({ "name": "x", "scopes": ["admin"], "expires_in": "soon" }), 422, "invalid_key"),
        (json!({ "name": "x", "scope": ["admin"] }), 400, "invalid_json"),
    ] {
        problem(host.post("/v1/keys", &body).send().await.unwrap(), status, code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_its_scopes_say() {
    let host = Host::start().await;
    let invoke = host.key(&["apps:echo-desk:invoke"]).await;
    let read = host.key(&["apps:echo-desk:read"]).await;
    let read_all = host.key(&["apps:*:read"]).await;
    let optimization = format!("{SHOUT}/optimization");
    let demote = format!("{SHOUT}/demote");
    let cases: [(&str, Method, &str, u16); 14] = [
        (&invoke, Method::POST, SHOUT, 200),
        (&read, Method::POST, SHOUT, 403),
        (&read_all, Method::POST, SHOUT, 403),
        (&invoke, Method::GET, "/v1/apps/echo-desk", 403),
        (&read, Method::GET, "/v1/apps/echo-desk", 200),
        (&invoke, Method::GET, "/v1/executions", 403),
        (&read, Method::GET, "/v1/executions", 200),
        (&read, Method::GET, &optimization, 200),
        (&read_all, Method::POST, &demote, 403),
        (&read_all, Method::GET, "/v1/keys", 403),
        // Whoever may not know whether there is one learns nothing; whoever may is told.
        (&invoke, Method::POST, "/v1/apps/other/operations/x", 403),
        (&read, Method::GET, "/v1/apps/other", 403),
        (&read_all, Method::GET, "/v1/apps/other", 404),
        (&read_all, Method::POST, "/v1/apps/other/operations/x", 404),
    ];
    for (key, method, path, status) in cases {
        let request = host.client.request(method.clone(), format!("{}{path}", host.url())).bearer_auth(key);
        let answer = request.json(&json!({ "text": "x" })).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        if status == 403 {
            let refused = problem(answer, 403, "forbidden").await;
            assert!(refused["detail"].as_str().unwrap().contains("scope `"), "{refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_ask_for_a_key_unless_told_otherwise() {
    let host = Host::start().await;
    let url = format!("{}/metrics", host.url());
    problem(host.client.get(&url).send().await.unwrap(), 401, "unauthorized").await;
    let any = host.key(&["apps:echo-desk:invoke"]).await;
    let shown = host.client.get(&url).bearer_auth(any).send().await.unwrap();
    assert_eq!(shown.status(), 200);
    assert!(shown.text().await.unwrap().ends_with("# EOF\n"));
    let open = Host::start_with(|settings| settings.metrics_open = true).await;
    assert_eq!(open.client.get(format!("{}/metrics", open.url())).send().await.unwrap().status(), 200);
}
