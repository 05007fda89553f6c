//! Errors: raised, caught, tried again, and by time.

use nexus_workflow::{Effect, Moment};
use serde_json::{Value, json};

use crate::support::{BEGIN, World, document, finish, output, read, run_in};

const FAILING: &str = "{call: http, with: {method: get, endpoint: 'https://status.test/503'}}";

#[test]
fn an_error_is_told_of_the_task_that_failed() {
    let error = finish(&format!("do: [{{a: {{do: [{{b: {FAILING}}}]}}}}]"), json!({})).result.unwrap_err();
    assert_eq!((error.status, error.instance.as_deref()), (503, Some("/do/0/a/do/0/b")));
    assert_eq!(error.kind, "https://serverlessworkflow.io/spec/1.0.0/errors/communication");
    let error = finish("do: [{a: {set: {x: '${ .y.z }'}}}]", json!({"y": [1]})).result.unwrap_err();
    assert_eq!(
        (error.status, error.kind.rsplit('/').next(), error.instance.as_deref()),
        (400, Some("expression"), Some("/do/0/a"))
    );
}

#[test]
fn a_raised_error_is_what_the_document_says() {
    let tasks = "
use: {errors: {busy: {type: 'https://a/busy', status: 429, title: '${ \"busy \" + .who }', detail: x}}}
do: [{a: {raise: {error: busy}}}]";
    let error = serde_json::to_value(finish(tasks, json!({"who": "ada"})).result.unwrap_err()).unwrap();
    let wanted =
        json!({"type": "https://a/busy", "status": 429, "title": "busy ada", "detail": "x", "instance": "/do/0/a"});
    assert_eq!(error, wanted);
}

fn caught(catch: &str) -> Result<Value, String> {
    let tasks = format!("do: [{{a: {{try: [{{b: {FAILING}}}], catch: {catch}}}}}]");
    finish(&tasks, json!({"in": 1})).result.map_err(|error| error.to_string())
}

#[test]
fn a_catch_catches_what_fits_it() {
    let does = "do: [{c: {set: {status: '${ $error.status }', from: '${ $error.instance }'}}}]";
    let handled = Ok(json!({"status": 503, "from": "/do/0/a/try/0/b"}));
    assert_eq!(caught(&format!("{{{does}}}")), handled);
    assert_eq!(caught(&format!("{{errors: {{with: {{status: 503}}}}, {does}}}")), handled);
    assert_eq!(caught(&format!("{{when: $error.status == 503, {does}}}")), handled);
    assert!(caught(&format!("{{errors: {{with: {{status: 500}}}}, {does}}}")).is_err());
    assert!(caught(&format!("{{when: $error.status == 500, {does}}}")).is_err());
    assert!(caught(&format!("{{exceptWhen: $error.status == 503, {does}}}")).is_err());
    assert_eq!(caught("{}"), Ok(json!({"in": 1})));
    assert_eq!(caught("{as: e, do: [{c: {set: {s: '${ $e.status }'}}}]}"), Ok(json!({"s": 503})));
    assert!(
        caught("{do: [{c: {raise: {error: {type: 'https://a/b', status: 400}}}}]}")
            .unwrap_err()
            .contains("/do/0/a/catch/do/0/c")
    );
}

fn waits(policy: &str, more: &str) -> (Vec<i64>, usize, bool) {
    let tasks = format!("{more}\ndo: [{{a: {{try: [{{b: {FAILING}}}], catch: {{retry: {policy}}}}}}}]");
    let world = World::new().with_pace(0);
    let finished = run_in(&world, &read(&document(&tasks)), json!({})).unwrap();
    let (mut last, mut waits, mut calls) = (BEGIN, Vec::new(), 0);
    for (_, effect) in world.begun() {
        match effect {
            Effect::Wait(until) => {
                waits.push((until.0 - last.0) / 1000);
                last = until;
            }
            _ => calls += 1,
        }
    }
    (waits, calls, finished.result.is_ok())
}

