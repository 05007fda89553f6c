//! Events that one application emits and another takes: only where both permit it.

use std::{collections::BTreeMap, time::Duration};

use nexus_core::{PublishError, TriggerStatus};
use nexus_model::{AppName, CloudEvent, FileTree};
use nexus_signals::Seen;
use serde_json::{Value, json};

use crate::{
    events::{answered, executions},
    twins::{Bench, definition, files},
};

const NOBODY: &str = "";
const OF_SHOP: &str = "
    - name: orders
      on: { event: order.*, app: shop }
      operation: double";

/// An application that doubles, with these lists of names in `security` and these triggers.
fn app(name: &str, may_call: &str, callable_by: &str, triggers: &str) -> FileTree {
    let mut files = definition("off", 30);
    let text = String::from_utf8(files["app.yaml"].to_vec()).unwrap().replace("name: sums", &format!("name: {name}"));
    let security = format!("  security: {{ may_call: [{may_call}], callable_by: [{callable_by}] }}\n");
    let triggers = if triggers.is_empty() { String::new() } else { format!("  triggers:{triggers}\n") };
    files.insert("app.yaml".to_owned(), files::bytes(&format!("{text}{security}{triggers}")));
    files
}

fn placed(id: u64, n: u64) -> CloudEvent {
    let mut event = CloudEvent::now("order.placed", "/shop", format!("order-{id}"), json!({ "n": n }));
    event.id = id.to_string();
    event
}

async fn publish(bench: &Bench, event: CloudEvent) -> Result<Vec<String>, PublishError> {
    bench.core.events.publish("shop", vec![event]).await
}

async fn first_trigger(bench: &Bench, app: &str) -> TriggerStatus {
    bench.core.events.triggers(app).await.unwrap().unwrap().remove(0)
}

/// Application, event and emitter of each execution that a trigger caused, sorted.
async fn caused(bench: &Bench, count: usize) -> Vec<(String, String, Option<String>)> {
    let mut found: Vec<_> = answered(bench, count)
        .await
        .into_iter()
        .filter_map(|one| {
            let cause = one.cause?;
            Some((one.operation.app.to_string(), cause.event_id, cause.emitter.map(|app| app.to_string())))
        })
        .collect();
    found.sort();
    found
}

fn of_shop(app: &str, id: &str) -> (String, String, Option<String>) {
    (app.to_owned(), id.to_owned(), Some("shop".to_owned()))
}

#[tokio::test]
async fn an_event_reaches_another_application_only_where_both_say_so() {
    let bench = Bench::with_queue(100, BTreeMap::new()).await;
    // What was not delivered, by reason, after each of the four.
    let not_declared = "its `security.may_call` does not name it; add `crm` to `security.may_call` in the `app.yaml` of \
                        `shop`";
    let not_admitted = "the `security.callable_by` of `crm` does not name it; add `shop` to `security.callable_by` in the \
                        `app.yaml` of `crm`";
    for (id, may_call, callable_by, counted, refused) in [
        (1, NOBODY, NOBODY, [1, 0], Some(not_declared)),
        (2, NOBODY, "shop", [2, 0], Some(not_declared)),
        (3, "crm", NOBODY, [2, 1], Some(not_admitted)),
        (4, "crm", "shop", [2, 1], None),
    ] {
        let shop = app("shop", may_call, NOBODY, "");
        let crm = app("crm", NOBODY, callable_by, OF_SHOP);
        bench.import_all(BTreeMap::from([("shop", shop), ("crm", crm)])).await.unwrap();
        let status = first_trigger(&bench, "crm").await;
        assert_eq!(status.app.as_ref().map(AppName::as_str), Some("shop"));
        let refused = refused.map(|why| format!("`shop` may not call `crm`: {why}"));
        assert_eq!(status.refused, refused, "{id}");
        publish(&bench, placed(id, id)).await.unwrap();
        // What is delivered is in a queue when it was published.
        assert!(refused.is_none() || first_trigger(&bench, "crm").await.waiting == 0, "{id}");
        assert_eq!(bench.refused_deliveries(), counted, "{id}");
    }
    // Not another's event, and not one that the trigger does not wait for: nobody is refused anything then.
    bench.core.events.publish("crm", vec![placed(5, 5)]).await.unwrap();
    publish(&bench, CloudEvent::now("bill.sent", "/shop", "bill-1", json!({ "n": 6 }))).await.unwrap();
    assert_eq!(caused(&bench, 1).await, [of_shop("crm", "4")]);
    publish(&bench, placed(7, 7)).await.unwrap();
    assert_eq!(caused(&bench, 2).await, [of_shop("crm", "4"), of_shop("crm", "7")]);
    assert_eq!(bench.refused_deliveries(), [2, 1]);
    bench.stop().await;
}

#[tokio::test]
async fn an_application_that_comes_later_takes_what_comes_after_it() {
    let shop = app("shop", "crm, desk", NOBODY, "");
    let bench = Bench::with_queue(100, BTreeMap::from([("shop", shop)])).await;
    publish(&bench, placed(1, 1)).await.unwrap();
    let crm = app("crm", NOBODY, "shop", OF_SHOP);
    bench.import_all(BTreeMap::from([("crm", crm)])).await.unwrap();
    publish(&bench, placed(2, 2)).await.unwrap();
    let desk = app("desk", NOBODY, "shop", OF_SHOP);
    bench.import_all(BTreeMap::from([("desk", desk)])).await.unwrap();
    publish(&bench, placed(3, 3)).await.unwrap();
    let expected = [of_shop("crm", "2"), of_shop("crm", "3"), of_shop("desk", "3")];
    assert_eq!(caused(&bench, 3).await, expected);
    bench.remove("crm").await;
    publish(&bench, placed(4, 4)).await.unwrap();
    let of_desk: Vec<_> = caused(&bench, 2).await.into_iter().filter(|(app, ..)| app == "desk").collect();
    assert_eq!(of_desk, [of_shop("desk", "3"), of_shop("desk", "4")]);
    assert_eq!(bench.refused_deliveries(), [0, 0]);
    bench.stop().await;
}

