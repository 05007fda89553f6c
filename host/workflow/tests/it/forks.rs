//! Branches at the same time.

use nexus_workflow::{Decision, Moment, ProgressPhase};
use serde_json::json;

use crate::support::{BEGIN, World, document, finish, output, read, run_in};

fn fork(compete: bool, branches: &str) -> String {
    format!(
        "do: [{{f: {{fork: {{compete: {compete}, branches: [{branches}]}}}}}}, {{after: {{set: {{out: '${{ . }}', context: '${{ $context }}'}}}}}}]"
    )
}

#[test]
fn joined_branches_put_out_a_list_in_their_order() {
    let tasks = fork(false, "{a: {wait: PT5S, output: {as: '1'}}}, {b: {wait: PT1S, output: {as: '2'}}}");
    let finished = finish(&tasks, json!({}));
    assert_eq!(finished.result.unwrap()["out"], json!([1, 2]));
    assert!(finished.at >= Moment(BEGIN.0 + 5000));
}

#[test]
fn branches_export_beside_each_other() {
    let export = |n: u8| format!("{{b{n}: {{set: {{n: {n}}}, export: {{as: '$context + {{b{n}: .n, last: {n}}}'}}}}}}");
    let tasks = fork(false, &format!("{}, {}", export(1), export(2)));
    assert_eq!(output(&tasks, json!({"x": 0}))["context"], json!({"x": 0, "b1": 1, "b2": 2, "last": 2}));
}

#[test]
fn of_competing_branches_the_earliest_wins() {
    let tasks = fork(true, "{a: {wait: PT5S, output: {as: '1'}}}, {b: {wait: PT1S, output: {as: '2'}}}");
    let world = World::new();
    let finished = run_in(&world, &read(&document(&tasks)), json!({})).unwrap();
    assert_eq!(finished.result.unwrap()["out"], json!(2));
    assert_eq!(world.journal().decisions.values().copied().collect::<Vec<_>>(), [Decision::Won(1)]);
}

#[test]
fn a_branch_that_fails_does_not_win() {
    let fails = "{a: {raise: {error: {type: 'https://a/b', status: 500}}}}";
    let tasks = fork(true, &format!("{fails}, {{b: {{wait: PT1S, output: {{as: '2'}}}}}}"));
    assert_eq!(output(&tasks, json!({}))["out"], json!(2));
    let error = finish(&fork(true, fails), json!({})).result.unwrap_err();
    assert_eq!(error.instance.as_deref(), Some("/do/0/f/fork/branches/0/a"));
}

#[test]
fn a_branch_that_fails_ends_a_join() {
    let tasks = fork(
        false,
        "{a: {listen: {to: {one: {with: {type: x}}}}}}, {b: {raise: {error: {type: 'https://a/b', status: 500}}}}",
    );
    let world = World::new();
    let finished = run_in(&world, &read(&document(&tasks)), json!({})).unwrap();
    assert_eq!(finished.result.unwrap_err().status, 500);
    assert_eq!(world.journal().decisions.values().copied().collect::<Vec<_>>(), [Decision::Failed(1)]);
}

#[test]
fn a_branch_may_end_the_workflow() {
    let tasks = fork(false, "{a: {listen: {to: {one: {with: {type: x}}}}}}, {b: {set: {n: 1}, then: end}}");
    let world = World::new();
    let finished = run_in(&world, &read(&document(&tasks)), json!({})).unwrap();
    assert_eq!(finished.result.unwrap(), json!({"n": 1}));
    assert_eq!(world.tasks(ProgressPhase::Completed), ["b", "f"]);
}

#[test]
fn a_replay_runs_the_branch_that_was_decided_for_alone() {
    let tasks = fork(true, "{a: {listen: {to: {one: {with: {type: x}}}}}}, {b: {call: tool, with: {tool: t}}}");
    let workflow = read(&document(&tasks));
    let world = World::new();
    let first = run_in(&world, &workflow, json!({})).unwrap();
    // The event comes after all, but the race is over.
    let event = json!({"specversion": "1.0", "id": "1", "source": "https://a/b", "type": "x"});
    let again = World::new().with_events(vec![event]).with_journal(world.journal());
    assert_eq!(run_in(&again, &workflow, json!({})).unwrap(), first);
    assert_eq!(again.begun(), []);
}
