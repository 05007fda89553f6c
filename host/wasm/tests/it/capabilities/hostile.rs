//! Plugins that try to take more than they may have of what they were granted.

use std::{sync::Arc, time::Duration};

use nexus_egress::{Egress, EgressConfig};
use nexus_model::{ComponentFault, Grants, HttpGrant, LinkedPlugin, PluginHost as _, ToolFault};
use serde_json::{Value, json};

use super::{
    call, fault, host, linked,
    site::{Flips, Site},
};
use crate::guests;

fn grants(origin: &str) -> Grants {
    Grants { http: vec![HttpGrant { origin: origin.to_owned(), credential: None }], ..Grants::default() }
}

async fn visitor(origin: &str, change: impl FnOnce(&mut EgressConfig)) -> Arc<dyn LinkedPlugin> {
    let mut config = EgressConfig { private_networks: vec!["127.0.0.0/8".parse().unwrap()], ..EgressConfig::default() };
    change(&mut config);
    let egress = Egress::new(config, Flips::new(&["127.0.0.1"]));
    linked(&host(|config| config.egress = egress), "http.wasm", &grants(origin)).await
}

fn is_limit(fault: &ToolFault) -> bool {
    matches!(fault, ToolFault::Component(ComponentFault::Limit(_)))
}

fn is_deadline(fault: &ToolFault) -> bool {
    matches!(fault, ToolFault::Component(ComponentFault::Deadline(_)))
}

fn request(port: u16, body: &str) -> Value {
    let authority = format!("127.0.0.1:{port}");
    json!({ "request": {
        "method": "POST", "scheme": "http", "authority": authority, "path": "/", "fields": [], "body": body,
    }})
}

#[tokio::test(flavor = "multi_thread")]
async fn too_long_a_text_for_the_host_is_a_limit() {
    let visitor = visitor("http://h", |_| {}).await;
    let fault = fault(&visitor, "requests.long-field", json!({ "bytes": 32 << 20 }), 60_000).await;
    assert!(is_limit(&fault), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_texts_of_one_region_are_a_limit() {
    let plugin = host(|_| {}).link(&guests::aliases(), &grants("http://h")).await.unwrap();
    let fault = fault(&plugin, "go", json!({}), 60_000).await;
    assert!(is_limit(&fault), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_fields_are_a_limit() {
    let visitor = visitor("http://h", |_| {}).await;
    for tool in ["requests.hoard", "requests.add-fields"] {
        let fault = fault(&visitor, tool, json!({}), 60_000).await;
        assert!(is_limit(&fault), "{tool}: {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_is_not_kept() {
    let visitor = visitor("http://h", |_| {}).await;
    for bytes in [0, 60_000] {
        let fault = fault(&visitor, "requests.write-body", json!({ "bytes": bytes }), 200).await;
        assert!(is_deadline(&fault), "{bytes}: {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_put_together_hold_little() {
    let (visitor, desk) = (visitor("http://h", |_| {}).await, Arc::default());
    let long = |bytes: u32| json!({ "requests": 500, "bytes": bytes });
    assert_eq!(call(&visitor, &desk, "requests.long-requests", long(60)).await, Ok(json!(500 * 3 * 60)));
    assert_eq!(call(&visitor, &desk, "requests.long-requests", long(100_000)).await, Ok(json!(0)));
    assert_eq!(call(&visitor, &desk, "requests.long-requests", long(3 << 20)).await, Ok(json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_requests_have_a_bound() {
    let site = Site::open("127.0.0.1", 0, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!").await;
    let visitor = visitor(&format!("http://127.0.0.1:{}", site.port), |_| {}).await;
    let many = |times: u32| {
        let mut arguments = request(site.port, "");
        arguments["times"] = json!(times);
        arguments
    };
    let desk = Arc::default();
    assert_eq!(call(&visitor, &desk, "requests.send-many", many(16)).await, Ok(json!(null)));
    let error = call(&visitor, &desk, "requests.send-many", many(17)).await.unwrap_err();
    assert!(error.as_str().unwrap().contains("ConnectionLimitReached"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_bounds() {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}");
    let field = format!("x: {}\r\n", "y".repeat(1_000));
    let large = format!("content-length: 100000\r\n\r\n{}", "x".repeat(100_000));
    for (answer, said) in [
        (head(&format!("{}\r\n", field.repeat(33))), "HttpResponseHeaderSectionSize"),
        (head(&large), "body size exceeds limit"),
        (head("content-length: 10\r\n\r\nfive!"), "response timeout"),
        (String::new(), "HttpResponseTimeout"),
        ("nonsense\r\n\r\n".to_owned(), "HttpProtocolError"),
    ] {
        let site = Site::open("127.0.0.1", 0, answer).await;
        let visitor = visitor(&format!("http://127.0.0.1:{}", site.port), |config| {
            config.body_bytes = 50_000;
            config.patience.head = Duration::from_millis(500);
            config.patience.between = Duration::from_millis(500);
        })
        .await;
        let error = call(&visitor, &Arc::default(), "requests.send", request(site.port, "")).await.unwrap_err();
        assert!(error.as_str().unwrap().contains(said), "{said}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_ends_with_the_call() {
    let site = Site::open("127.0.0.1", 0, "").await;
    let visitor = visitor(&format!("http://127.0.0.1:{}", site.port), |_| {}).await;
    let fault = fault(&visitor, "requests.send", request(site.port, ""), 300).await;
    assert!(is_deadline(&fault), "{fault:?}");
}
