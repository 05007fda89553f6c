//! The runtime stores keep their contract, and the file survives what may happen to it.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking and shows its figures")]

mod contract;
mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use contract::Driver;
use nexus_model::{ConsumerGroup, Durability, Key, RuntimeStore, StoreError, StreamStart, Write};
use nexus_state::{
    Clock, EmbeddedStore, OpenError, SystemClock,
    memory::{ManualClock, MemoryRuntime},
};
use proptest::prelude::*;

struct Embedded {
    path: PathBuf,
    clock: Arc<ManualClock>,
}

impl Driver for Embedded {
    type Store = EmbeddedStore;
    const DURABLE: bool = true;

    async fn open(&self) -> Arc<EmbeddedStore> {
        let store = EmbeddedStore::open(&self.path, Arc::clone(&self.clock) as Arc<dyn Clock>).unwrap();
        Arc::new(store.with_quota(contract::QUOTA))
    }

    async fn close(&self, store: Arc<EmbeddedStore>) {
        store.close().await.unwrap();
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

struct Memory(Arc<ManualClock>);

impl Driver for Memory {
    type Store = MemoryRuntime;
    const DURABLE: bool = false;

    async fn open(&self) -> Arc<MemoryRuntime> {
        Arc::new(MemoryRuntime::new(Arc::clone(&self.0) as Arc<dyn Clock>).with_quota(contract::QUOTA))
    }

    async fn close(&self, _store: Arc<MemoryRuntime>) {}

    async fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(1_700_000_000_000))
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, Arc::new(SystemClock)).unwrap()
}

fn key(name: impl Into<String>) -> Key {
    Key::of_host("test", name)
}

fn set(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Vec<Write> {
    vec![Write::Set { key: key(name), value: value.into(), ttl: None }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    contract::holds(&Embedded { path: folder.path().join("runtime.redb"), clock: clock() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_store_keeps_the_contract() {
    contract::holds(&Memory(clock())).await;
}

#[tokio::test]
async fn a_closed_store_refuses_and_lets_go_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.redb");
    let store = open(&path);
    store.write(set("a", "1"), Durability::Soon).await.unwrap();
    let second = EmbeddedStore::open(&path, Arc::new(SystemClock)).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second:?}");
    assert!(second.to_string().contains("another Nexus host"), "{second}");
    store.close().await.unwrap();
    store.close().await.unwrap();
    for refused in
        [store.ping().await, store.get(&key("a")).await.map(drop), store.write(vec![], Durability::Soon).await]
    {
        assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    }
    let again = open(&path);
    assert_eq!(again.get(&key("a")).await.unwrap().as_deref(), Some(&b"1"[..]));
    drop(again);
    drop(open(&path));
}

#[test]
fn a_file_that_is_no_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.redb");
    std::fs::write(&path, "not a store at all, but long enough to look at".repeat(500)).unwrap();
    let error = EmbeddedStore::open(&path, Arc::new(SystemClock)).unwrap_err();
    assert!(error.to_string().contains("runtime.redb") && error.to_string().contains("backup"), "{error:?}");
    let missing = EmbeddedStore::open(&folder.path().join("no/such/folder"), Arc::new(SystemClock)).unwrap_err();
    assert!(matches!(missing, OpenError::Io { .. }), "{missing:?}");
}

#[cfg(unix)]
#[test]
fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.redb");
    drop(open(&path));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_removed_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Embedded { path: folder.path().join("runtime.redb"), clock: clock() };
    let store = driver.open().await;
    let ttl = Some(Duration::from_secs(1));
    let batch = (0..200).map(|number| Write::Set { key: key(format!("{number}")), value: vec![0; 100_000], ttl });
    store.write(batch.collect(), Durability::Synced).await.unwrap();
    driver.clock.advance(Duration::from_secs(2));
    for _ in 0..10 {
        store.write(set("a", "1"), Durability::Synced).await.unwrap();
    }
    store.close().await.unwrap();
    let size = std::fs::metadata(&driver.path).unwrap().len();
    let store = driver.open().await;
    for round in 0..20 {
        store.write(set(format!("b{round}"), vec![0; 900_000]), Durability::Synced).await.unwrap();
    }
    store.close().await.unwrap();
    let grown = std::fs::metadata(&driver.path).unwrap().len();
    assert!(grown <= size.max(40 << 20), "the space is used again: {size} → {grown}");
}

/// What a change does, for the comparison with a map.
#[derive(Debug, Clone)]
enum Step {
    Set(u8, Vec<u8>, Option<u8>),
    Delete(u8),
    Increment(u8, i8),
    CompareAndSet(u8, Vec<u8>),
    Wait(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || prop::collection::vec(any::<u8>(), 0..20);
    let step = prop_oneof![
        4 => (0_u8..8, value(), prop::option::of(1_u8..10)).prop_map(|(key, value, ttl)| Step::Set(key, value, ttl)),
        2 => (0_u8..8).prop_map(Step::Delete),
        2 => (0_u8..8, any::<i8>()).prop_map(|(key, by)| Step::Increment(key, by)),
        2 => (0_u8..8, value()).prop_map(|(key, value)| Step::CompareAndSet(key, value)),
        2 => (1_u8..5).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

type Model = BTreeMap<String, (Vec<u8>, Option<u64>)>;

fn live(model: &Model, name: &str, now: u64) -> Option<Vec<u8>> {
    model
        .get(name)
        .filter(|(_, deadline)| deadline.is_none_or(|deadline| now < deadline))
        .map(|(value, _)| value.clone())
}

async fn apply(store: &EmbeddedStore, model: &mut Model, step: Step, now: u64) {
    let seconds = |seconds: u8| Duration::from_secs(u64::from(seconds));
    match step {
        Step::Set(name, value, ttl) => {
            let name = name.to_string();
            let write = Write::Set { key: key(&name), value: value.clone(), ttl: ttl.map(seconds) };
            store.write(vec![write], Durability::Soon).await.unwrap();
            model.insert(name, (value, ttl.map(|ttl| now + u64::from(ttl) * 1_000)));
        }
        Step::Delete(name) => {
            store.write(vec![Write::Delete { key: key(name.to_string()) }], Durability::Soon).await.unwrap();
            model.remove(&name.to_string());
        }
        Step::Increment(name, by) => {
            let name = name.to_string();
            let stored = live(model, &name, now);
            let number = stored.as_ref().map_or(Some(0), |text| std::str::from_utf8(text).ok()?.parse::<i64>().ok());
            let sum = store.increment(&key(&name), i64::from(by), None).await;
            assert_eq!(sum.as_ref().ok().copied(), number.map(|number| number + i64::from(by)));
            if let Ok(sum) = sum {
                let deadline = stored.and_then(|_| model[&name].1);
                model.insert(name, (sum.to_string().into_bytes(), deadline));
            }
        }
        Step::CompareAndSet(name, value) => {
            let name = name.to_string();
            let expected = live(model, &name, now);
            assert!(store.compare_and_set(&key(&name), expected.as_deref(), value.clone(), None).await.unwrap());
            model.insert(name, (value, None));
        }
        Step::Wait(_) | Step::Reopen => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_store_behaves_as_a_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let driver = Embedded { path: folder.path().join("runtime.redb"), clock: clock() };
            let (mut store, mut model) = (driver.open().await, Model::new());
            for step in steps {
                match step {
                    Step::Wait(seconds) => driver.clock.advance(Duration::from_secs(u64::from(seconds))),
                    Step::Reopen => {
                        driver.close(store).await;
                        store = driver.open().await;
                    }
                    step => apply(&store, &mut model, step, driver.clock.unix_millis()).await,
                }
                let now = driver.clock.unix_millis();
                let expected: Vec<_> = model.keys().filter_map(|name| Some((name.clone(), live(&model, name, now)?))).collect();
                let listed = store.list(&key(""), None, 100).await.unwrap();
                let listed: Vec<_> = listed.into_iter().map(|entry| (entry.key, entry.value)).collect();
                assert_eq!(listed, expected);
            }
        });
    }
}

/// The child of the next test: writes numbers, synced, and says each that has been acknowledged.
#[test]
#[ignore = "runs as a child process"]
fn child_writes_until_it_is_killed() {
    let Some(path) = support::child_path() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let store = open(&path);
        let mut number = store
            .list_newest(&key("n/"), None, 1)
            .await
            .unwrap()
            .first()
            .map_or(0, |entry| entry.key.trim_start_matches("n/").parse::<u64>().unwrap());
        loop {
            number += 1;
            let mut batch = set(format!("n/{number:08}"), vec![1; 3_000]);
            batch.extend(set(format!("twin/{number:08}"), vec![2; 100]));
            store.write(set("soon", number.to_string()), Durability::Soon).await.unwrap();
            store.write(batch, Durability::Synced).await.unwrap();
            support::acknowledge(&number.to_string());
        }
    });
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_host_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.redb");
    let mut last = 0;
    for round in 0..support::kills() {
        for number in support::acknowledged_until_killed("child_writes_until_it_is_killed", &path, round) {
            let number: u64 = number.parse().unwrap();
            assert!(number > last, "{number} after {last}");
            last = number;
        }
        let store = open(&path);
        let numbers = store.list(&key("n/"), None, usize::MAX).await.unwrap();
        let twins = store.list(&key("twin/"), None, usize::MAX).await.unwrap();
        assert!(numbers.len() as u64 >= last, "{} of {last}", numbers.len());
        assert_eq!(numbers.len(), twins.len(), "a batch is whole or not there");
        last = numbers.len() as u64;
        store.close().await.unwrap();
    }
    eprintln!("{last} acknowledged writes over {} kills", support::kills());
}

