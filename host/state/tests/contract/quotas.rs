//! What every driver must do when an application has used up what it may keep.

use std::time::Duration;

use nexus_model::{AppName, Durability, Key, QuotaKind, RuntimeStore, StoreError, Write};

use super::{Driver, MINUTE, QUOTA, app, key};

fn state(name: &str) -> Key {
    Key::of_state(&app(), name)
}

fn set(name: &str, bytes: usize, ttl: Option<Duration>) -> Write {
    Write::Set { key: state(name), value: vec![7; bytes], ttl }
}

async fn put(store: &impl RuntimeStore, name: &str, bytes: usize, ttl: Option<Duration>) -> Result<(), StoreError> {
    store.write(vec![set(name, bytes, ttl)], Durability::Soon).await
}

fn is_refused<T>(outcome: Result<T, StoreError>, expected: QuotaKind) -> bool {
    matches!(outcome, Err(StoreError::Quota { app, kind, .. }) if app == "contract" && kind == expected)
}

pub(super) async fn hold(store: &impl RuntimeStore, driver: &impl Driver) {
    bytes(store, driver).await;
    keys(store, driver).await;
}

async fn bytes(store: &impl RuntimeStore, driver: &impl Driver) {
    put(store, "a", 600, None).await.unwrap();
    assert!(is_refused(put(store, "b", 600, None).await, QuotaKind::Bytes));
    assert_eq!(store.get(&state("b")).await.unwrap(), None);
    put(store, "a", 900, None).await.unwrap();
    let swap = vec![set("b", 900, None), Write::Delete { key: state("a") }];
    store.write(swap, Durability::Synced).await.unwrap();
    let both = vec![set("c", 10, None), set("d", 900, None)];
    assert!(is_refused(store.write(both, Durability::Soon).await, QuotaKind::Bytes));
    assert_eq!(store.get(&state("c")).await.unwrap(), None, "all or none");
    assert!(is_refused(store.compare_and_set(&state("c"), None, vec![7; 200], None).await, QuotaKind::Bytes));
    assert!(store.compare_and_set(&state("b"), Some(&[7; 900]), vec![7; 950], None).await.unwrap());

    let neighbour: AppName = "contract2".parse().unwrap();
    let theirs = Write::Set { key: Key::of_state(&neighbour, "a"), value: vec![7; 900], ttl: None };
    store.write(vec![theirs], Durability::Soon).await.unwrap();
    let hosts = Write::Set { key: key("trace"), value: vec![7; 5_000], ttl: None };
    store.write(vec![hosts], Durability::Soon).await.unwrap();

    put(store, "b", 0, None).await.unwrap();
    put(store, "b", 900, Some(MINUTE)).await.unwrap();
    assert!(is_refused(put(store, "c", 500, None).await, QuotaKind::Bytes));
    driver.advance(2 * MINUTE).await;
    put(store, "c", 500, None).await.unwrap();
    store.write(vec![Write::Delete { key: state("c") }], Durability::Soon).await.unwrap();
}

async fn keys(store: &impl RuntimeStore, driver: &impl Driver) {
    for number in 0..QUOTA.keys {
        assert_eq!(store.increment(&state(&format!("n{number}")), 9, Some(MINUTE)).await.unwrap(), 9);
    }
    assert!(is_refused(store.increment(&state("more"), 1, None).await, QuotaKind::Keys));
    assert!(is_refused(put(store, "more", 1, None).await, QuotaKind::Keys));
    assert!(is_refused(store.compare_and_set(&state("more"), None, vec![], None).await, QuotaKind::Keys));
    assert_eq!(store.increment(&state("n0"), 1, None).await.unwrap(), 10, "what is there may change");
    store.write(vec![set("more", 1, None), Write::Delete { key: state("n1") }], Durability::Soon).await.unwrap();
    driver.advance(2 * MINUTE).await;
    for number in 0..QUOTA.keys - 1 {
        put(store, &format!("m{number}"), 1, None).await.unwrap();
    }
    assert!(is_refused(put(store, "last", 1, None).await, QuotaKind::Keys));
}
