//! Servers over HTTP that mean no good.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use futures::stream;
use nexus_egress::Resolver;
use nexus_mcp::hub::{Connect, Fault, HttpAuth, HubCall, HubConfig, ServerSpec};
use nexus_model::SilentCaller;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::support::{World, config, spec, text};

const SECRET: &str = "the-secret-of-this-server";

/// A server without sessions, and all that it was sent.
#[derive(Clone, Default)]
struct Web {
    heads: Arc<Mutex<Vec<String>>>,
    /// Where it sends everybody.
    elsewhere: Option<Url>,
}

impl Web {
    async fn start(&self, world: &World) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap()).parse().unwrap();
        let app = Router::new().fallback(answer).with_state(self.clone());
        let serving = axum::serve(listener, app).with_graceful_shutdown(world.cancel.clone().cancelled_owned());
        world.tasks.spawn(async move { serving.await.unwrap() });
        url
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn answer(State(web): State<Web>, request: Request) -> Response {
    web.heads.lock().unwrap().push(format!("{:?} {:?}", request.uri(), request.headers()));
    if let Some(elsewhere) = &web.elsewhere {
        return Redirect::temporary(elsewhere.as_str()).into_response();
    }
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    };
    let tool = json!({"name": "echo", "inputSchema": {"type": "object"}});
    let tools = ["echo", "huge", "huge-events", "elsewhere"].map(|name| {
        let mut tool = tool.clone();
        tool["name"] = json!(name);
        tool
    });
    let complete = |mut result: Value| {
        result["resultType"] = json!("complete");
        Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
    };
    match (message["method"].as_str(), message["params"]["name"].as_str()) {
        (Some("server/discover"), _) => complete(json!({
            "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private",
            "serverInfo": {"name": "web", "version": "1"},
        })),
        (Some("tools/list"), _) => complete(json!({"tools": tools, "ttlMs": 0, "cacheScope": "private"})),
        (Some("tools/call"), Some("huge")) => huge("application/json", &message["id"]),
        (Some("tools/call"), Some("huge-events")) => huge("text/event-stream", &message["id"]),
        (Some("tools/call"), Some(name)) => complete(json!({"content": [{"type": "text", "text": name}]})),
        _ => StatusCode::ACCEPTED.into_response(),
    }
}

/// A hundred megabytes, one after the other.
fn huge(media_type: &str, id: &Value) -> Response {
    let begin = if media_type == "application/json" { String::new() } else { "data: ".to_owned() };
    let begin = format!(r#"{begin}{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#);
    let middle = std::iter::repeat_n(Bytes::from(vec![b'x'; 1 << 16]), 1600);
    let parts = std::iter::once(Bytes::from(begin)).chain(middle).map(Ok::<_, io::Error>);
    ([(header::CONTENT_TYPE, media_type.to_owned())], Body::from_stream(stream::iter(parts))).into_response()
}

fn http(url: &Url, auth: HttpAuth) -> Connect {
    Connect::Http { url: url.clone(), auth }
}

fn bearer() -> HttpAuth {
    HttpAuth::Bearer(Arc::new(SecretString::from(SECRET)))
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (world, thief) = (World::new(), Web::default());
    let elsewhere = thief.start(&world).await;
    let server = Web { elsewhere: Some(elsewhere), ..Web::default() };
    world.hub.serve(spec("s", http(&server.start(&world).await, bearer())));
    let error = world.hub.offered("s").await.unwrap_err();
    assert!(error.to_string().contains("307"), "{error}");
    assert!(!server.heads().is_empty() && thief.heads().is_empty(), "{:?}", thief.heads());
    world.end().await;
}

#[tokio::test]
async fn a_server_gets_its_own_secret_and_no_other() {
    let (world, server, other) = (World::new(), Web::default(), Web::default());
    world.trust(spec("s", http(&server.start(&world).await, bearer()))).await;
    world.trust(spec("other", http(&other.start(&world).await, HttpAuth::None))).await;
    // What came in with a call is not passed on, unless somebody does so; what is the protocol's is not.
    let meta =
        json!({"traceparent": "00-1", "progressToken": "x", "io.modelcontextprotocol/clientInfo": {"name": "me"}});
    let Value::Object(meta) = meta else { unreachable!() };
    for key in ["s", "other"] {
        let caller = Arc::new(SilentCaller);
        let call = HubCall { tool: "echo".to_owned(), arguments: Map::new(), meta: meta.clone(), caller };
        assert_eq!(text(&world.hub.call(key, call).await.unwrap()), "echo");
    }
    assert!(server.heads().iter().all(|head| head.contains(&format!("Bearer {SECRET}")) || head.contains("Sensitive")));
    assert!(other.heads().iter().all(|head| !head.contains("authorization")));
    world.end().await;
}

#[tokio::test]
async fn a_result_that_is_too_large_is_cut_off() {
    let (world, server) = (World::new(), Web::default());
    world.trust(spec("s", http(&server.start(&world).await, HttpAuth::None))).await;
    let error = world.call("s", "huge", json!({})).await.unwrap_err();
    assert_eq!(error.fault, Fault::TooLarge(1 << 20));
    let error = world.call("s", "huge-events", json!({})).await.unwrap_err();
    assert!(matches!(&error.fault, Fault::Ended(why) if why.contains("1048576 bytes")), "{error}");
    world.call("s", "echo", json!({})).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn addresses_that_are_closed_are_not_asked() {
    let (open, server) = (World::new(), Web::default());
    let url = server.start(&open).await;
    // Nothing is open by itself.
    let world = World::with(HubConfig::default());
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "169.254.169.254", "[::1]"] {
        let mut url = url.clone();
        url.set_host(Some(host)).unwrap();
        world.hub.serve(ServerSpec { ..spec(host, http(&url, bearer())) });
        assert_eq!(world.hub.offered(host).await.unwrap_err().code(), "mcp.address", "{host}");
    }
    assert!(server.heads().is_empty());
    world.end().await;
    open.end().await;
}

/// A name that leads here first, and to a cloud's metadata from then on.
#[derive(Debug, Default)]
struct Flipping(AtomicUsize);

#[async_trait]
impl Resolver for Flipping {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.0.fetch_add(1, Ordering::SeqCst);
        Ok(vec![if asked == 0 { [127, 0, 0, 1].into() } else { [169, 254, 169, 254].into() }])
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_later_is_not_followed() {
    let names = Arc::new(Flipping::default());
    let mut config = config();
    config.resolver = Arc::clone(&names) as _;
    let (world, server) = (World::with(config), Web::default());
    let mut url = server.start(&world).await;
    url.set_host(Some("rebound.example")).unwrap();
    world.hub.serve(spec("s", http(&url, bearer())));
    world.hub.offered("s").await.unwrap();
    // A new connection asks again.
    world.hub.serve(spec("s", http(&url, bearer())));
    let error = world.hub.offered("s").await.unwrap_err();
    assert_eq!(error.code(), "mcp.address", "{error}");
    assert!(error.to_string().contains("metadata"), "{error}");
    assert!(names.0.load(Ordering::SeqCst) >= 2);
    world.end().await;
}
