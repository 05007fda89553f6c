//! Logs of events on a real store, and readers that come, go and come back.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;

use nexus_model::{CloudEvent, RuntimeStore};
use nexus_signals::{EventLog, EventScope, Follower, Seen};
use nexus_state::{EmbeddedStore, SystemClock};
use serde_json::json;

struct Logs {
    _folder: tempfile::TempDir,
    log: EventLog,
}

fn logs(keep: usize) -> Logs {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder.path().join("runtime.redb"), Arc::new(SystemClock)).unwrap();
    let runtime: Arc<dyn RuntimeStore> = Arc::new(store);
    Logs { log: EventLog::new(runtime, keep), _folder: folder }
}

fn shop() -> EventScope {
    "shop".parse().ok()
}

async fn append(log: &EventLog, scope: &EventScope, numbers: std::ops::Range<usize>) {
    for number in numbers {
        log.append(scope, &CloudEvent::now("order.placed", "/shop", number.to_string(), json!(number))).await.unwrap();
    }
}

/// The subjects of so many events, each passed, and how many gaps there were.
async fn take(follower: &mut Follower, count: usize) -> (Vec<String>, usize) {
    let (mut subjects, mut gaps) = (Vec::new(), 0);
    while subjects.len() < count {
        for seen in follower.next().await.unwrap() {
            follower.pass(&seen);
            match seen {
                Seen::Event(_, logged) => subjects.push(logged.event.subject.unwrap()),
                Seen::Gap(_) => gaps += 1,
            }
        }
    }
    (subjects, gaps)
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let logs = logs(1_000);
    append(&logs.log, &shop(), 0..3).await;
    let mut follower = Follower::from_now(logs.log.clone(), vec![shop(), None]).await.unwrap();
    append(&logs.log, &shop(), 3..6).await;
    append(&logs.log, &None, 6..7).await;
    let (mut subjects, gaps) = take(&mut follower, 4).await;
    subjects.sort();
    assert_eq!((subjects, gaps), (numbers(3..7), 0));

    let cursor = follower.cursor();
    drop(follower);
    append(&logs.log, &shop(), 7..9).await;
    let mut again = Follower::from_cursor(logs.log.clone(), vec![shop(), None], &cursor).unwrap();
    assert_eq!(take(&mut again, 2).await, (numbers(7..9), 0));
}

#[tokio::test]
async fn a_reader_that_comes_back_too_late_is_told() {
    let logs = logs(50);
    append(&logs.log, &shop(), 0..1).await;
    let mut follower = Follower::from_the_beginning(logs.log.clone(), vec![shop()]);
    assert_eq!(take(&mut follower, 1).await, (numbers(0..1), 0));
    append(&logs.log, &shop(), 1..100).await;
    let mut again = Follower::from_cursor(logs.log.clone(), vec![shop()], &follower.cursor()).unwrap();
    assert_eq!(take(&mut again, 50).await, (numbers(50..100), 1));
}

#[tokio::test]
async fn what_is_no_cursor_is_refused() {
    let logs = logs(10);
    for bad in ["x", "shop", "shop:", "shop:a", "SHOP:1", "shop:1;-:2", &"shop:1,".repeat(4_000)] {
        assert!(Follower::from_cursor(logs.log.clone(), vec![shop()], bad).is_err(), "{bad}");
    }
    assert!(Follower::from_cursor(logs.log.clone(), vec![shop()], "").is_ok());
}
