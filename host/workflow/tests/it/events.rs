//! Events: published, and waited for.

use nexus_workflow::{Effect, EventPattern};
use serde_json::{Value, json};

use crate::support::{World, document, read, run_in};

fn event(kind: &str, data: impl Into<Value>) -> Value {
    let data = data.into();
    json!({"specversion": "1.0", "id": "1", "source": "https://a/b", "type": kind, "data": data})
}

/// The end of some tasks where these events come; `None` if they wait for more.
fn listened(tasks: &str, events: Vec<Value>) -> Option<Result<Value, String>> {
    let world = World::new().with_events(events);
    let finished = run_in(&world, &read(&document(tasks)), json!({"wanted": "b"}))?;
    Some(finished.result.map_err(|error| error.to_string()))
}

fn listen(to: &str, events: Vec<Value>) -> Option<Result<Value, String>> {
    listened(&format!("do: [{{a: {{listen: {{to: {to}}}}}}}]"), events)
}

#[test]
fn one_event_is_waited_for() {
    let events = vec![event("x", json!(1)), event("y", json!(2)), event("z", json!(3))];
    assert_eq!(listen("{one: {with: {type: y}}}", events.clone()), Some(Ok(json!([2]))));
    assert_eq!(listen("{one: {with: {type: 'y|z'}}}", events.clone()), Some(Ok(json!([2]))));
    assert_eq!(listen("{one: {with: {type: w}}}", events), None);
}

#[test]
fn data_is_judged_by_an_expression() {
    let events = vec![event("t", json!({"c": 37})), event("t", json!("odd")), event("t", json!({"c": 39}))];
    assert_eq!(listen("{one: {with: {type: t, data: '${ .c > 38 }'}}}", events.clone()), Some(Ok(json!([{"c": 39}]))));
    assert_eq!(listen("{one: {with: {data: {c: 37}}}}", events), Some(Ok(json!([{"c": 37}]))));
}

#[test]
fn attributes_may_be_said_of_the_input() {
    let mut b = event("t", json!(2));
    b["subject"] = json!("b");
    assert_eq!(listen("{one: {with: {subject: '${ .wanted }'}}}", vec![event("t", json!(1)), b]), Some(Ok(json!([2]))));
}

#[test]
fn all_events_are_waited_for_in_any_order() {
    let events = vec![event("b", json!(1)), event("b", json!(2)), event("a", json!(3))];
    assert_eq!(listen("{all: [{with: {type: a}}, {with: {type: b}}]}", events), Some(Ok(json!([1, 3]))));
}

#[test]
fn correlated_events_have_something_in_common() {
    let all = "{all: [{with: {type: a}, correlate: {room: {from: .data.room}}}, {with: {type: b}, correlate: {room: {from: .data.room}}}]}";
    let events =
        vec![event("a", json!({"room": 1})), event("b", json!({"room": 2})), event("b", json!({"room": 1, "n": 1}))];
    assert_eq!(listen(all, events), Some(Ok(json!([{"room": 1}, {"room": 1, "n": 1}]))));
    let expected = "{one: {with: {type: a}, correlate: {room: {from: .data.room, expect: '${ .wanted }'}}}}";
    let events = vec![event("a", json!({"room": "a"})), event("a", json!({"room": "b"}))];
    assert_eq!(listen(expected, events), Some(Ok(json!([{"room": "b"}]))));
}

#[test]
fn any_event_is_one_event_unless_something_ends_it() {
    let events: Vec<Value> = (0..6).map(|n| event(if n == 4 { "stop" } else { "t" }, json!(n))).collect();
    assert_eq!(listen("{any: []}", events.clone()), Some(Ok(json!([0]))));
    assert_eq!(listen("{any: [{with: {type: u}}, {with: {type: t}}]}", events.clone()), Some(Ok(json!([0]))));
    assert_eq!(listen("{any: [], until: '(. | length) > 2'}", events.clone()), Some(Ok(json!([0, 1, 2]))));
    let consumed = "{any: [{with: {type: t}}], until: {one: {with: {type: stop}}}}";
    assert_eq!(listen(consumed, events.clone()), Some(Ok(json!([0, 1, 2, 3]))));
    assert_eq!(listen("{any: [], until: '${ false }'}", events), None);
}

#[test]
fn events_are_read_as_data_envelope_or_raw() {
    let event = event("t", json!({"a": 1}));
    let read = |how: &str| {
        listened(&format!("do: [{{a: {{listen: {{to: {{any: []}}, read: {how}}}}}}}]"), vec![event.clone()])
    };
    assert_eq!(read("data"), Some(Ok(json!([{"a": 1}]))));
    assert_eq!(read("envelope"), Some(Ok(json!([event]))));
    assert_eq!(read("raw"), Some(Ok(json!(["eyJhIjoxfQ=="]))));
}

#[test]
fn each_event_is_worked_on_before_the_next() {
    let tasks = "
do:
  - a:
      listen: {to: {any: [], until: '(. | length) == 3'}}
      foreach:
        item: e
        at: i
        do: [{x: {call: tool, with: {tool: t, arguments: '${ $e + $i }'}}}]
        output: {as: .arguments}
        export: {as: '$context + {last: .}'}
  - b: {set: {outputs: '${ . }', last: '${ $context.last }'}}";
    let events = (0..4).map(|n| event("t", json!(n * 10))).collect();
    assert_eq!(listened(tasks, events), Some(Ok(json!({"outputs": [0, 11, 22], "last": 22}))));
}

#[test]
fn the_port_is_told_what_can_be_judged_without_expressions() {
    let tasks =
        "do: [{a: {listen: {to: {all: [{with: {type: t, data: '${ . == 1 }'}}, {with: {source: 'https://a/b'}}]}}}}]";
    let world = World::new().with_events(vec![event("t", json!(1)), event("u", json!(2))]);
    run_in(&world, &read(&document(tasks)), json!({})).unwrap();
    let begun = world.begun();
    assert_eq!(begun.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["/do/0/a/event/0", "/do/0/a/event/1"]);
    let pattern = |name: &str, text: &str| EventPattern { attributes: [(name.to_owned(), text.to_owned())].into() };
    assert_eq!(begun[0].1, Effect::Listen(vec![pattern("type", "t"), pattern("source", "https://a/b")]));
}

#[test]
fn a_listen_ends_when_its_time_is_over() {
    let tasks = "do: [{a: {listen: {to: {one: {with: {type: x}}}}, timeout: {after: PT1M}}}]";
    assert!(listened(tasks, vec![]).unwrap().unwrap_err().contains("408"));
}

#[test]
fn a_published_event_is_whole_and_the_same_in_every_run() {
    let tasks =
        "do: [{a: {emit: {event: {with: {source: 'https://a/b', type: t, data: '${ .wanted }', extension: x}}}}}]";
    let first = listened(tasks, vec![]).unwrap().unwrap();
    assert_eq!(first, listened(tasks, vec![]).unwrap().unwrap());
    assert_eq!((&first["specversion"], &first["data"], &first["extension"]), (&json!("1.0"), &json!("b"), &json!("x")));
    assert_eq!(first["id"].as_str().unwrap().len(), 64);
    assert_eq!(first["time"], json!("2023-11-14T22:13:20Z"));
}
