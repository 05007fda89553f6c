//! Every error that a caller can meet, and that its neighbour meets nothing of it.

use reqwest::{Method, header};
use serde_json::json;

use crate::support::{Host, SHOUT, problem};

/// While something goes wrong for one caller, another is answered.
async fn neighbour(host: &Host) {
    let answer = host.shout("neighbour").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), json!({ "shout": "NEIGHBOUR" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_call_says_how_it_was_answered() {
    let host = Host::start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = host.shout("hello").header("traceparent", trace).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    assert_eq!(headers["x-nexus-path"], "model");
    assert!(!headers.contains_key("x-nexus-fallback"));
    assert!(headers["traceparent"].to_str().unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("content-type", "application/json")]
    {
        assert_eq!(headers[name], value);
    }
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), json!({ "shout": "HELLO" }));
    let bad_trace = host.shout("hello").header("traceparent", "nonsense").send().await.unwrap();
    assert_eq!(bad_trace.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_they_should_be() {
    let host = Host::start().await;
    let send = |body: &'static str| {
        host.ask(Method::POST, SHOUT).header(header::CONTENT_TYPE, "application/json").body(body).send()
    };
    problem(send("{\"text\": ").await.unwrap(), 400, "invalid_json").await;
    problem(send("").await.unwrap(), 400, "invalid_json").await;
    problem(send("\u{feff}{}").await.unwrap(), 400, "invalid_json").await;
    let wrong = problem(send("{\"text\": 5, \"more\": 1}").await.unwrap(), 422, "invalid_input").await;
    let violations = wrong["violations"].as_array().unwrap();
    assert_eq!(violations.len(), 2, "{wrong}");
    assert!(violations.iter().any(|violation| violation["path"] == "/text"), "{wrong}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = host.ask(Method::POST, SHOUT).header(header::CONTENT_TYPE, "application/json").body(deep).send().await;
    problem(deep.unwrap(), 400, "invalid_json").await;
    neighbour(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_plain_json_is_read() {
    let host = Host::start().await;
    let plain = || host.ask(Method::POST, SHOUT).body("{\"text\":\"x\"}");
    problem(plain().send().await.unwrap(), 415, "unsupported_media_type").await;
    let form = plain().header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    problem(form.send().await.unwrap(), 415, "unsupported_media_type").await;
    let packed = plain().header(header::CONTENT_TYPE, "application/json").header(header::CONTENT_ENCODING, "gzip");
    problem(packed.send().await.unwrap(), 415, "unsupported_media_type").await;
    neighbour(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mebibytes_are_too_much() {
    let host = Host::start().await;
    let big = json!({ "text": "x".repeat(2 << 20) });
    let (refused, ()) = tokio::join!(host.post(SHOUT, &big).send(), neighbour(&host));
    problem(refused.unwrap(), 413, "body_too_large").await;
    // Without a length told beforehand.
    let chunks = (0..32).map(|_| Ok::<_, std::io::Error>("x".repeat(64 << 10)));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let chunked = host.ask(Method::POST, SHOUT).header(header::CONTENT_TYPE, "application/json").body(body);
    problem(chunked.send().await.unwrap(), 413, "body_too_large").await;
    neighbour(&host).await;
    let most = json!({ "text": "x".repeat((1 << 20) - 100) });
    problem(host.post(SHOUT, &most).send().await.unwrap(), 422, "invalid_input").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_come_with_the_nearest() {
    let host = Host::start().await;
    let unknown = host.post("/v1/apps/echo-dsk/operations/shout", &json!({})).send().await.unwrap();
    assert!(problem(unknown, 404, "unknown_app").await["hint"].as_str().unwrap().contains("`echo-desk`"));
    let unknown = host.post("/v1/apps/echo-desk/operations/shuot", &json!({})).send().await.unwrap();
    assert!(problem(unknown, 404, "unknown_operation").await["hint"].as_str().unwrap().contains("`shout`"));
    let absurd = host.post("/v1/apps/%FF%00/operations/%2e%2e", &json!({})).send().await.unwrap();
    problem(absurd, 404, "unknown_route").await;
    let long = host.post(&format!("/v1/apps/{}/operations/x", "a".repeat(5_000)), &json!({})).send().await.unwrap();
    problem(long, 404, "unknown_app").await;
    problem(host.get("/v1/apps/nobody").send().await.unwrap(), 404, "unknown_app").await;
    problem(host.get("/v2").send().await.unwrap(), 404, "unknown_route").await;
    let wrong = host.get(SHOUT).send().await.unwrap();
    assert_eq!(wrong.headers()["allow"], "POST");
    problem(wrong, 405, "method_not_allowed").await;
    neighbour(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_and_a_wrong_key_are_told_the_same() {
    let host = Host::start().await;
    let url = format!("{}{SHOUT}", host.url());
    let call = || host.client.post(&url).json(&json!({ "text": "x" }));
    let mut answers = Vec::new();
    let (most, last) = host.admin.split_at(host.admin.len() - 1);
    let wrong = format!("{most}{}", if last == "0" { "1" } else { "0" });
    for request in [
        call(),
        call().bearer_auth(&wrong),
        call().bearer_auth("nonsense"),
        call().basic_auth("admin", Some(&host.admin)),
        call().header(header::AUTHORIZATION, "Bearer \u{fffd}"),
    ] {
        let response = request.send().await.unwrap();
        assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        answers.push(problem(response, 401, "unauthorized").await);
    }
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert_eq!(host.endpoint.asked(), 0);
    neighbour(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_model_is_a_problem_with_an_execution() {
    let host = Host::start().await;
    let failed = host.shout("please fail").send().await.unwrap();
    let id = failed.headers()["x-nexus-execution"].to_str().unwrap().to_owned();
    let failed = problem(failed, 502, "provider_failed").await;
    assert_eq!(failed["instance"], format!("/v1/executions/{id}"));
    assert!(failed["hint"].is_string());
    let execution = host.json(&format!("/v1/executions/{id}")).await;
    assert_eq!(execution["error"], "provider_failed");
    neighbour(&host).await;
}
