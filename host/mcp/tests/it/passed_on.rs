//! What servers say to those who call.

use std::{sync::Arc, time::Duration};

use nexus_mcp::hub::Fault;
use nexus_model::AskError;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    scripted::Scripted,
    support::{Caller, PATIENT, World, call, spec, text},
};

#[tokio::test]
async fn progress_and_logs_come_through() {
    let (world, server, caller) = (World::new(), Scripted::offering(&["tell"]), Caller::accepting());
    world.trust(spec("s", server.connect())).await;
    world.hub.call("s", call("tell", json!({}), Arc::clone(&caller) as _)).await.unwrap();
    let mut told = caller.progress.lock().unwrap().clone();
    told.sort_by(f64::total_cmp);
    assert_eq!(told, [1.0, 2.0, 3.0]);
    assert_eq!(*caller.lines.lock().unwrap(), [json!("working")]);
    world.end().await;
}

#[tokio::test]
async fn questions_reach_the_one_who_called() {
    let (world, server, caller) = (World::new(), Scripted::offering(&["ask"]), Caller::accepting());
    world.trust(spec("s", server.connect())).await;
    let content = world.hub.call("s", call("ask", json!({}), Arc::clone(&caller) as _)).await.unwrap();
    let answer: Value = serde_json::from_str(&text(&content)).unwrap();
    // What the form has a value for and the answer has not is filled in.
    assert_eq!(answer["result"], json!({"action": "accept", "content": {"name": "Ada"}}));
    let questions = caller.questions.lock().unwrap().clone();
    assert_eq!((questions.len(), questions[0].method.as_str()), (1, "elicitation/create"));
    assert_eq!(questions[0].key, "elicitation/create-1");
    world.end().await;
}

#[tokio::test]
async fn a_question_that_may_be_for_two_is_for_nobody() {
    let (world, server) = (World::new(), Scripted::offering(&["ask", "hang"]));
    let (caller, other) = (Caller::accepting(), Caller::accepting());
    world.trust(spec("s", server.connect())).await;
    let asked = async {
        server.hears(|heard| heard["params"]["name"] == "hang").await;
        world.hub.call("s", call("ask", json!({}), Arc::clone(&caller) as _)).await
    };
    let content = tokio::select! {
        content = asked => content.unwrap(),
        hung = world.hub.call("s", call("hang", json!({}), Arc::clone(&other) as _)) => panic!("{hung:?}"),
    };
    assert!(text(&content).contains("cannot be told which of the calls"), "{}", text(&content));
    assert!(caller.questions.lock().unwrap().is_empty() && other.questions.lock().unwrap().is_empty());
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_comes_later_ends_the_call() {
    let (world, server) = (World::new(), Scripted::offering(&["ask"]));
    world.trust(spec("s", server.connect())).await;
    let caller = Caller::new(Err(AskError::Later));
    let error = world.hub.call("s", call("ask", json!({}), caller)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Later);
    world.end().await;
}

#[tokio::test]
async fn who_waits_for_changes_is_told() {
    let (world, server) = (World::new(), Scripted::offering(&["change", "echo"]));
    let mut changes = world.hub.changes();
    let mut told =
        async |why: &str| timeout(PATIENT, changes.changed()).await.unwrap_or_else(|_| panic!("{why}")).unwrap();
    world.hub.serve(spec("s", server.connect()));
    told("it was taken up").await;
    let offered = world.hub.offered("s").await.unwrap();
    told("it was looked at").await;
    world.hub.approve("s", offered).unwrap();
    told("it was approved").await;
    world.call("s", "change", json!({})).await.unwrap();
    told("it has said that it is another").await;
    let known = world.hub.tools_cached("s").unwrap();
    assert_eq!(known.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["change"]);
    let another = Fault::Changed("echo".to_owned());
    assert!(known.blocked.iter().any(|blocked| blocked.name == "echo" && blocked.fault == another), "{known:?}");
    world.hub.remove("s");
    told("it was forgotten").await;
    world.end().await;
}

#[tokio::test]
async fn who_says_a_thousand_times_that_it_is_another_and_is_not_is_hardly_looked_at() {
    let (world, server) = (World::new(), Scripted::offering(&["flood"]));
    world.trust(spec("s", server.connect())).await;
    let looked = || server.heard.lock().unwrap().iter().filter(|heard| heard["method"] == "tools/list").count();
    let (before, changes) = (looked(), world.hub.changes());
    for _ in 0..3 {
        world.call("s", "flood", json!({})).await.unwrap();
    }
    assert!(looked() - before < 100, "it was looked at {} times", looked() - before);
    assert!(!changes.has_changed().unwrap());
    world.end().await;
}

#[tokio::test]
async fn who_goes_away_cancels() {
    let (world, server) = (World::new(), Scripted::offering(&["hang"]));
    world.trust(spec("s", server.connect())).await;
    let called = tokio::select! {
        hung = world.call("s", "hang", json!({})) => panic!("{hung:?}"),
        called = server.hears(|heard| heard["params"]["name"] == "hang") => called,
    };
    server
        .hears(|heard| heard["method"] == "notifications/cancelled" && heard["params"]["requestId"] == called["id"])
        .await;
    assert!(world.hub.ping("s").await.unwrap() < Duration::MAX);
    world.end().await;
}
