//! What every driver of `RuntimeStore` must do. A driver's tests call [`holds`] with a way to open its store.

mod groups;
mod quotas;

use std::{sync::Arc, time::Duration};

use nexus_model::{AppName, Batch, Durability, Entry, Key, Quota, RuntimeStore, StoreError, Write};

/// Opens stores over the same data.
pub(crate) trait Driver {
    /// The store.
    type Store: RuntimeStore + 'static;

    /// Opens the data as a new process would, with the quota [`QUOTA`]; the store before it has been closed.
    async fn open(&self) -> Arc<Self::Store>;

    /// Closes a store.
    async fn close(&self, store: Arc<Self::Store>);

    /// Makes the store believe that so much time has passed.
    async fn advance(&self, by: Duration);

    /// Whether data survives closing.
    const DURABLE: bool;
}

/// What an application may keep in these tests.
pub(crate) const QUOTA: Quota = Quota { bytes: 1_000, keys: 10 };

/// Checks the whole contract.
pub(crate) async fn holds<D: Driver>(driver: &D) {
    let store = driver.open().await;
    values(&*store).await;
    time_to_live(&*store, driver).await;
    compare_and_set(&*store, driver).await;
    fenced_writes(&*store, driver).await;
    increments(&*store, driver).await;
    lists(&*store, driver).await;
    prefixes(&*store).await;
    batches(&*store).await;
    streams(&*store, driver).await;
    quotas::hold(&*store, driver).await;
    groups::hold(&*store, driver).await;
    groups::share(&store).await;
    bounds(&*store).await;
    races(&store).await;
    no_update_is_lost(&store).await;
    driver.close(store).await;
    if D::DURABLE {
        restart(driver).await;
    }
}

fn app() -> AppName {
    "contract".parse().unwrap()
}

fn key(name: &str) -> Key {
    Key::of_app(&app(), "contract", name)
}

fn set(name: &str, value: &[u8], ttl: Option<Duration>) -> Write {
    Write::Set { key: key(name), value: value.to_vec(), ttl }
}

async fn put(store: &impl RuntimeStore, name: &str, value: &[u8], ttl: Option<Duration>) {
    store.write(vec![set(name, value, ttl)], Durability::Synced).await.unwrap();
}

fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}

/// Long enough that no machine is too slow: what takes a store's time is no test's time.
const MINUTE: Duration = Duration::from_mins(1);

async fn values(store: &impl RuntimeStore) {
    store.ping().await.unwrap();
    assert_eq!(store.get(&key("value")).await.unwrap(), None);
    for (value, durability) in
        [(&b"one"[..], Durability::Soon), (&[0, 255, 10], Durability::Synced), (b"", Durability::Soon)]
    {
        store.write(vec![set("value", value, None)], durability).await.unwrap();
        assert_eq!(store.get(&key("value")).await.unwrap().as_deref(), Some(value));
    }
    assert_eq!(store.get(&Key::of_host("contract", "value")).await.unwrap(), None, "the host's keys are its own");
    for _ in 0..2 {
        store.write(vec![Write::Delete { key: key("value") }], Durability::Soon).await.unwrap();
        assert_eq!(store.get(&key("value")).await.unwrap(), None);
    }
    store.write(Batch::new(), Durability::Synced).await.unwrap();
}

async fn time_to_live(store: &impl RuntimeStore, driver: &impl Driver) {
    put(store, "ttl", b"1", Some(10 * MINUTE)).await;
    driver.advance(9 * MINUTE).await;
    assert!(store.get(&key("ttl")).await.unwrap().is_some());
    driver.advance(MINUTE).await;
    assert_eq!(store.get(&key("ttl")).await.unwrap(), None, "gone when its time is up");
    assert!(!store.expire(&key("ttl"), MINUTE).await.unwrap(), "what is gone cannot expire");

    put(store, "ttl", b"2", Some(MINUTE)).await;
    put(store, "ttl", b"3", None).await;
    driver.advance(10 * MINUTE).await;
    assert_eq!(store.get(&key("ttl")).await.unwrap().as_deref(), Some(&b"3"[..]), "setting again ends the time");

    assert!(store.expire(&key("ttl"), MINUTE).await.unwrap());
    assert!(store.expire(&key("ttl"), 5 * MINUTE).await.unwrap());
    driver.advance(4 * MINUTE).await;
    assert!(store.get(&key("ttl")).await.unwrap().is_some());
    driver.advance(MINUTE).await;
    assert_eq!(store.get(&key("ttl")).await.unwrap(), None);
    assert!(!store.expire(&key("never"), MINUTE).await.unwrap());
}

