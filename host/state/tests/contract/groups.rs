//! What every driver must do with groups of readers.

use std::{sync::Arc, time::Duration};

use nexus_model::{ConsumerGroup, Delivery, RuntimeStore, StoreError, StreamStart};

use super::{Driver, MINUTE, key};

const AT_ONCE: Duration = Duration::ZERO;

fn group(stream: &str, name: &str) -> ConsumerGroup {
    ConsumerGroup::new(key(stream), name)
}

fn ids(entries: &[Delivery]) -> Vec<&str> {
    entries.iter().map(|entry| entry.id.as_str()).collect()
}

async fn fill(store: &impl RuntimeStore, stream: &str, count: u8) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(store.append(&key(stream), vec![number], 1_000).await.unwrap());
    }
    ids
}

pub(super) async fn hold(store: &impl RuntimeStore, driver: &impl Driver) {
    reading(store).await;
    claiming(store, driver).await;
    removing(store).await;
    starting(store).await;
    bounds(store).await;
}

async fn reading(store: &impl RuntimeStore) {
    let (one, two) = (group("jobs", "one"), group("jobs", "two"));
    let unknown = store.read_group(&one, "a", 10, AT_ONCE).await;
    assert!(matches!(unknown, Err(StoreError::UnknownGroup(name)) if name == "one"));
    assert!(store.create_group(&one, StreamStart::Beginning).await.unwrap(), "before there is a stream");
    assert!(!store.create_group(&one, StreamStart::Now).await.unwrap(), "a second time changes nothing");
    assert!(store.create_group(&two, StreamStart::Beginning).await.unwrap());
    assert!(store.read_group(&one, "a", 10, AT_ONCE).await.unwrap().is_empty());
    let jobs = fill(store, "jobs", 5).await;

    let first = store.read_group(&one, "a", 2, AT_ONCE).await.unwrap();
    assert_eq!(first[1], Delivery { id: jobs[1].clone(), value: vec![1], deliveries: 1 });
    assert_eq!(ids(&store.read_group(&one, "b", 10, AT_ONCE).await.unwrap()), jobs[2..], "each goes to one consumer");
    assert!(store.read_group(&one, "a", 10, AT_ONCE).await.unwrap().is_empty());
    assert_eq!(ids(&store.read_group(&two, "a", 10, AT_ONCE).await.unwrap()), jobs, "another group has its own");

    assert_eq!(store.count_pending(&one).await.unwrap(), 5);
    let pending = store.list_pending(&one, None, 3).await.unwrap();
    let shown: Vec<_> = pending.iter().map(|entry| (&*entry.id, &*entry.consumer, entry.deliveries)).collect();
    assert_eq!(shown, [(&*jobs[0], "a", 1), (&*jobs[1], "a", 1), (&*jobs[2], "b", 1)]);
    let rest = store.list_pending(&one, Some(&jobs[3]), 10).await.unwrap();
    assert_eq!(rest.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&jobs[4]]);

    let (done, left) = (&jobs[..3], &jobs[3..]);
    assert_eq!(store.acknowledge(&one, done).await.unwrap(), 3);
    assert_eq!(store.acknowledge(&one, done).await.unwrap(), 0, "once is enough");
    assert_eq!(store.count_pending(&one).await.unwrap(), 2);
    assert_eq!(store.count_pending(&two).await.unwrap(), 5);
    assert_eq!(store.acknowledge(&two, left).await.unwrap(), 2);
    assert_eq!(store.read(&key("jobs"), None, 10).await.unwrap().len(), 5, "what is acknowledged stays in the stream");

    assert!(store.delete_group(&two).await.unwrap());
    assert!(!store.delete_group(&two).await.unwrap());
    assert!(matches!(store.count_pending(&two).await, Err(StoreError::UnknownGroup(_))));
    assert!(matches!(store.list_pending(&two, None, 1).await, Err(StoreError::UnknownGroup(_))));
    assert!(matches!(store.claim(&two, "a", AT_ONCE, 1).await, Err(StoreError::UnknownGroup(_))));
    assert_eq!(store.acknowledge(&two, &jobs).await.unwrap(), 0);
    assert!(store.create_group(&two, StreamStart::Beginning).await.unwrap());
    assert_eq!(store.count_pending(&two).await.unwrap(), 0, "nothing is left of the group before it");
}

