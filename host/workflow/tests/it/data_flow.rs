//! How data flows through a workflow, step by step.

use nexus_workflow::{Call, Effect, ProgressPhase, Sealed};
use serde_json::{Value, json};

use crate::support::{World, document, finish, output, read, run_in};

#[test]
fn input_is_checked_before_it_is_mapped_and_output_after() {
    let tasks = "
do:
  - a:
      input: {schema: {document: {required: [n]}}, from: .n}
      set: {twice: '${ . * 2 }', seen: '${ $input }', raw: '${ $task.input }'}
      output: {as: '{ n: .twice, seen, raw }', schema: {document: {required: [n]}}}";
    assert_eq!(output(tasks, json!({"n": 2})), json!({"n": 4, "seen": 2, "raw": {"n": 2}}));
    let error = finish(tasks, json!({})).result.unwrap_err();
    assert_eq!(error.kind, "https://serverlessworkflow.io/spec/1.0.0/errors/validation");
    assert_eq!((error.status, error.instance.as_deref()), (400, Some("/do/0/a")));
}

#[test]
fn the_workflow_maps_and_checks_its_own_input_and_output() {
    let tasks = "
input: {schema: {document: {required: [order]}}, from: .order}
output: {as: '{ total: .sum, raw: $workflow.input.order.id, context: $context.id }', schema: {document: {required: [total]}}}
do: [{a: {set: {sum: '${ .a + .b }'}}}]";
    assert_eq!(output(tasks, json!({"order": {"id": 7, "a": 1, "b": 2}})), json!({"total": 3, "raw": 7, "context": 7}));
    assert_eq!(finish(tasks, json!({})).result.unwrap_err().instance.as_deref(), Some("/"));
}

#[test]
fn the_context_begins_as_the_input_and_is_what_is_exported() {
    let tasks = "
do:
  - a: {set: {x: '${ $context.start }'}, export: {as: '$context + {seen: .x, out: $output.x, in: $input.start}'}}
  - b: {set: {all: '${ $context }'}, export: {as: {only: '${ .all.seen }'}, schema: {document: {required: [only]}}}}
  - c: {set: '${ {all, now: $context} }'}";
    let all = json!({"start": 1, "seen": 1, "out": 1, "in": 1});
    assert_eq!(output(tasks, json!({"start": 1})), json!({"all": null, "now": {"only": 1}}).clone().merge("all", all));
}

trait Merge {
    fn merge(self, name: &str, value: Value) -> Value;
}

impl Merge for Value {
    fn merge(mut self, name: &str, value: Value) -> Value {
        self[name] = value;
        self
    }
}

#[test]
fn a_task_whose_condition_does_not_hold_passes_its_input_on() {
    let tasks = "do: [{a: {if: .x > 5, set: {y: 1}, then: end}}, {b: {set: {seen: '${ . }'}}}]";
    assert_eq!(output(tasks, json!({"x": 1})), json!({"seen": {"x": 1}}));
    assert_eq!(output(tasks, json!({"x": 6})), json!({"y": 1}));
}

#[test]
fn a_set_in_strict_mode_evaluates_what_is_enclosed_and_nothing_else() {
    let tasks = "do: [{a: {set: {a: .x, b: '${ .x }', c: ['${ .x }', {d: '${.x}'}], e: 'a ${ .x } b'}}}]";
    let wanted = json!({"a": ".x", "b": 1, "c": [1, {"d": 1}], "e": "a ${ .x } b"});
    assert_eq!(output(tasks, json!({"x": 1})), wanted);
}

#[test]
fn in_loose_mode_every_text_is_tried() {
    let tasks = "
evaluate: {mode: loose}
do: [{a: {set: {a: .x, b: '${ .x }', c: hello world, d: .x.y.z, e: nothing}}}]";
    let wanted = json!({"a": 1, "b": 1, "c": "hello world", "d": ".x.y.z", "e": "nothing"});
    assert_eq!(output(tasks, json!({"x": 1})), wanted);
}

#[test]
fn a_for_hands_its_output_from_one_iteration_to_the_next() {
    let tasks = "
do:
  - a:
      for: {each: n, in: .list, at: i}
      while: '.sum == null or .sum < 6'
      do: [{add: {set: {sum: '${ (.sum // 0) + $n }', last: '${ $i }'}}}]";
    assert_eq!(output(tasks, json!({"list": [1, 2, 3, 4, 5]})), json!({"sum": 6, "last": 2}));
    assert_eq!(output(tasks, json!({"list": []})), json!({"list": []}));
    assert!(finish(tasks, json!({"list": 5})).result.is_err());
}

#[test]
fn variables_of_a_loop_end_with_it() {
    let tasks = "
do:
  - outer:
      for: {in: '[1, 2]'}
      do:
        - inner: {for: {in: '[10, 20]'}, do: [{x: {set: {s: '${ ((.s // []) + [$item]) }'}}}]}
        - after: {set: {s: '${ .s + [$item] }'}}";
    assert_eq!(output(tasks, json!({})), json!({"s": [10, 20, 1, 10, 20, 2]}));
}

