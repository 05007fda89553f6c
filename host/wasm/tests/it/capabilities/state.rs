//! State, configuration and log.

use std::sync::Arc;

use nexus_model::{Access, Grants, GuestLevel, LinkedPlugin};
use serde_json::json;

use super::{Desk, call, host, linked};

fn grants(state: Access) -> Grants {
    let config = [("tone", "kind"), ("size", "7")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    Grants { state: Some(state), config: Some(config.into()), logging: true, ..Grants::default() }
}

async fn keeper(state: Access) -> (Arc<dyn LinkedPlugin>, Arc<Desk>) {
    (linked(&host(|_| {}), "state.wasm", &grants(state)).await, Arc::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_kept() {
    let (keeper, desk) = keeper(Access::ReadWrite).await;
    let (b, k) = ("b", "k");
    assert_eq!(call(&keeper, &desk, "newer.get", json!({ "bucket": b, "key": k })).await, Ok(json!(null)));
    let set = json!({ "bucket": b, "key": k, "value": "v" });
    assert_eq!(call(&keeper, &desk, "newer.set", set).await, Ok(json!(null)));
    assert_eq!(call(&keeper, &desk, "newer.get", json!({ "bucket": b, "key": k })).await, Ok(json!("v")));
    assert_eq!(call(&keeper, &desk, "newer.exists", json!({ "bucket": b, "key": k })).await, Ok(json!(true)));
    assert_eq!(call(&keeper, &desk, "newer.exists", json!({ "bucket": "c", "key": k })).await, Ok(json!(false)));
    assert_eq!(call(&keeper, &desk, "newer.delete", json!({ "bucket": b, "key": k })).await, Ok(json!(null)));
    assert_eq!(call(&keeper, &desk, "newer.exists", json!({ "bucket": b, "key": k })).await, Ok(json!(false)));
    let set = json!({ "bucket": "", "key": k, "value": "w" });
    assert_eq!(call(&keeper, &desk, "older.set-get", set).await, Ok(json!("w")));
    assert_eq!(call(&keeper, &desk, "newer.get", json!({ "bucket": "default", "key": k })).await, Ok(json!("w")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_in_pages() {
    let (keeper, desk) = keeper(Access::Read).await;
    let keys: Vec<_> = (10..20).map(|n| n.to_string()).collect();
    for key in &keys {
        desk.state.lock().unwrap().insert(("b".to_owned(), key.clone()), Vec::new());
    }
    for tool in ["newer.keys", "older.keys"] {
        assert_eq!(call(&keeper, &desk, tool, json!({ "bucket": "b" })).await, Ok(json!(keys)), "{tool}");
    }
    let unknown = call(&keeper, &desk, "older.keys-after", json!({ "bucket": "b", "cursor": 7 })).await.unwrap_err();
    assert!(unknown.to_string().contains("cursor"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_can_be_whole_or_not_at_all() {
    let (keeper, desk) = keeper(Access::ReadWrite).await;
    let add = |delta: i64| json!({ "bucket": "b", "key": "n", "delta": delta });
    assert_eq!(call(&keeper, &desk, "newer.increment", add(5)).await, Ok(json!(5)));
    assert_eq!(call(&keeper, &desk, "older.increment", add(2)).await, Ok(json!(7)));
    assert_eq!(call(&keeper, &desk, "newer.increment", add(-9)).await, Ok(json!(-2)));
    let below = call(&keeper, &desk, "older.increment", add(1)).await.unwrap_err();
    assert!(below.to_string().contains("below zero"), "{below}");
    let swap = |meanwhile: Option<&str>| json!({ "bucket": "b", "key": "s", "value": "new", "meanwhile": meanwhile });
    assert_eq!(call(&keeper, &desk, "newer.swap", swap(None)).await, Ok(json!(null)));
    assert_eq!(call(&keeper, &desk, "newer.swap", swap(Some("theirs"))).await, Ok(json!("theirs")));
    assert_eq!(desk.state.lock().unwrap()[&("b".to_owned(), "s".to_owned())], b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_keys_at_once_have_a_bound() {
    let (keeper, desk) = keeper(Access::ReadWrite).await;
    let many = |n: u32| json!({ "bucket": "b", "keys": (0..n).map(|n| n.to_string()).collect::<Vec<_>>() });
    assert_eq!(call(&keeper, &desk, "newer.many", many(2)).await, Ok(json!(["0", "1", null])));
    assert!(desk.state.lock().unwrap().is_empty());
    let too_many = call(&keeper, &desk, "newer.many", many(1_001)).await.unwrap_err();
    assert!(too_many.to_string().contains("at most 1000"), "{too_many}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_wait_for_a_swap_have_a_bound() {
    let (keeper, desk) = keeper(Access::ReadWrite).await;
    let value = json!({ "bucket": "b", "key": "k", "value": "v".repeat(90_000) });
    call(&keeper, &desk, "newer.set", value).await.unwrap();
    let hoard = |times: u32| json!({ "bucket": "b", "key": "k", "times": times });
    assert_eq!(call(&keeper, &desk, "newer.hoard", hoard(40)).await, Ok(json!(null)));
    let hoarded = call(&keeper, &desk, "newer.hoard", hoard(50)).await.unwrap_err();
    assert!(hoarded.to_string().contains("4 MiB"), "{hoarded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_read_is_not_to_write() {
    let (keeper, desk) = keeper(Access::Read).await;
    desk.state.lock().unwrap().insert(("b".to_owned(), "k".to_owned()), b"v".to_vec());
    assert_eq!(call(&keeper, &desk, "newer.get", json!({ "bucket": "b", "key": "k" })).await, Ok(json!("v")));
    for (tool, arguments) in [
        ("newer.set", json!({ "bucket": "b", "key": "k", "value": "w" })),
        ("newer.delete", json!({ "bucket": "b", "key": "k" })),
        ("newer.increment", json!({ "bucket": "b", "key": "k", "delta": 1 })),
        ("newer.swap", json!({ "bucket": "b", "key": "k", "value": "w", "meanwhile": null })),
        ("newer.many", json!({ "bucket": "b", "keys": ["k"] })),
        ("older.set-get", json!({ "bucket": "b", "key": "k", "value": "w" })),
        ("older.increment", json!({ "bucket": "b", "key": "k", "delta": 1 })),
    ] {
        let denied = call(&keeper, &desk, tool, arguments).await.unwrap_err();
        assert!(denied.to_string().contains("AccessDenied"), "{tool}: {denied}");
    }
    assert_eq!(desk.state.lock().unwrap().len(), 1);
    assert_eq!(desk.state.lock().unwrap().values().next().unwrap(), b"v");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_is_an_error_of_the_interface() {
    let (keeper, desk) = keeper(Access::ReadWrite).await;
    let large = json!({ "bucket": "b", "key": "k", "value": "v".repeat(100_001) });
    let refused = call(&keeper, &desk, "newer.set", large).await.unwrap_err();
    assert!(refused.to_string().contains("limit reached: values of 100,000 bytes"), "{refused}");
    let nameless = json!({ "bucket": "b".repeat(65), "key": "k" });
    let refused = call(&keeper, &desk, "newer.get", nameless).await.unwrap_err();
    assert!(refused.to_string().contains("NoSuchStore"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_that_of_the_grant() {
    let (keeper, desk) = keeper(Access::Read).await;
    let told = call(&keeper, &desk, "other.config", json!({ "key": "tone" })).await;
    assert_eq!(told, Ok(json!(["kind", ["size", "tone"]])));
    let told = call(&keeper, &desk, "other.config", json!({ "key": "PATH" })).await;
    assert_eq!(told, Ok(json!([null, ["size", "tone"]])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_has_bounds() {
    let (keeper, desk) = keeper(Access::Read).await;
    let line = json!({ "context": "ctx", "message": "one", "times": 1 });
    call(&keeper, &desk, "other.log", line).await.unwrap();
    assert_eq!(*desk.log.lock().unwrap(), [(GuestLevel::Warn, "ctx".to_owned(), "one".to_owned())]);
    let flood = json!({ "context": "é".repeat(1_000), "message": "é".repeat(10_000), "times": 100_000 });
    call(&keeper, &desk, "other.log", flood).await.unwrap();
    let log = desk.log.lock().unwrap();
    assert_eq!(log.len(), 1 + 100);
    assert!(log.iter().all(|(_, context, message)| context.len() <= 128 && message.len() <= 4_096));
    assert!(log.last().unwrap().2.contains("writes too much"));
}
