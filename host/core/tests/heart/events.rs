//! Events and what they trigger, on one store, with one heart and with two.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nexus_core::{DeadLetter, ExecutionFilter, PublishError};
use nexus_model::{CloudEvent, Execution, FileTree};
use nexus_signals::Seen;
use serde_json::{Value, json};

use crate::twins::{Bench, Coder, definition, files};

const TRIGGERS: &str = "  triggers:
    - name: doubles
      on: { event: number.drawn, filter: { prefix: { subject: lot- } } }
      operation: double
";

fn triggered() -> FileTree {
    let mut files = definition("off", 30);
    let app = String::from_utf8(files["app.yaml"].to_vec()).unwrap().replace("concurrency: 2", "concurrency: 8");
    files.insert("app.yaml".to_owned(), files::bytes(&format!("{app}{TRIGGERS}")));
    files
}

fn drawn(id: u64, lot: u64, data: Value) -> CloudEvent {
    let mut event = CloudEvent::now("number.drawn", "/lottery", format!("lot-{lot}"), data);
    event.id = id.to_string();
    event
}

pub(crate) async fn executions(bench: &Bench) -> Vec<Execution> {
    let (apps, mut all, mut before) = (bench.core.registry.names(), Vec::new(), None);
    loop {
        let filter = ExecutionFilter { limit: 200, before, ..ExecutionFilter::default() };
        let page = bench.core.executions.list(&apps, &filter).await.unwrap();
        let Some(last) = page.last() else { return all };
        before = Some(last.id);
        all.extend(page);
    }
}

/// Waits until there are so many executions that answered.
pub(crate) async fn answered(bench: &Bench, count: usize) -> Vec<Execution> {
    for _ in 0..1_000 {
        let mut found = executions(bench).await;
        found.retain(|execution| execution.error.is_none());
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} of {count} answered", executions(bench).await.len());
}

