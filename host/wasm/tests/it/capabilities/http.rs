//! Requests: where they go, and what they carry.

use std::sync::{Arc, atomic::Ordering};

use nexus_egress::Egress;
use nexus_model::{Credential, Grants, HttpGrant, LinkedPlugin};
use serde_json::{Value, json};

use super::{
    Desk, call, host, linked,
    site::{Flips, OK, Site, egress},
};

/// All of this machine's own addresses that begin so are opened, as an operator opens a network of his own.
const HERE: &[&str] = &["127.0.0.0/8"];

fn grant(origin: &str) -> HttpGrant {
    HttpGrant { origin: origin.to_owned(), credential: None }
}

fn with_secret(origin: &str, header: &str, prefix: Option<&str>) -> HttpGrant {
    let (header, prefix) = (header.to_owned(), prefix.map(ToOwned::to_owned));
    HttpGrant { credential: Some(Credential { header, prefix, secret: "token".parse().unwrap() }), ..grant(origin) }
}

async fn visitor(egress: Egress, http: Vec<HttpGrant>) -> (Arc<dyn LinkedPlugin>, Arc<Desk>) {
    let grants = Grants { http, ..Grants::default() };
    let plugin = linked(&host(|config| config.egress = egress), "http.wasm", &grants).await;
    (plugin, Arc::new(Desk { secrets: [("token", "s3cret")].into(), ..Desk::default() }))
}

fn request(authority: &str) -> Value {
    json!({ "method": "GET", "scheme": "http", "authority": authority, "path": "/p?q", "fields": [], "body": "" })
}

fn with_fields(authority: &str, fields: &[(&str, &str)]) -> Value {
    let mut request = request(authority);
    request["fields"] = fields.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    request
}

async fn send(plugin: &(Arc<dyn LinkedPlugin>, Arc<Desk>), request: Value) -> Result<Value, String> {
    let sent = call(&plugin.0, &plugin.1, "requests.send", json!({ "request": request })).await;
    sent.map_err(|error| error.as_str().unwrap().to_owned())
}

