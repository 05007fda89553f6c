//! Documents and data of strangers: nothing panics, and everything ends.

use nexus_workflow::{Grants, Workflow};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{World, document, finish, read, run_in};

#[test]
fn deep_documents_are_refused() {
    let deep = (0..2000).fold(json!(1), |inner, _| Value::Array(vec![inner]));
    let mut definition = document("do: [{a: {set: {x: 1}}}]");
    definition["do"][0]["a"]["set"]["x"] = deep;
    let faults = Workflow::read(&definition, Grants::default()).unwrap_err();
    assert!(faults[0].message.contains("too large"));
    let mut tasks = json!([{"x": {"set": {"n": 1}}}]);
    for _ in 0..30 {
        tasks = json!([{"x": {"do": tasks}}]);
    }
    definition["do"] = tasks;
    assert!(Workflow::read(&definition, Grants::default()).unwrap_err()[0].message.contains("nested too deep"));
}

#[test]
fn what_is_read_is_run_however_deep_it_is() {
    let mut tasks = json!([{"x": {"set": {"n": "${ .n + 1 }"}}}]);
    for depth in 0..15 {
        tasks = match depth % 4 {
            0 => json!([{"x": {"do": tasks}}]),
            1 => json!([{"x": {"for": {"in": "[1]"}, "do": tasks}}]),
            2 => json!([{"x": {"try": tasks, "catch": {}}}]),
            _ => json!([{"x": {"fork": {"compete": true, "branches": tasks}}}]),
        };
    }
    let mut definition = document("do: [{a: {set: {x: 1}}}]");
    definition["do"] = tasks;
    let finished = run_in(&World::new(), &read(&definition), json!({"n": 1})).unwrap();
    assert_eq!(finished.result, Ok(json!({"n": 2})));
}

#[test]
fn wide_documents_are_read_or_refused() {
    let mut definition = document("do: [{a: {set: {x: 1}}}]");
    let set: Map<String, Value> = (0..200_000).map(|n| (format!("k{n}"), json!(n))).collect();
    definition["do"][0]["a"]["set"] = Value::Object(set);
    assert!(Workflow::read(&definition, Grants::default()).unwrap_err()[0].message.contains("too large"));
    let faulty: Vec<Value> = (0..5000).map(|n| json!({(format!("t{n}")): {"sett": 1}})).collect();
    definition["do"] = json!(faulty);
    assert_eq!(Workflow::read(&definition, Grants::default()).unwrap_err().len(), 100);
}

#[test]
fn data_that_is_too_large_ends_an_execution() {
    let large = json!({"x": "a".repeat(5 << 20)});
    let workflow = read(&document("do: [{a: {set: {x: 1}}}]"));
    let error = run_in(&World::new(), &workflow, large).unwrap().result.unwrap_err();
    assert!(error.detail.unwrap().contains("bytes"));
    let long = finish("do: [{a: {for: {in: '[range(20000)]'}, do: [{x: {set: {n: 1}}}]}}]", json!({}));
    assert!(long.result.unwrap_err().detail.unwrap().contains("iterations"));
}

const WORDS: [&str; 40] = [
    "document", "do", "use", "set", "call", "with", "http", "method", "endpoint", "uri", "for", "in", "each", "fork",
    "branches", "try", "catch", "retry", "listen", "to", "any", "one", "all", "until", "emit", "event", "raise",
    "error", "run", "workflow", "switch", "when", "then", "wait", "input", "output", "as", "schema", "timeout", "if",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "\\$\\{ [.$a-z|()\\[\\]{}+\" ]{0,12} \\}".prop_map(Value::from),
        prop::sample::select(&WORDS[..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(&WORDS[..]), inner), 0..5).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_document_makes_the_reader_or_the_interpreter_panic(task in value(), kind in prop::sample::select(&WORDS[..])) {
        let mut definition = document("do: [{a: {set: {x: 1}}}]");
        definition["do"][0]["a"] = json!({(kind): task});
        if let Ok(workflow) = Workflow::read(&definition, Grants::default()) {
            let _ = run_in(&World::new(), &workflow, json!({"x": [1, 2]}));
        }
        definition["use"] = definition["do"][0]["a"].clone();
        let _ = Workflow::read(&definition, Grants::default());
    }

    #[test]
    fn no_expression_makes_the_reader_panic(text in "[.$a-z0-9|()\\[\\]{}+*/\", :;=<>?@#-]{0,40}") {
        let mut definition = document("do: [{a: {set: {x: 1}}}]");
        definition["do"][0]["a"]["if"] = json!(text);
        let _ = Workflow::read(&definition, Grants::default());
    }
}