#[tokio::test]
async fn what_the_host_tells_of_an_application_reaches_the_other_and_does_not_come_back() {
    // Each waits for all that the other's executions tell.
    let told_by = |other: &str| {
        format!(
            "
    - name: told
      on: {{ event: nexus.execution.*, app: {other} }}
      operation: double
      input: {{ value: {{ n: 1 }} }}"
        )
    };
    let (shop, crm) = (app("shop", "crm", "crm", &told_by("crm")), app("crm", "shop", "shop", &told_by("shop")));
    let bench = Bench::with_queue(100, BTreeMap::from([("shop", shop), ("crm", crm)])).await;
    let mut follower = bench.core.events.follow(vec![Some("crm".parse().unwrap())], Some("")).await.unwrap();
    let asked = bench.raw("shop", "double", b"{\"n\": 5}").await.unwrap();
    // An event is queued for triggers before it is logged.
    let mut ended: Option<Value> = None;
    while ended.is_none() {
        for seen in tokio::time::timeout(Duration::from_secs(10), follower.next()).await.unwrap().unwrap() {
            follower.pass(&seen);
            if let Seen::Event(_, logged) = seen
                && logged.event.kind.starts_with("nexus.execution.")
            {
                ended = logged.event.data_as_json();
            }
        }
    }
    assert_eq!(ended.unwrap()["trigger"], "told");
    assert_eq!(first_trigger(&bench, "shop").await.waiting, 0);
    let all = executions(&bench).await;
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().any(|one| one.id == asked.execution && one.cause.is_none()));
    bench.stop().await;
}

#[tokio::test]
async fn what_waits_while_the_permission_ends_is_put_aside() {
    let shop = app("shop", "crm", NOBODY, "");
    let crm = |callable_by: &str| BTreeMap::from([("crm", app("crm", NOBODY, callable_by, OF_SHOP))]);
    let bench = Bench::with_queue(100, BTreeMap::from([("shop", shop)])).await;
    bench.import_all(crm("shop")).await.unwrap();
    let name = "crm".parse().unwrap();
    let letter = async |code: &str| {
        for _ in 0..500 {
            let page = bench.core.events.dead_letters(&name, None, 10).await.unwrap();
            if let [letter] = page.letters.as_slice()
                && letter.code == code
            {
                return letter.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no single dead letter with the code `{code}`");
    };
    let mut poison = placed(1, 1);
    poison.data = nexus_model::EventData::Json(json!({ "x": 1 }));
    publish(&bench, poison).await.unwrap();
    let first = letter("invalid_input").await;
    assert_eq!(first.emitter.as_ref().map(AppName::as_str), Some("shop"));

    bench.import_all(crm(NOBODY)).await.unwrap();
    assert!(bench.core.events.redrive(&name, &first.id).await.unwrap());
    let second = letter("not_permitted").await;
    assert!(second.message.contains("add `shop` to `security.callable_by`"), "{}", second.message);
    assert_eq!((second.deliveries, bench.refused_deliveries()), (5, [0, 5]));

    bench.import_all(crm("shop")).await.unwrap();
    assert!(bench.core.events.redrive(&name, &second.id).await.unwrap());
    assert_eq!(letter("invalid_input").await.emitter, first.emitter);
    bench.stop().await;
}

#[tokio::test]
async fn one_that_is_full_keeps_no_other_from_an_event() {
    let all = ["crm", "desk"].map(|name| (name, app(name, NOBODY, "shop", OF_SHOP)));
    let bench = Bench::with_queue(1, all.into()).await;
    let shop = app("shop", "crm, desk", NOBODY, "");
    bench.import_all(BTreeMap::from([("shop", shop)])).await.unwrap();
    // Only `crm` is held up.
    let held = app("crm", NOBODY, "shop", &format!("{OF_SHOP}\n      input: {{ value: {{ n: 99999 }} }}"));
    bench.import_all(BTreeMap::from([("crm", held)])).await.unwrap();
    publish(&bench, placed(1, 1)).await.unwrap();
    assert_eq!(caused(&bench, 1).await, [of_shop("desk", "1")]);
    while first_trigger(&bench, "desk").await.waiting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = publish(&bench, placed(2, 2)).await.unwrap_err();
    assert!(matches!(&refused, PublishError::Full { trigger, waiting: 1 } if trigger == "crm/orders"), "{refused}");
    assert_eq!(caused(&bench, 2).await, [of_shop("desk", "1"), of_shop("desk", "2")]);
    bench.release();
    while publish(&bench, placed(2, 2)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let both = ["crm", "desk"].into_iter().flat_map(|app| ["1", "2"].map(|id| of_shop(app, id)));
    assert_eq!(caused(&bench, 4).await, both.collect::<Vec<_>>(), "published again, it has no second effect");
    bench.stop().await;
}