async fn claiming(store: &impl RuntimeStore, driver: &impl Driver) {
    let readers = group("claims", "readers");
    store.create_group(&readers, StreamStart::Beginning).await.unwrap();
    let jobs = fill(store, "claims", 3).await;
    assert_eq!(store.read_group(&readers, "gone", 2, AT_ONCE).await.unwrap().len(), 2);
    driver.advance(2 * MINUTE).await;
    assert_eq!(store.read_group(&readers, "busy", 2, AT_ONCE).await.unwrap().len(), 1);

    let idle = MINUTE;
    let first = store.claim(&readers, "heir", idle, 1).await.unwrap();
    assert_eq!(first, [Delivery { id: jobs[0].clone(), value: vec![0], deliveries: 2 }]);
    let second = store.claim(&readers, "heir", idle, 10).await.unwrap();
    assert_eq!(ids(&second), [&jobs[1]], "what was claimed is not idle, nor what was just read");
    assert!(store.claim(&readers, "heir", idle, 10).await.unwrap().is_empty());
    let pending = store.list_pending(&readers, None, 10).await.unwrap();
    assert!(pending[1].idle < idle && pending[1].consumer == "heir" && pending[1].deliveries == 2);
    assert!(pending[2].consumer == "busy" && pending[2].deliveries == 1);

    driver.advance(2 * MINUTE).await;
    let all = store.claim(&readers, "last", idle, 10).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.deliveries).collect::<Vec<_>>(), [3, 3, 2]);
    store.acknowledge(&readers, &jobs).await.unwrap();
    assert!(store.claim(&readers, "last", AT_ONCE, 10).await.unwrap().is_empty());
}

async fn removing(store: &impl RuntimeStore) {
    let readers = group("removed", "readers");
    store.create_group(&readers, StreamStart::Beginning).await.unwrap();
    let jobs = fill(store, "removed", 6).await;
    assert_eq!(store.remove(&key("removed"), &jobs[..1]).await.unwrap(), 1);
    assert_eq!(store.remove(&key("removed"), &jobs[..1]).await.unwrap(), 0);
    assert_eq!(store.remove(&key("no-stream"), &jobs[..1]).await.unwrap(), 0);
    assert_eq!(ids(&store.read_group(&readers, "a", 3, AT_ONCE).await.unwrap()), jobs[1..4]);
    assert_eq!(store.remove(&key("removed"), &jobs[1..2]).await.unwrap(), 1);
    assert_eq!(store.trim(&key("removed"), 3).await.unwrap(), 1);
    assert_eq!(store.trim(&key("removed"), 3).await.unwrap(), 0);
    assert_eq!(store.trim(&key("no-stream"), 3).await.unwrap(), 0);
    let left = store.read(&key("removed"), None, 10).await.unwrap();
    assert_eq!(left.iter().map(|entry| &entry.key).collect::<Vec<_>>(), jobs[3..].iter().collect::<Vec<_>>());

    let claimed = store.claim(&readers, "heir", AT_ONCE, 10).await.unwrap();
    assert_eq!(ids(&claimed), [&jobs[3]], "what has left the stream is nobody's work any more");
    assert!(store.append(&key("removed"), vec![], 10).await.unwrap() > jobs[5]);
    assert_eq!(store.remove(&key("removed"), &jobs).await.unwrap(), 3);
    store.append(&key("removed"), vec![], 2).await.unwrap();
    assert_eq!(store.read(&key("removed"), None, 10).await.unwrap().len(), 2, "what was removed does not count");
}

