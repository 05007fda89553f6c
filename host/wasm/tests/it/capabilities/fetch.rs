//! The plugin `fetch`, on a real server.

use std::sync::Arc;

use nexus_model::{Grants, HttpGrant, LinkedPlugin, PluginHost};
use serde_json::{Value, json};

use super::{
    Desk, call, host,
    site::{Flips, Site, egress},
};
use crate::support::built;

/// The plugin, granted one origin.
async fn plugin(origin: &str) -> Arc<dyn LinkedPlugin> {
    let egress = egress(&["127.0.0.0/8"], &Flips::new(&["127.0.0.1"]));
    let http = vec![HttpGrant { origin: origin.to_owned(), credential: None }];
    let host = host(|config| config.egress = egress);
    host.link(&built("fetch.wasm"), &Grants { http, ..Grants::default() }).await.unwrap()
}

/// A server that always answers with this, and its origin.
async fn site(head: &str, body: &str) -> (Site, String) {
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let site = Site::open("127.0.0.1", 0, answer).await;
    let origin = format!("http://127.0.0.1:{}", site.port);
    (site, origin)
}

async fn ask(plugin: &Arc<dyn LinkedPlugin>, tool: &str, arguments: Value) -> Result<Value, Value> {
    call(plugin, &Arc::new(Desk::default()), tool, arguments).await
}

fn request(url: &str) -> Value {
    json!({ "request": { "method": "get", "url": url, "headers": [] } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_brings_its_response() {
    let (site, origin) = site("404 Not Found\r\nx-y: z", "süß").await;
    let plugin = plugin(&origin).await;
    let mut post = request(&format!("{origin}/a b?c=d#e"));
    post["request"]["method"] = json!("post");
    post["request"]["headers"] = json!([{ "name": "content-type", "value": "text/x" }]);
    post["request"]["body"] = json!("x".repeat(100_000));
    let response = ask(&plugin, "fetch", post).await.unwrap();
    assert_eq!((&response["status"], &response["body"]), (&json!(404), &json!("süß")));
    assert!(response["headers"].as_array().unwrap().contains(&json!({ "name": "x-y", "value": "z" })), "{response}");
    let sent = site.request();
    assert!(sent.starts_with("POST /a%20b?c=d HTTP/1.1\r\n") && sent.contains("content-type: text/x\r\n"), "{sent}");
    assert!(sent.matches('x').count() >= 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_text() {
    let (_site, origin) = site("200 OK\r\ncontent-type: text/html", "<p>Oak &amp; <b>pine</b><script>x</script>").await;
    let page = ask(&plugin(&origin).await, "text", json!({ "url": origin })).await.unwrap();
    assert_eq!(page, json!({ "url": origin, "text": "Oak & **pine**\n" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_asked_of_the_grants_again() {
    let (elsewhere, other) = site("200 OK", "never").await;
    let (_site, origin) = site(&format!("302 Found\r\nlocation: {other}/"), "").await;
    let plugin = plugin(&origin).await;
    let denied = ask(&plugin, "text", json!({ "url": origin })).await.unwrap_err();
    assert!(denied["denied"].is_string(), "{denied}");
    assert_eq!(elsewhere.connections(), 0);
    let response = ask(&plugin, "fetch", request(&origin)).await.unwrap();
    assert_eq!(response["status"], 302, "it follows none by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_told() {
    let (_site, origin) = site("200 OK\r\ncontent-type: image/png", &"x".repeat(1000)).await;
    let plugin = plugin(&origin).await;
    let mut small = request(&origin);
    small["request"]["limit"] = json!(999);
    assert_eq!(ask(&plugin, "fetch", small).await, Err(json!({ "too-large": 999 })));
    assert_eq!(ask(&plugin, "text", json!({ "url": origin })).await, Err(json!({ "not-text": "image/png" })));
    let mut host = request(&origin);
    host["request"]["headers"] = json!([{ "name": "host", "value": "elsewhere" }]);
    let error = ask(&plugin, "fetch", host).await.unwrap_err();
    assert!(error["header"].as_str().unwrap().starts_with("host: "), "{error}");
    for url in ["no url", "ftp://127.0.0.1/", "file:///etc/passwd"] {
        let error = ask(&plugin, "fetch", request(url)).await.unwrap_err();
        assert!(error["url"].is_string(), "{error}");
    }
    let error = ask(&plugin, "fetch", request("http://127.0.0.1:1/")).await.unwrap_err();
    assert!(error["denied"].is_string(), "{error}");
}