async fn dead(bench: &Bench, count: usize) -> Vec<DeadLetter> {
    for _ in 0..500 {
        let page = bench.core.events.dead_letters(&bench.operation.app, None, 100).await.unwrap();
        if page.letters.len() >= count {
            return page.letters;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the event was not put aside");
}

#[tokio::test]
async fn an_event_has_its_effect_once_however_often_it_is_published() {
    let bench = Bench::start(triggered(), Coder::default(), |_| {}).await;
    let events: Vec<CloudEvent> = (0..40).map(|id| drawn(id, id % 4, json!({ "n": id }))).collect();
    for _ in 0..3 {
        let places = bench.core.events.publish("sums", events.clone()).await.unwrap();
        assert!(places.len() == 40 && places.iter().collect::<BTreeSet<_>>().len() == 40);
    }
    bench.core.events.publish("sums", vec![CloudEvent::now("number.drawn", "/", "other", json!(1))]).await.unwrap();
    let found = answered(&bench, 40).await;
    assert_eq!(found.len(), 40);
    let mut of_lot: BTreeMap<u64, Vec<(time::OffsetDateTime, u64)>> = BTreeMap::new();
    for execution in &found {
        let cause = execution.cause.as_ref().unwrap();
        assert_eq!((cause.trigger.as_str(), &*cause.event_source, cause.delivery), ("doubles", "/lottery", 1));
        let id: u64 = cause.event_id.parse().unwrap();
        assert_eq!(execution.output, Some(json!({ "n": 2 * id })));
        of_lot.entry(id % 4).or_default().push((execution.started_at, id));
    }
    for lot in of_lot.values_mut() {
        lot.sort_unstable();
        assert!(lot.is_sorted_by_key(|(_, id)| *id), "one lot keeps its order: {lot:?}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_poison_event_is_put_aside_after_five_deliveries_and_can_be_sent_again() {
    let bench = Bench::start(triggered(), Coder::default(), |_| {}).await;
    let events =
        vec![drawn(1, 1, json!({ "x": 1 })), drawn(2, 1, json!({ "n": 77_777 })), drawn(3, 1, json!({ "n": 3 }))];
    bench.core.events.publish("sums", events).await.unwrap();
    let letters = dead(&bench, 2).await;
    let told: Vec<_> = letters.iter().map(|one| (&*one.event.id, &*one.code, one.deliveries, &*one.trigger)).collect();
    assert_eq!(told, [("1", "invalid_input", 5, "doubles"), ("2", "provider_failed", 5, "doubles")]);
    assert_eq!(answered(&bench, 1).await[0].output, Some(json!({ "n": 6 })), "what comes behind goes on");
    let failed: Vec<_> = executions(&bench).await.into_iter().filter(|one| one.error.is_some()).collect();
    assert_eq!(failed.len(), 1, "five deliveries are one execution");
    assert_eq!(failed[0].cause.as_ref().unwrap().delivery, 5);

    let app = &bench.operation.app;
    assert!(bench.core.events.redrive(app, &letters[0].id).await.unwrap());
    let again = dead(&bench, 2).await;
    assert_eq!(again[1].event.id, "1", "it came for the first time and failed five times more");
    assert!(again[1].id > letters[1].id);
    assert!(bench.core.events.discard(app, &again[0].id).await.unwrap());
    assert!(!bench.core.events.discard(app, &again[0].id).await.unwrap());
    assert!(!bench.core.events.redrive(app, "no-such-letter").await.unwrap());
    bench.stop().await;
}

#[tokio::test]
async fn two_hosts_on_one_store_share_the_work_and_one_goes_on_alone() {
    let first = Bench::start(triggered(), Coder::default(), |_| {}).await;
    let second = first.beside().await;
    let publish = async |bench: &Bench, ids: std::ops::Range<u64>| {
        let events: Vec<CloudEvent> = ids.map(|id| drawn(id, id % 7, json!({ "n": id }))).collect();
        bench.core.events.publish("sums", events).await.unwrap();
    };
    publish(&first, 0..50).await;
    publish(&second, 50..100).await;
    answered(&second, 60).await;
    first.stop().await;
    publish(&second, 100..150).await;
    let found = answered(&second, 150).await;
    let ids: BTreeSet<_> = found.iter().map(|one| one.cause.as_ref().unwrap().event_id.clone()).collect();
    assert_eq!((found.len(), ids.len()), (150, 150));
    second.stop().await;
}

#[tokio::test]
async fn the_host_tells_of_definitions_and_executions_and_nobody_else_does_in_its_name() {
    let bench = Bench::start(triggered(), Coder::default(), |_| {}).await;
    let app = Some(bench.operation.app.clone());
    let mut follower = bench.core.events.follow(vec![app], Some("")).await.unwrap();
    bench.call(5).await.unwrap();
    bench.core.events.publish("sums", vec![drawn(1, 1, json!({ "n": 7 }))]).await.unwrap();
    let mut kinds = BTreeMap::new();
    while kinds.values().sum::<usize>() < 4 {
        for seen in tokio::time::timeout(Duration::from_secs(10), follower.next()).await.unwrap().unwrap() {
            follower.pass(&seen);
            if let Seen::Event(_, logged) = seen {
                *kinds.entry(logged.event.kind.clone()).or_insert(0) += 1;
            }
        }
    }
    let expected = [("nexus.definition.loaded", 1), ("nexus.execution.finished", 2), ("number.drawn", 1)];
    assert_eq!(kinds, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    let forged = CloudEvent::now("nexus.execution.finished", "/", "x", Value::Null);
    assert!(matches!(bench.core.events.publish("sums", vec![forged]).await, Err(PublishError::Reserved)));
    let unknown = bench.core.events.publish("nobody", vec![drawn(1, 1, json!(1))]).await;
    assert!(matches!(unknown, Err(PublishError::UnknownApp(_))));
    let large = drawn(1, 1, json!("x".repeat(300 << 10)));
    assert!(matches!(bench.core.events.publish("sums", vec![large]).await, Err(PublishError::TooLarge { .. })));
    bench.stop().await;
}