fn group() -> ConsumerGroup {
    ConsumerGroup::new(key("work"), "readers")
}

/// The child of the next test: takes entries and never acknowledges them; says each that it has been given.
#[test]
#[ignore = "runs as a child process"]
fn child_reads_until_it_is_killed() {
    let Some(path) = support::child_path() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    runtime.block_on(async {
        let store = open(&path);
        loop {
            store.append(&group().stream, b"work".to_vec(), usize::MAX).await.unwrap();
            for entry in store.read_group(&group(), "child", 10, Duration::ZERO).await.unwrap() {
                support::acknowledge(&entry.id);
            }
        }
    });
}

#[tokio::test]
async fn what_a_killed_consumer_had_stays_pending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtime.redb");
    let store = open(&path);
    assert!(store.create_group(&group(), StreamStart::Beginning).await.unwrap());
    store.close().await.unwrap();
    let mut given = Vec::new();
    for round in 0..support::kills() {
        given.extend(support::acknowledged_until_killed("child_reads_until_it_is_killed", &path, round));
        let store = open(&path);
        let pending = store.list_pending(&group(), None, usize::MAX).await.unwrap();
        let pending: Vec<_> = pending.into_iter().map(|entry| entry.id).collect();
        let lost: Vec<_> = given.iter().filter(|id| !pending.contains(*id)).collect();
        assert!(lost.is_empty(), "{lost:?} of {}", given.len());
        store.close().await.unwrap();
    }
    let store = open(&path);
    let claimed = store.claim(&group(), "heir", Duration::ZERO, usize::MAX).await.unwrap();
    assert!(claimed.len() >= given.len() && claimed.iter().all(|entry| entry.deliveries == 2));
    eprintln!("{} entries stayed pending over {} kills", given.len(), support::kills());
}
