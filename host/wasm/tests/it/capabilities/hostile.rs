//! Plugins that try to take more than they may have of what they were granted.

use std::{sync::Arc, time::Duration};

use nexus_egress::{Egress, EgressConfig};
use nexus_model::{ComponentFault, Grants, HttpGrant, LinkedPlugin, PluginHost as _, ToolFault};
use serde_json::{Value, json};

use super::{
    Desk, call, fault, host, linked,
    site::{Flips, Site},
};
use crate::memory::resident;

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
    let plugin = host(|_| {}).link(&wat::parse_str(ALIASES).unwrap(), &grants("http://h")).await.unwrap();
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
    let before = resident();
    assert_eq!(call(&visitor, &desk, "requests.long-requests", long(3 << 20)).await, Ok(json!(0)));
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 10, "{grown} KiB more for 500 requests");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resident_memory_stays_flat() {
    let visitor = visitor("http://h", |_| {}).await;
    let storm = |rounds: usize| {
        let visitor = visitor.clone();
        async move {
            for _ in 0..rounds {
                let desk = || Arc::new(Desk::default());
                let (nothing, chunk) = (json!({}), json!({ "bytes": 60_000 }));
                let short = Duration::from_millis(20);
                drop(tokio::join!(
                    visitor.call("requests.hoard", &nothing, desk(), short),
                    visitor.call("requests.add-fields", &nothing, desk(), short),
                    visitor.call("requests.write-body", &chunk, desk(), short),
                ));
            }
        }
    };
    storm(30).await;
    let before = resident();
    storm(200).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more after 600 calls");
}

/// Hands the host a list of 10,000 fields whose values are one and the same MiB.
const ALIASES: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (type $why (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $error (eq $why)))
    (export "[static]fields.from-list"
      (func (param "entries" (list (tuple string (list u8)))) (result (result (own $fields) (error $error)))))))
  (core module $memory
    (memory (export "memory") 32)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $from-list (canon lower (func $http "[static]fields.from-list") (memory $mem) (realloc $realloc)))
  (core module $code
    (import "memory" "memory" (memory 32))
    (import "http" "from-list" (func $from-list (param i32 i32 i32)))
    (func (export "go")
      (local $at i32)
      (i32.store8 (i32.const 0) (i32.const 120))
      (memory.fill (i32.const 1048576) (i32.const 121) (i32.const 1048576))
      (local.set $at (i32.const 1024))
      (loop $l
        (i32.store (local.get $at) (i32.const 0))
        (i32.store (i32.add (local.get $at) (i32.const 4)) (i32.const 1))
        (i32.store (i32.add (local.get $at) (i32.const 8)) (i32.const 1048576))
        (i32.store (i32.add (local.get $at) (i32.const 12)) (i32.const 1048576))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if $l (i32.lt_u (local.get $at) (i32.const 161024))))
      (call $from-list (i32.const 1024) (i32.const 10000) (i32.const 16))))
  (core instance $http (export "from-list" (func $from-list)))
  (core instance $code (instantiate $code (with "memory" (instance $memory)) (with "http" (instance $http))))
  (func (export "go") (canon lift (core func $code "go"))))"#;
