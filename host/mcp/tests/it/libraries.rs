//! Servers made with the libraries that others make them with in Python.

use nexus_mcp::hub::Connect;
use nexus_model::ToolContent;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::{
    peers::{Serving, on_streams},
    support::{Caller, PATIENT, World, call, peers, spec, text},
};

/// The official library, the one before it, and `FastMCP`: by their names, and where they are.
const SDK: (&str, &str) = ("sdk", "venv");
const OLDER: (&str, &str) = ("older", "venv-older");
const FASTMCP: (&str, &str) = ("fastmcp", "venv-older");

#[tokio::test]
async fn the_official_library_over_streams() {
    over_streams(SDK).await;
}

#[tokio::test]
async fn the_official_library_over_http() {
    over_http(SDK).await;
}

#[tokio::test]
async fn the_official_library_of_before_over_streams() {
    over_streams(OLDER).await;
}

#[tokio::test]
async fn the_official_library_of_before_over_http() {
    over_http(OLDER).await;
}

#[tokio::test]
async fn fastmcp_over_streams() {
    over_streams(FASTMCP).await;
}

#[tokio::test]
async fn fastmcp_over_http() {
    over_http(FASTMCP).await;
}

async fn over_streams((library, venv): (&str, &str)) {
    let world = World::new();
    let python = peers().join(venv).join("bin/python");
    let connect = on_streams(python, &[script(), library, "stdio"], &[], &world);
    used(&world, connect).await;
    world.end().await;
}

async fn over_http((library, venv): (&str, &str)) {
    let world = World::new();
    let python = peers().join(venv).join("bin/python");
    let server = Serving::start(|port| (python, vec![script().to_owned(), library.to_owned(), port])).await;
    used(&world, server.connect()).await;
    world.end().await;
    server.end().await;
}

fn script() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python_server.py")
}

async fn used(world: &World, connect: Connect) {
    let key = "app/python";
    let tools = world.trust(spec(key, connect)).await;
    assert_eq!(tools, ["add", "fail", "greet", "grow", "work"]);
    let sum = world.call(key, "add", json!({"a": 2, "b": 40})).await.unwrap();
    assert_eq!((text(&sum).as_str(), &sum.structured), ("42", &Some(json!({"result": 42}))));
    let wrong = world.call(key, "add", json!({"a": "two", "b": 40})).await;
    assert!(wrong.as_ref().map_or_else(|error| error.code() == "mcp.refused", |content| content.failed), "{wrong:?}");
    let failed = world.call(key, "fail", json!({})).await.unwrap();
    assert!(failed.failed && text(&failed).contains("fail"), "{failed:?}");
    let caller = Caller::new(Ok(json!({"action": "accept", "content": {"name": "Ada"}})));
    let ask = async |tool: &str| -> ToolContent {
        world.hub.call(key, call(tool, json!({}), caller.clone() as _)).await.unwrap()
    };
    assert_eq!(text(&ask("work").await), "done");
    assert_eq!(*caller.progress.lock().unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(text(&ask("greet").await), "hello Ada");
    assert_eq!(caller.questions.lock().unwrap()[0].params["message"], "Who?");
    let topic = Map::from_iter([("topic".to_owned(), json!("a sack"))]);
    let prompt = world.hub.prompt(key, "ask", topic, Caller::accepting()).await.unwrap();
    assert_eq!(prompt["messages"][0]["content"]["text"], "What is a sack?");
    let read = async |uri| world.hub.read(key, uri, Caller::accepting()).await.unwrap();
    assert_eq!(names(&world.hub.resources(key).await.unwrap(), "uri"), ["notes://today"]);
    assert_eq!(read("notes://today").await["contents"][0]["text"], "a sack weighs 25 kg");
    assert_eq!(names(&world.hub.templates(key).await.unwrap(), "uriTemplate"), ["notes://{day}"]);
    assert_eq!(read("notes://monday").await["contents"][0]["text"], "nothing on monday");
    grows(world, key).await;
}

/// What it says about a tool that is new reaches whoever waits for changes.
async fn grows(world: &World, key: &str) {
    let mut changes = world.hub.changes();
    changes.mark_unchanged();
    assert_eq!(text(&world.call(key, "grow", json!({})).await.unwrap()), "grew");
    let is_known = || {
        let known = world.hub.tools_cached(key).unwrap();
        known.blocked.iter().any(|blocked| blocked.name == "grown")
    };
    let told = async {
        while !is_known() {
            changes.changed().await.unwrap();
        }
    };
    timeout(PATIENT, told).await.unwrap();
}

fn names<'a>(entries: &'a [Value], member: &str) -> Vec<&'a str> {
    entries.iter().filter_map(|entry| entry[member].as_str()).collect()
}
