//! The oracle, by hand.

use serde_json::json;

use crate::support::{Host, SHOUT, problem};

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_shows_how_far_code_has_come() {
    let host = Host::start().await;
    assert_eq!(host.shout("one").send().await.unwrap().status(), 200);
    let status = host.json(&format!("{SHOUT}/optimization")).await;
    assert_eq!((&status["app"], &status["operation"]), (&json!("echo-desk"), &json!("shout")));
    assert_eq!((&status["state"], &status["distinct_inputs"]), (&json!("profiling"), &json!(1)));
    assert_eq!(status["needed_inputs"], 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_now_is_a_conflict() {
    let host = Host::start().await;
    let post = |verb: &str| host.post(&format!("{SHOUT}/{verb}"), &json!(null)).send();
    problem(post("promote").await.unwrap(), 409, "nothing_to_promote").await;
    problem(post("demote").await.unwrap(), 409, "not_active").await;
    for verb in ["compile", "promote", "demote"] {
        let path = format!("/v1/apps/echo-desk/operations/nobody/{verb}");
        problem(host.post(&path, &json!(null)).send().await.unwrap(), 404, "unknown_operation").await;
        let path = format!("/v1/apps/nobody/operations/x/{verb}");
        problem(host.post(&path, &json!(null)).send().await.unwrap(), 404, "unknown_operation").await;
    }
    let path = "/v1/apps/nobody/operations/x/optimization";
    problem(host.get(path).send().await.unwrap(), 404, "unknown_app").await;
}