async fn starting(store: &impl RuntimeStore) {
    let (all, new) = (group("starts", "all"), group("starts", "new"));
    let before = fill(store, "starts", 2).await;
    store.create_group(&all, StreamStart::Beginning).await.unwrap();
    store.create_group(&new, StreamStart::Now).await.unwrap();
    let after = fill(store, "starts", 1).await;
    assert_eq!(ids(&store.read_group(&all, "a", 10, AT_ONCE).await.unwrap()), [&before[..], &after].concat());
    assert_eq!(ids(&store.read_group(&new, "a", 10, AT_ONCE).await.unwrap()), after);
    store.create_group(&group("empty", "new"), StreamStart::Now).await.unwrap();
    let first = fill(store, "empty", 1).await;
    assert_eq!(ids(&store.read_group(&group("empty", "new"), "a", 10, AT_ONCE).await.unwrap()), first);
}

async fn bounds(store: &impl RuntimeStore) {
    let long = "n".repeat(257);
    let refused = store.create_group(&group("bounds", &long), StreamStart::Now).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { limit: 256, .. })));
    let readers = group("bounds", &long[..256]);
    assert!(store.create_group(&readers, StreamStart::Now).await.unwrap());
    assert!(matches!(store.read_group(&readers, &long, 1, AT_ONCE).await, Err(StoreError::TooLarge { .. })));
    assert!(matches!(store.claim(&readers, &long, AT_ONCE, 1).await, Err(StoreError::TooLarge { .. })));
    fill(store, "bounds", 1).await;
    assert!(store.read_group(&readers, "a", 0, AT_ONCE).await.unwrap().is_empty());
    assert!(store.claim(&readers, "a", AT_ONCE, 0).await.unwrap().is_empty());
    assert!(store.list_pending(&readers, None, 0).await.unwrap().is_empty());
}

/// Consumers wait for what is appended, and of many each entry goes to one.
pub(super) async fn share<S: RuntimeStore + 'static>(store: &Arc<S>) {
    const ENTRIES: usize = 60;
    let readers = group("shared", "readers");
    store.create_group(&readers, StreamStart::Beginning).await.unwrap();
    let mut consumers = tokio::task::JoinSet::new();
    for consumer in 0..4 {
        let (store, readers) = (Arc::clone(store), readers.clone());
        consumers.spawn(async move {
            let mut seen = Vec::new();
            loop {
                let found =
                    store.read_group(&readers, &consumer.to_string(), 3, Duration::from_secs(20)).await.unwrap();
                for entry in found {
                    if entry.value == b"end" {
                        return seen;
                    }
                    store.acknowledge(&readers, &[entry.id]).await.unwrap();
                    seen.push(entry.value);
                }
            }
        });
    }
    for number in 0..ENTRIES {
        store.append(&readers.stream, number.to_string().into_bytes(), usize::MAX).await.unwrap();
    }
    // A reader that was given several may find two ends in one hand; the others wait for more.
    let mut seen = Vec::new();
    while !consumers.is_empty() {
        store.append(&readers.stream, b"end".to_vec(), usize::MAX).await.unwrap();
        seen.extend(consumers.join_next().await.unwrap().unwrap());
    }
    seen.sort();
    let mut all: Vec<_> = (0..ENTRIES).map(|number| number.to_string().into_bytes()).collect();
    all.sort();
    assert_eq!(seen, all);
}

/// What was read and not acknowledged is pending after a restart. Closes the store.
pub(super) async fn survive<D: Driver>(driver: &D, store: Arc<D::Store>) {
    let readers = group("kept-jobs", "readers");
    store.create_group(&readers, StreamStart::Beginning).await.unwrap();
    let jobs = fill(&*store, "kept-jobs", 3).await;
    store.read_group(&readers, "a", 2, AT_ONCE).await.unwrap();
    store.acknowledge(&readers, &jobs[..1]).await.unwrap();
    driver.close(store).await;

    let store = driver.open().await;
    let pending = store.list_pending(&readers, None, 10).await.unwrap();
    assert_eq!(pending.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&jobs[1]]);
    assert_eq!(ids(&store.read_group(&readers, "b", 10, AT_ONCE).await.unwrap()), jobs[2..]);
    driver.close(store).await;
}