async fn fenced_writes(store: &impl RuntimeStore, driver: &impl Driver) {
    let fence = key("fence");
    let set = |name: &str, value: &str| Write::Set { key: key(name), value: value.as_bytes().to_vec(), ttl: None };
    let write = async |expected: &str, batch| {
        store.write_if(&fence, expected.as_bytes(), batch, Durability::Synced).await.unwrap()
    };
    assert!(!write("1", vec![set("fenced", "a")]).await, "a fence that is not there lets nothing through");
    store.write(vec![set("fence", "1")], Durability::Synced).await.unwrap();
    assert!(write("1", vec![set("fenced", "a"), set("fence", "2")]).await);
    assert!(!write("1", vec![set("fenced", "b"), Write::Delete { key: key("fence") }]).await);
    assert_eq!(store.get(&key("fenced")).await.unwrap().as_deref(), Some(&b"a"[..]));
    assert!(write("2", vec![]).await && !write("1", vec![]).await);
    let other = Write::Set { key: Key::of_host("contract", "fenced"), value: Vec::new(), ttl: None };
    let spread = store.write_if(&fence, b"2", vec![other], Durability::Synced).await;
    assert!(matches!(spread, Err(StoreError::Spread(..))), "{spread:?}");
    // A fence that has run out is none.
    let short = Write::Set { key: fence.clone(), value: b"3".to_vec(), ttl: Some(Duration::from_millis(40)) };
    store.write(vec![short], Durability::Synced).await.unwrap();
    driver.advance(Duration::from_millis(60)).await;
    assert!(!write("3", vec![set("fenced", "c")]).await);
}

async fn compare_and_set(store: &impl RuntimeStore, driver: &impl Driver) {
    let cas = async |expected: Option<&[u8]>, value: &[u8], ttl| {
        store.compare_and_set(&key("cas"), expected, value.to_vec(), ttl).await.unwrap()
    };
    assert!(!cas(Some(b"1"), b"2", None).await);
    assert!(cas(None, b"1", None).await);
    assert!(!cas(None, b"2", None).await);
    assert!(!cas(Some(b""), b"2", None).await);
    assert!(cas(Some(b"1"), b"2", Some(MINUTE)).await);
    driver.advance(MINUTE).await;
    assert!(!cas(Some(b"2"), b"3", None).await, "what has expired is not there");
    assert!(cas(None, b"", None).await);
    assert!(!cas(None, b"3", None).await, "empty is there");
    assert!(cas(Some(b""), b"3", None).await);
    assert_eq!(store.get(&key("cas")).await.unwrap().as_deref(), Some(&b"3"[..]));
}

async fn increments(store: &impl RuntimeStore, driver: &impl Driver) {
    let counter = key("counter");
    assert_eq!(store.increment(&counter, 5, Some(10 * MINUTE)).await.unwrap(), 5);
    driver.advance(9 * MINUTE).await;
    assert_eq!(store.increment(&counter, -7, Some(10 * MINUTE)).await.unwrap(), -2);
    assert_eq!(store.get(&counter).await.unwrap().as_deref(), Some(&b"-2"[..]));
    driver.advance(MINUTE).await;
    assert_eq!(store.increment(&counter, 1, None).await.unwrap(), 1, "the time starts when the key is made");
    put(store, "counter", b"a word", None).await;
    assert!(matches!(store.increment(&counter, 1, None).await, Err(StoreError::NotANumber(_))));
    assert_eq!(store.get(&counter).await.unwrap().as_deref(), Some(&b"a word"[..]));
}

