//! What happened can be read.

use serde_json::Value;

use crate::support::{Host, problem};

#[tokio::test(flavor = "multi_thread")]
async fn executions_are_listed_newest_first_page_by_page() {
    let host = Host::start().await;
    for n in 0..5 {
        assert_eq!(host.shout(&format!("n {n}")).send().await.unwrap().status(), 200);
    }
    let first = host.json("/v1/executions?limit=3&app=echo-desk&operation=shout&path=model").await;
    let texts = |page: &Value| -> Vec<String> {
        page["executions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["input"]["text"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(texts(&first), ["n 4", "n 3", "n 2"]);
    let second = host.json(&format!("/v1/executions?limit=3&before={}", first["next"].as_str().unwrap())).await;
    assert_eq!(texts(&second), ["n 1", "n 0"]);
    assert!(second.get("next").is_none());
    assert!(texts(&host.json("/v1/executions?path=component").await).is_empty());
    let one = &first["executions"][0];
    assert_eq!(one["usage"]["input_tokens"], 10);
    assert_eq!(&host.json(&format!("/v1/executions/{}", one["id"].as_str().unwrap())).await, one);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused() {
    let host = Host::start().await;
    for query in ["limit=0", "limit=201", "limit=x", "path=both", "before=x", "app=UP", "colour=red"] {
        let refused = host.get(&format!("/v1/executions?{query}")).send().await.unwrap();
        problem(refused, 400, "invalid_parameter").await;
    }
    for id in ["x", "0197a1b2-0000-7000-8000-000000000000"] {
        problem(host.get(&format!("/v1/executions/{id}")).send().await.unwrap(), 404, "unknown_execution").await;
    }
}