#[test]
fn directives_lead_within_their_list() {
    let exit = "do: [{a: {do: [{x: {set: {n: 1}, then: exit}}, {y: {set: {n: 2}}}]}}, {b: {set: {n: '${ .n + 10 }'}}}]";
    assert_eq!(output(exit, json!({})), json!({"n": 11}));
    let end = "do: [{a: {do: [{x: {set: {n: 1}, then: end}}]}}, {b: {set: {n: 2}}}]\noutput: {as: '{done: .n}'}";
    assert_eq!(output(end, json!({})), json!({"done": 1}));
    let back = "
do:
  - count: {set: {n: '${ (.n // 0) + 1 }'}}
  - more: {switch: [{again: {when: .n < 3, then: count}}]}
  - done: {set: {n: '${ .n }', done: true}}";
    assert_eq!(output(back, json!({})), json!({"n": 3, "done": true}));
}

#[test]
fn a_function_sees_its_arguments_and_not_the_variables_of_its_caller() {
    let tasks = "
use: {functions: {twice: {input: {schema: {document: {required: [n]}}}, set: {n: '${ .n * 2 }'}}}}
do: [{a: {for: {in: '[1, 2]'}, do: [{x: {call: twice, with: {n: '${ $item }'}}}]}}, {b: {call: twice}}]";
    assert_eq!(output(tasks, json!({})), json!({"n": 8}));
    let missing = "use: {functions: {f: {do: [{in: {raise: {error: {type: 'https://a/b', status: 500}}}}]}}}\ndo: [{a: {call: f}}]";
    let error = finish(missing, json!({})).result.unwrap_err();
    assert_eq!(error.instance.as_deref(), Some("/use/functions/f/do/0/in"));
}

#[test]
fn a_request_is_resolved_before_the_port_sees_it() {
    let tasks = "
use: {secrets: [key, login], authentications: {mine: {basic: {username: '${ .user }', password: '${ $secrets.login.password }'}}}}
do:
  - a:
      call: http
      with:
        method: post
        endpoint: {uri: 'https://echo.test/{id}', authentication: {use: mine}}
        headers: {x-user: '${ .user }', x-key: '${ $secrets.key }', x-n: 5}
        query: {q: '${ .tags }', n: 1}
        body: {user: '${ .user }', secret: {plain: {secret: x}}}";
    let world = World::new();
    run_in(&world, &read(&document(tasks)), json!({"id": "a b", "user": "ada", "tags": ["x", "y"]})).unwrap();
    let begun = world.begun();
    let [(at, Effect::Call(Call::Http(request)))] = begun.as_slice() else { panic!("{begun:?}") };
    assert_eq!(
        (at.as_str(), request.method.as_str(), request.url.as_str()),
        ("/do/0/a", "POST", "https://echo.test/a%20b")
    );
    assert_eq!(request.headers["x-user"], Sealed::Plain(json!("ada")));
    assert_eq!(request.headers["x-n"], Sealed::Plain(json!("5")));
    assert!(matches!(&request.headers["x-key"], Sealed::Secret(secret) if secret.name == "key"));
    let query: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(query, ["n=1", "q=x", "q=y"]);
    let credentials = serde_json::to_value(request.authentication.as_ref().unwrap()).unwrap();
    let password = json!({"secret": {"name": "login", "path": ["password"]}});
    assert_eq!(
        credentials,
        json!({"scheme": "basic", "settings": {"map": {"username": {"plain": "ada"}, "password": password}}})
    );
}

#[test]
fn a_response_does_not_show_the_secrets_that_it_was_asked_with() {
    let tasks = "
use: {secrets: [key]}
do: [{a: {call: http, with: {method: get, endpoint: 'https://a/b', headers: {x-key: '${ $secrets.key }', x: y}, output: response}}}]";
    assert_eq!(
        output(tasks, json!({}))["request"],
        json!({"method": "GET", "uri": "https://a/b", "headers": {"x": "y"}})
    );
}

#[test]
fn functions_of_nexus_are_calls_like_others() {
    let tasks = "
do:
  - p: {call: prompt, with: {prompt: prompts/a.prompt.yml, input: '${ . }'}}
  - o: {call: operation, with: {operation: classify, input: '${ .prompted.input }'}}
  - t: {call: tool, with: {tool: core.state.get, arguments: {key: '${ .input.k }'}}, output: {as: .arguments}}";
    assert_eq!(output(tasks, json!({"k": 5})), json!({"key": 5}));
}

#[test]
fn descriptors_tell_of_workflow_task_and_runtime() {
    let tasks = "
do:
  - a:
      metadata: {note: x}
      set:
        id: '${ $workflow.id }'
        began: '${ $workflow.startedAt.iso8601 }'
        seconds: '${ $task.startedAt.epoch.seconds }'
        task: '${ [$task.name, $task.reference, $task.definition.metadata.note] }'
        name: '${ $workflow.definition.document.name }'
        runtime: '${ $runtime.name }'";
    let wanted = json!({
        "id": "execution-1", "began": "2023-11-14T22:13:20Z", "seconds": 1_700_000_000, "task": ["a", "/do/0/a", "x"],
        "name": "test", "runtime": "nexus"
    });
    assert_eq!(output(tasks, json!({})), wanted);
}

#[test]
fn steps_are_told_of_as_they_begin_and_end() {
    let tasks = "do: [{a: {if: 'false', set: {x: 1}}}, {b: {set: {x: 1}}}, {c: {raise: {error: {type: 'https://a/b', status: 400}}}}]";
    let world = World::new();
    run_in(&world, &read(&document(tasks)), json!({})).unwrap();
    assert_eq!(world.tasks(ProgressPhase::Skipped), ["a"]);
    assert_eq!(world.tasks(ProgressPhase::Started), ["b", "c"]);
    assert_eq!(world.tasks(ProgressPhase::Completed), ["b"]);
    assert_eq!(world.tasks(ProgressPhase::Faulted), ["c"]);
}