async fn lists(store: &impl RuntimeStore, driver: &impl Driver) {
    for number in 0..25 {
        let ttl = (number % 5 == 0).then_some(MINUTE);
        put(store, &format!("list/{number:03}"), &[number], ttl).await;
    }
    put(store, "lisu", b"other", None).await;
    driver.advance(MINUTE).await;
    let (prefix, all) = (key("list/"), store.list(&key("list/"), None, 100).await.unwrap());
    assert_eq!(all.len(), 20, "what has expired is not listed");
    assert_eq!(all[0], Entry { key: "list/001".into(), value: vec![1] });
    assert!(all.is_sorted_by(|a, b| a.key < b.key));

    let (mut paged, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store.list(&prefix, after.as_deref(), 7).await.unwrap();
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        paged.extend(page);
    }
    assert_eq!(paged, all);

    let (mut newest, mut before) = (Vec::new(), None::<String>);
    loop {
        let page = store.list_newest(&prefix, before.as_deref(), 7).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.key.clone());
        newest.extend(page);
    }
    newest.reverse();
    assert_eq!(newest, all);

    assert_eq!(keys(&store.list(&prefix, Some("list/021x"), 2).await.unwrap()), ["list/022", "list/023"]);
    assert_eq!(keys(&store.list_newest(&prefix, Some("list/004"), 2).await.unwrap()), ["list/003", "list/002"]);
    assert_eq!(keys(&store.list(&prefix, Some("a"), 1).await.unwrap()), ["list/001"], "before the prefix");
    assert!(store.list(&prefix, Some("z"), 1).await.unwrap().is_empty(), "after the prefix");
    assert_eq!(keys(&store.list_newest(&prefix, Some("z"), 1).await.unwrap()), ["list/024"]);
    assert!(store.list_newest(&prefix, Some("a"), 1).await.unwrap().is_empty());
    assert!(store.list(&prefix, None, 0).await.unwrap().is_empty());
}

async fn prefixes(store: &impl RuntimeStore) {
    let neighbour: AppName = "contract2".parse().unwrap();
    for name in ["p", "pä", "p\u{10ffff}z", "p:x", "o"] {
        put(store, name, b"mine", None).await;
    }
    let foreign = Write::Set { key: Key::of_app(&neighbour, "contract", "p1"), value: b"theirs".to_vec(), ttl: None };
    store.write(vec![foreign], Durability::Soon).await.unwrap();
    let found = store.list(&key("p"), None, 10).await.unwrap();
    assert_eq!(keys(&found), ["p", "p:x", "pä", "p\u{10ffff}z"]);
    let newest = store.list_newest(&key("p"), None, 1).await.unwrap();
    assert_eq!(keys(&newest), ["p\u{10ffff}z"]);
    assert_eq!(store.list(&Key::of_app(&neighbour, "contract", ""), None, 10).await.unwrap().len(), 1);
}

async fn batches(store: &impl RuntimeStore) {
    let batch = vec![
        set("batch/a", b"1", None),
        set("batch/b", b"1", None),
        Write::Delete { key: key("batch/a") },
        set("batch/b", b"2", None),
    ];
    store.write(batch, Durability::Synced).await.unwrap();
    let found = store.list(&key("batch/"), None, 10).await.unwrap();
    assert_eq!(found, [Entry { key: "batch/b".into(), value: b"2".to_vec() }], "in order");

    let too_large = set("batch/d", &vec![0; (8 << 20) + 1], None);
    let refused = store.write(vec![set("batch/c", b"1", None), too_large], Durability::Synced).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.get(&key("batch/c")).await.unwrap(), None, "all or none");

    let foreign = Write::Delete { key: Key::of_host("contract", "x") };
    let refused = store.write(vec![set("batch/c", b"1", None), foreign], Durability::Soon).await;
    assert!(matches!(refused, Err(StoreError::Spread(one, other)) if one == "contract" && other == "-"));
    assert_eq!(store.get(&key("batch/c")).await.unwrap(), None, "all or none");
}

async fn streams(store: &impl RuntimeStore, driver: &impl Driver) {
    let (stream, other) = (key("stream"), key("stream2"));
    assert!(store.read(&stream, None, 10).await.unwrap().is_empty());
    let mut ids = Vec::new();
    for number in 0..20_u8 {
        if number % 3 == 0 {
            driver.advance(Duration::from_millis(1)).await;
        }
        ids.push(store.append(&stream, vec![number], 10).await.unwrap());
    }
    let first = store.append(&other, b"other".to_vec(), 10).await.unwrap();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let kept = store.read(&stream, None, 100).await.unwrap();
    assert_eq!(keys(&kept), ids[10..], "the newest ten");
    assert_eq!(kept[0].value, [10]);
    assert_eq!(keys(&store.read(&stream, Some(&ids[14]), 2).await.unwrap()), ids[15..17]);
    assert_eq!(keys(&store.read(&stream, Some(&ids[3]), 1).await.unwrap()), ids[10..11], "after one that is gone");
    assert!(store.read(&stream, Some(&ids[19]), 10).await.unwrap().is_empty());
    assert_eq!(keys(&store.read(&other, None, 10).await.unwrap()), [first]);
    store.append(&stream, b"last".to_vec(), 1).await.unwrap();
    assert_eq!(store.read(&stream, None, 10).await.unwrap().len(), 1, "a smaller bound trims at once");
}

