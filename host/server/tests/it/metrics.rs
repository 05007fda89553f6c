//! Metrics of the last day, by query.

use serde_json::{Value, json};

use crate::support::{Host, problem};

fn values<'a>(list: &'a Value, metric: &str) -> Vec<&'a Value> {
    list["series"].as_array().unwrap().iter().filter(|series| series["metric"] == metric).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_for_whoever_may_read_them() {
    let host = Host::start().await;
    for text in ["a", "b", "fail"] {
        host.shout(text).send().await.unwrap();
    }
    let list = host.json("/v1/metrics/query?app=echo-desk&operation=shout&step=all").await;
    let [calls] = values(&list, "calls")[..] else { panic!("{list}") };
    assert_eq!((&calls["path"], &calls["points"][0]["value"]), (&json!("model"), &json!(3)));
    let [errors] = values(&list, "errors")[..] else { panic!("{list}") };
    assert_eq!((&errors["reason"], &errors["points"][0]["value"]), (&json!("provider_failed"), &json!(1)));
    let [tokens] = values(&list, "input_tokens")[..] else { panic!("{list}") };
    assert_eq!(tokens["points"][0]["value"], 20);
    assert!(values(&list, "latency_p99_us")[0]["points"][0]["value"].as_u64() > Some(0));
    assert_eq!(list["step"].as_u64().unwrap(), list["to"].as_u64().unwrap() - list["from"].as_u64().unwrap());

    let one = host.json("/v1/metrics/query?metric=calls,errors&step=1m").await;
    let metrics: Vec<_> = one["series"].as_array().unwrap().iter().map(|series| &series["metric"]).collect();
    assert_eq!(metrics, ["calls", "errors"]);

    let key = host.key(&["apps:other:read"]).await;
    let asked = |path: &str| host.client.get(format!("{}{path}", host.url())).bearer_auth(&key).send();
    problem(asked("/v1/metrics/query").await.unwrap(), 403, "forbidden").await;
    problem(asked("/v1/metrics/query?app=echo-desk").await.unwrap(), 403, "forbidden").await;
    for wrong in ["metric=noise", "step=90s", "step=0m", "from=yesterday", "from=2999-01-01T00:00:00Z", "colour=red"] {
        let answer = host.get(&format!("/v1/metrics/query?{wrong}")).send().await.unwrap();
        problem(answer, 400, "invalid_parameter").await;
    }
}