#[test]
fn a_policy_says_how_often_and_when_to_try_again() {
    let count = "limit: {attempt: {count: 4}}";
    assert_eq!(waits(&format!("{{delay: {{seconds: 3}}, {count}}}"), ""), (vec![3, 3, 3, 3], 5, false));
    assert_eq!(
        waits(&format!("{{delay: PT3S, backoff: {{linear: {{}}}}, {count}}}"), ""),
        (vec![3, 6, 9, 12], 5, false)
    );
    assert_eq!(
        waits(&format!("{{delay: PT3S, backoff: {{exponential: {{}}}}, {count}}}"), ""),
        (vec![3, 6, 12, 24], 5, false)
    );
    assert_eq!(waits("{delay: PT3S, limit: {duration: PT10S}}", ""), (vec![3, 3, 3], 4, false));
    assert_eq!(waits(&format!("{{{count}}}"), ""), (vec![], 5, false));
    assert_eq!(waits("{when: $error.status == 500}", ""), (vec![], 1, false));
    assert_eq!(waits("{exceptWhen: $error.status == 503}", ""), (vec![], 1, false));
    let named = "use: {retries: {twice: {when: $error.status == 503, delay: PT1S, limit: {attempt: {count: 2}}}}}";
    assert_eq!(waits("twice", named), (vec![1, 1], 3, false));
}

#[test]
fn jitter_is_added_and_the_same_in_every_run() {
    let policy = "{delay: PT10S, jitter: {from: PT1S, to: PT5S}, limit: {attempt: {count: 6}}}";
    let (first, calls, _) = waits(policy, "");
    assert!(calls == 7 && first.iter().all(|wait| (11..=15).contains(wait)), "{first:?}");
    assert_eq!(waits(policy, "").0, first);
}

#[test]
fn a_try_without_an_end_ends_at_the_bound() {
    let (waits, calls, well) = waits("{delay: PT1S}", "");
    assert_eq!((waits.len(), calls, well), (10_000, 10_001, false));
}

#[test]
fn what_is_tried_again_and_then_handled_is_handled() {
    let handled = caught("{retry: {limit: {attempt: {count: 2}}}, do: [{c: {set: {gave: up}}}]}");
    assert_eq!(handled, Ok(json!({"gave": "up"})));
}

#[test]
fn a_task_out_of_time_fails_with_an_error_that_can_be_caught() {
    let error = finish("do: [{a: {wait: PT1H, timeout: {after: PT1M}}}]", json!({})).result.unwrap_err();
    assert_eq!(
        (error.status, error.kind.rsplit('/').next(), error.instance.as_deref()),
        (408, Some("timeout"), Some("/do/0/a"))
    );
    let named = "
use: {timeouts: {short: {after: {seconds: 1}}}}
do: [{a: {try: [{b: {wait: PT1H, timeout: short}}], catch: {errors: {with: {status: 408}}, do: [{c: {set: {late: true}}}]}}}]";
    assert_eq!(output(named, json!({})), json!({"late": true}));
    let enough = finish("do: [{a: {wait: PT1M, timeout: {after: PT1H}}}]", json!({}));
    assert_eq!((enough.result.is_ok(), enough.at), (true, Moment(BEGIN.0 + 60_000)));
}

#[test]
fn no_catch_inside_catches_a_time_out_outside() {
    let inner = "{try: [{b: {wait: PT1H}}], catch: {do: [{c: {set: {caught: true}}}]}}";
    let error = finish(&format!("timeout: {{after: PT1M}}\ndo: [{{a: {inner}}}]"), json!({})).result.unwrap_err();
    assert_eq!((error.status, error.instance.as_deref()), (408, Some("/")));
    let task = format!("do: [{{a: {{timeout: {{after: PT1M}}, do: [{{x: {inner}}}]}}}}]");
    assert_eq!(finish(&task, json!({})).result.unwrap_err().instance.as_deref(), Some("/do/0/a"));
}

#[test]
fn an_attempt_out_of_time_is_tried_again() {
    let tasks = "
do: [{a: {try: [{b: {wait: PT1H}}], catch: {retry: {limit: {attempt: {count: 2, duration: PT1M}}}, do: [{c: {set: {n: 1}}}]}}}]";
    let finished = finish(tasks, json!({}));
    assert_eq!((finished.result, finished.at), (Ok(json!({"n": 1})), Moment(BEGIN.0 + 180_000)));
}

#[test]
fn an_execution_ends_at_its_bounds_and_no_catch_holds_it() {
    let forever = "do: [{a: {set: {n: 1}, then: a}}]";
    let caught = "do: [{t: {try: [{a: {set: {n: 1}, then: a}}], catch: {do: [{b: {set: {n: 2}}}]}}}]";
    for tasks in [forever, caught] {
        let error = finish(tasks, json!({})).result.unwrap_err();
        assert!(error.detail.unwrap().contains("100000 steps"));
        assert_eq!(error.kind.rsplit('/').next(), Some("runtime"));
    }
    let growing = "do: [{a: {set: {x: '${ [., .] }'}, then: a}}]";
    assert!(finish(growing, json!({"x": "a".repeat(1000)})).result.unwrap_err().detail.is_some());
}