async fn bounds(store: &impl RuntimeStore) {
    let largest = vec![7; 8 << 20];
    put(store, "large", &largest, None).await;
    assert_eq!(store.get(&key("large")).await.unwrap().unwrap(), largest);
    let too_large = [largest.as_slice(), &[7]].concat();
    let refused = store.compare_and_set(&key("large"), Some(&largest), too_large.clone(), None).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { limit, .. }) if limit == 8 << 20));
    let refused = store.append(&key("large-stream"), too_large, 1).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let long = "k".repeat(1_024);
    let refused = store.increment(&key(&long), 1, None).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { limit: 1_024, .. })));
    store.write(vec![Write::Delete { key: key("large") }], Durability::Soon).await.unwrap();
}

/// Sixteen writers at once: no compare-and-set wins twice, no increment is lost, no stream id is given twice.
async fn races<S: RuntimeStore + 'static>(store: &Arc<S>) {
    const WRITERS: usize = 16;
    const ROUNDS: usize = 20;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(store);
        writers.spawn(async move {
            let mut won = 0;
            for round in 0..ROUNDS {
                let slot = key(&format!("race/{round:03}"));
                let mine = writer.to_string().into_bytes();
                won += usize::from(store.compare_and_set(&slot, None, mine, None).await.unwrap());
                add_one(&*store, &key("race-sum")).await;
                store.increment(&key("race-count"), 1, None).await.unwrap();
                store.append(&key("race-stream"), vec![], usize::MAX).await.unwrap();
            }
            won
        });
    }
    let won: usize = writers.join_all().await.into_iter().sum();
    assert_eq!(won, ROUNDS, "one winner each");
    let all = (WRITERS * ROUNDS).to_string().into_bytes();
    assert_eq!(store.get(&key("race-sum")).await.unwrap(), Some(all.clone()));
    assert_eq!(store.get(&key("race-count")).await.unwrap(), Some(all));
    assert_eq!(store.read(&key("race-stream"), None, usize::MAX).await.unwrap().len(), WRITERS * ROUNDS);
}

/// Sixteen writers, two hundred compare-and-sets each, one key.
async fn no_update_is_lost<S: RuntimeStore + 'static>(store: &Arc<S>) {
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(store);
        writers.spawn(async move {
            for _ in 0..200 {
                add_one(&*store, &key("one-sum")).await;
            }
        });
    }
    writers.join_all().await;
    assert_eq!(store.get(&key("one-sum")).await.unwrap().as_deref(), Some(&b"3200"[..]), "0 lost");
}

/// Reads, adds one, and writes if nobody wrote meanwhile, until it does.
async fn add_one(store: &impl RuntimeStore, key: &Key) {
    loop {
        let before = store.get(key).await.unwrap();
        let number = before.as_deref().map_or(0, |text| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap());
        let after = (number + 1).to_string().into_bytes();
        if store.compare_and_set(key, before.as_deref(), after, None).await.unwrap() {
            return;
        }
    }
}

async fn restart(driver: &impl Driver) {
    let store = driver.open().await;
    put(&*store, "kept", b"synced", None).await;
    put(&*store, "short", b"gone", Some(MINUTE)).await;
    store.write(vec![set("kept-soon", b"soon", None)], Durability::Soon).await.unwrap();
    let id = store.append(&key("kept-stream"), b"1".to_vec(), 1).await.unwrap();
    driver.close(store).await;

    driver.advance(MINUTE).await;
    let store = driver.open().await;
    assert_eq!(store.get(&key("kept")).await.unwrap().as_deref(), Some(&b"synced"[..]));
    assert_eq!(store.get(&key("kept-soon")).await.unwrap().as_deref(), Some(&b"soon"[..]));
    assert_eq!(store.get(&key("short")).await.unwrap(), None);
    let next = store.append(&key("kept-stream"), b"2".to_vec(), 1).await.unwrap();
    assert!(next > id, "ids grow over a restart");
    groups::survive(driver, store).await;
}