fn names() -> Arc<Flips> {
    Flips::new(&["127.0.0.1"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_origin_answers() {
    let site = Site::open("127.0.0.1", 0, "HTTP/1.1 418 Teapot\r\nx-y: z\r\ncontent-length: 2\r\n\r\nok").await;
    let authority = format!("api.example.com:{}", site.port);
    let visitor = visitor(egress(HERE, &names()), vec![grant(&format!("http://{authority}"))]).await;
    let mut post = with_fields(&authority, &[("x-a", "b")]);
    (post["method"], post["body"]) = (json!("POST"), json!("x".repeat(10_000)));
    let answer = send(&visitor, post).await.unwrap();
    assert_eq!((&answer["status"], &answer["body"]), (&json!(418), &json!("ok")));
    assert!(answer["fields"].as_array().unwrap().contains(&json!({ "name": "x-y", "value": "z" })), "{answer}");
    let request = site.request();
    assert!(request.starts_with("POST /p?q HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {authority}\r\n")) && request.contains("x-a: b\r\n"), "{request}");
    assert!(request.matches('x').count() >= 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_is_denied_and_told_of() {
    let site = Site::open("127.0.0.1", 0, OK).await;
    let (here, port) = (format!("127.0.0.1:{}", site.port), site.port);
    let visitor = visitor(egress(HERE, &names()), vec![grant(&format!("http://{here}"))]).await;
    let mut secure = request(&here);
    secure["scheme"] = json!("https");
    for denied in [request(&format!("localhost:{port}")), request("127.0.0.1"), request("127.0.0.2"), secure] {
        let error = send(&visitor, denied).await.unwrap_err();
        assert!(error.contains("HttpRequestDenied"), "{error}");
    }
    for authority in [format!("user@{here}"), format!("{here}@evil.example"), "evil.example#".to_owned()] {
        let error = send(&visitor, request(&authority)).await.unwrap_err();
        assert!(error.contains("Denied") || error.contains("UriInvalid") || error.contains("refused"), "{error}");
    }
    assert_eq!(site.connections(), 0);
    assert!(visitor.1.lines().contains(&format!("denied: http://localhost:{port} is not among the grants")));
    // It is the address that counts, not how it is written.
    assert!(send(&visitor, request(&format!("0x7f.1:{port}"))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_opens_no_closed_address() {
    let site = Site::open("0.0.0.0", 0, OK).await;
    let port = site.port;
    let hosts = [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::]",
        "127.0.0.1",
        "2130706433",
        "017700000001",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "0",
        "name.example",
    ];
    let authorities = hosts.map(|host| format!("{host}:{port}"));
    let grants = authorities.iter().map(|authority| grant(&format!("http://{authority}"))).collect();
    let visitor = visitor(egress(&[], &Flips::new(&["127.0.0.1"])), grants).await;
    for authority in &authorities {
        let error = send(&visitor, request(authority)).await.unwrap_err();
        assert!(error.contains("DestinationIpProhibited"), "{authority}: {error}");
    }
    assert_eq!(site.connections(), 0);
    let lines = visitor.1.lines();
    assert_eq!(lines.len(), authorities.len(), "one for each call: {lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("denied: ")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirection_is_looked_at_again() {
    let inside = Site::open("127.0.0.1", 0, OK).await;
    let target = format!("http://127.0.0.1:{}", inside.port);
    let moved = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {target}/\r\ncontent-length: 0\r\n\r\n");
    let outside = Site::open("127.0.0.2", 0, moved).await;
    let origin = format!("127.0.0.2:{}", outside.port);
    for (granted, refusal) in [(vec![], "HttpRequestDenied"), (vec![grant(&target)], "DestinationIpProhibited")] {
        let grants = [granted, vec![grant(&format!("http://{origin}"))]].concat();
        let visitor = visitor(egress(&["127.0.0.2/32"], &names()), grants).await;
        let answer = send(&visitor, request(&origin)).await.unwrap();
        assert_eq!(answer["status"], 307);
        let location = answer["fields"].as_array().unwrap().iter().find(|field| field["name"] == "location").unwrap();
        let authority = location["value"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/');
        let error = send(&visitor, request(authority)).await.unwrap_err();
        assert!(error.contains(refusal), "{error}");
    }
    assert_eq!((outside.connections(), inside.connections()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_flips_gains_nothing() {
    let inside = Site::open("127.0.0.1", 0, OK).await;
    let outside = Site::open("127.0.0.2", inside.port, OK).await;
    let (authority, flips) = (format!("flips.example:{}", inside.port), Flips::new(&["127.0.0.2", "127.0.0.1"]));
    let visitor = visitor(egress(&["127.0.0.2/32"], &flips), vec![grant(&format!("http://{authority}"))]).await;
    assert_eq!(send(&visitor, request(&authority)).await.unwrap()["body"], "ok");
    assert_eq!(flips.asked.load(Ordering::SeqCst), 1);
    let error = send(&visitor, request(&authority)).await.unwrap_err();
    assert!(error.contains("DestinationIpProhibited"), "{error}");
    assert_eq!((outside.connections(), inside.connections()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_adds_the_credential_and_the_component_never_sees_it() {
    let site = Site::open("127.0.0.1", 0, OK).await;
    let here = format!("127.0.0.1:{}", site.port);
    for (header, prefix, sent) in [
        ("authorization", None, "authorization: Bearer s3cret\r\n"),
        ("Authorization", Some("Basic "), "authorization: Basic s3cret\r\n"),
        ("x-api-key", None, "x-api-key: s3cret\r\n"),
    ] {
        let grants = vec![with_secret(&format!("http://{here}"), header, prefix)];
        let visitor = visitor(egress(HERE, &names()), grants).await;
        let mine = with_fields(&here, &[(header, "mine"), (header, "mine too"), ("x-other", "mine")]);
        let answer = send(&visitor, mine).await.unwrap();
        let request = site.request();
        assert_eq!(request.matches(sent).count(), 1, "{request}");
        assert_eq!(request.matches("mine").count(), 1, "{request}");
        assert!(!answer.to_string().contains("s3cret") && visitor.1.lines().is_empty(), "{answer}");
    }
    // Another origin gets what the component sends, and nothing of the host's.
    let grants = vec![with_secret("http://10.0.0.1", "authorization", None), grant(&format!("http://{here}"))];
    let visitor = visitor(egress(HERE, &names()), grants).await;
    send(&visitor, with_fields(&here, &[("authorization", "mine")])).await.unwrap();
    assert!(site.request().contains("authorization: mine\r\n"), "{}", site.request());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_credential_a_request_is_not_sent() {
    let site = Site::open("127.0.0.1", 0, OK).await;
    let here = format!("127.0.0.1:{}", site.port);
    let grants = vec![with_secret(&format!("http://{here}"), "authorization", None)];
    let (plugin, _) = visitor(egress(HERE, &names()), grants).await;
    for secret in [None, Some("two\r\nlines")] {
        let secrets = secret.map(|secret| ("token", secret)).into_iter().collect();
        let visitor = (plugin.clone(), Arc::new(Desk { secrets, ..Desk::default() }));
        let error = send(&visitor, request(&here)).await.unwrap_err();
        assert!(error.contains("ConfigurationError"), "{error}");
        assert_eq!(visitor.1.lines().len(), 1);
        assert!(!visitor.1.lines()[0].contains("two"));
    }
    assert_eq!(site.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_the_connection_are_the_hosts() {
    let site = Site::open("127.0.0.1", 0, OK).await;
    let here = format!("127.0.0.1:{}", site.port);
    let visitor = visitor(egress(HERE, &names()), vec![grant(&format!("http://{here}"))]).await;
    for name in ["Host", "connection", "transfer-encoding", "upgrade", "proxy-authorization"] {
        let error = send(&visitor, with_fields(&here, &[(name, "x")])).await.unwrap_err();
        assert!(error.contains("forbidden") || error.contains("Forbidden"), "{name}: {error}");
    }
    for method in ["CONNECT", "TRACE"] {
        let mut request = request(&here);
        request["method"] = json!(method);
        let error = send(&visitor, request).await.unwrap_err();
        assert!(error.contains("MethodInvalid"), "{method}: {error}");
    }
    assert_eq!(site.connections(), 0);
}
