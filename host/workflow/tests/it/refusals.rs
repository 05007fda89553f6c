//! Documents with faults: all of them are told at once, each with its place.

use nexus_workflow::{FaultKind, Grants, Workflow};
use serde_json::{Value, json};

use crate::support::{document, yaml};

fn faults(document: &Value) -> Vec<(String, FaultKind, String)> {
    let faults = Workflow::read(document, Grants::default()).map(|_| ()).unwrap_err();
    faults.into_iter().map(|fault| (fault.pointer.clone(), fault.kind, fault.to_string())).collect()
}

#[track_caller]
fn refused(tasks: &str, pointer: &str, kind: FaultKind, part: &str) {
    let found = faults(&document(tasks));
    let fits = found.iter().any(|(at, what, said)| at == pointer && *what == kind && said.contains(part));
    assert!(fits && found.len() == 1, "{found:#?}");
}

#[test]
fn all_faults_are_told_at_once() {
    let found = faults(&yaml(
        "
document: {dsl: 2.0.0, namespace: a b, name: x, versionn: 1.0.0}
doo: []
do:
  - a: {sett: {}}
  - b: {set: {x: '${ .a + }'}, then: nowhere}
  - c: {call: http, with: {method: get}}
  - d: {wait: P1Y}
  - e: {call: gett}
",
    ));
    let told: Vec<(&str, FaultKind)> = found.iter().map(|(at, kind, _)| (at.as_str(), *kind)).collect();
    for fault in [
        ("/doo", FaultKind::UnknownField),
        ("/document/versionn", FaultKind::UnknownField),
        ("/document", FaultKind::MissingField),
        ("/document/dsl", FaultKind::Unsupported),
        ("/document/namespace", FaultKind::BadValue),
        ("/do/0/a", FaultKind::MissingField),
        ("/do/1/b/set/x", FaultKind::BadExpression),
        ("/do/1/b/then", FaultKind::UnknownName),
        ("/do/2/c/with", FaultKind::MissingField),
        ("/do/3/d/wait", FaultKind::BadValue),
        ("/do/4/e/call", FaultKind::UnknownName),
    ] {
        assert!(told.contains(&fault), "{fault:?} is not among {told:#?}");
    }
    assert_eq!(told.len(), 11, "{found:#?}");
}

#[test]
fn near_names_are_proposed() {
    refused(
        "do: [{a: {set: {x: 1}, metdata: {}}}]",
        "/do/0/a/metdata",
        FaultKind::UnknownField,
        "did you mean `metadata`",
    );
    refused("do: [{a: {sett: {x: 1}}}]", "/do/0/a", FaultKind::MissingField, "did you mean `set`");
    refused(
        "do: [{a: {set: {x: 1}, then: bb}}, {b: {set: {x: 1}}}]",
        "/do/0/a/then",
        FaultKind::UnknownName,
        "did you mean `b`",
    );
    refused("do: [{a: {set: {x: '${ $inptu }'}}}]", "/do/0/a/set/x", FaultKind::BadExpression, "did you mean `input`");
    refused(
        "use: {functions: {getPet: {set: {a: 1}}}}\ndo: [{a: {call: getPets}}]",
        "/do/0/a/call",
        FaultKind::UnknownName,
        "did you mean `getPet`",
    );
}

#[test]
fn expressions_see_what_is_there_and_nothing_else() {
    for (tasks, pointer) in [
        ("do: [{a: {if: $input.x, set: {x: 1}}}]", "/do/0/a/if"),
        ("do: [{a: {set: {x: '${ $output }'}}}]", "/do/0/a/set/x"),
        ("do: [{a: {set: {x: '${ $item }'}}}]", "/do/0/a/set/x"),
        ("do: [{a: {set: {x: '${ $error }'}}}]", "/do/0/a/set/x"),
        ("do: [{a: {set: {x: 1}}}]\noutput: {as: $input}", "/output/as"),
        ("do: [{a: {set: {x: 1}}}]\ninput: {from: $context}", "/input/from"),
        ("do: [{a: {set: {x: '${ now }'}}}]", "/do/0/a/set/x"),
        ("do: [{a: {set: {x: '${ $ENV.PATH }'}}}]", "/do/0/a/set/x"),
    ] {
        refused(tasks, pointer, FaultKind::BadExpression, "");
    }
}

#[test]
fn secrets_are_references_where_they_may_be_and_nothing_else() {
    let call = |rest: &str| {
        format!("use: {{secrets: [token]}}\ndo: [{{a: {{call: http, with: {{method: get, endpoint: {rest}}}}}}}]")
    };
    let well = [
        "{uri: https://a/b, authentication: {bearer: {token: '${ $secrets.token }'}}}",
        "{uri: https://a/b, authentication: {oauth2: {use: token}}}",
        "https://a/b, headers: {x-key: '${ $secrets.token.key }'}",
    ];
    for well in well {
        let read = Workflow::read(&document(&call(well)), Grants::default());
        assert!(read.is_ok(), "{read:?}");
    }
    let token = "/do/0/a/with/endpoint/authentication/bearer/token";
    let bearer = |token: &str| call(&format!("{{uri: https://a/b, authentication: {{bearer: {{token: '{token}'}}}}}}"));
    let loose = call("https://a/b, body: $secrets.token") + "\nevaluate: {mode: loose}";
    refused(&loose, "/do/0/a/with/body", FaultKind::BadExpression, "refused");
    refused(&bearer("${ $secrets.tokn }"), token, FaultKind::UnknownName, "did you mean `token`");
    refused(&bearer("${ \"Bearer \" + $secrets.token }"), token, FaultKind::BadExpression, "refused");
    refused(
        &call("https://a/b, body: '${ $secrets.token }'"),
        "/do/0/a/with/body",
        FaultKind::BadExpression,
        "refused",
    );
    refused(&call("'${ $secrets.token }'"), "/do/0/a/with/endpoint", FaultKind::BadExpression, "refused");
}

#[test]
fn a_list_of_tasks_is_names_and_tasks() {
    refused("do: [{a: {set: {x: 1}}, b: {set: {x: 1}}}]", "/do/0", FaultKind::BadValue, "one field");
    refused("do: [{a: {set: {x: 1}, wait: PT1S}}]", "/do/0/a", FaultKind::BadValue, "several kinds");
    refused("do: []", "/do", FaultKind::BadValue, "no task");
    refused("do: {a: {set: {x: 1}}}", "/do", FaultKind::WrongType, "a list");
    refused("do: [{a: {set: 1}}]", "/do/0/a/set", FaultKind::WrongType, "an object");
    refused("do: [{a: {for: {in: .x}}}]", "/do/0/a", FaultKind::MissingField, "`do`");
}

#[test]
fn a_then_leads_to_one_task_of_the_same_list() {
    let inner = "do: [{a: {do: [{x: {set: {n: 1}, then: b}}]}}, {b: {set: {n: 1}}}]";
    refused(inner, "/do/0/a/do/0/x/then", FaultKind::UnknownName, "beside");
    let twice = "do: [{a: {set: {n: 1}, then: b}}, {b: {set: {n: 1}}}, {b: {set: {n: 2}}}]";
    refused(twice, "/do/0/a/then", FaultKind::UnknownName, "several");
    let branch = "do: [{a: {fork: {branches: [{x: {set: {n: 1}, then: y}}, {y: {set: {n: 1}}}]}}}]";
    refused(branch, "/do/0/a/fork/branches/0/x/then", FaultKind::UnknownName, "beside");
}

#[test]
fn what_would_never_end_is_refused() {
    let circle = "
use:
  functions:
    a: {call: b}
    b: {do: [{x: {call: a}}]}
do: [{x: {call: a}}]";
    refused(circle, "/use/functions/a", FaultKind::BadValue, "calls itself");
    refused(
        "use: {functions: {http: {set: {a: 1}}}}\ndo: [{x: {set: {a: 1}}}]",
        "/use/functions/http",
        FaultKind::BadValue,
        "already",
    );
    refused("do: [{a: {set: {x: '${ def f: f; f }'}}}]", "/do/0/a/set/x", FaultKind::BadExpression, "calls itself");
}

#[test]
fn parts_that_exclude_each_other_are_refused() {
    refused(
        "do: [{a: {listen: {to: {any: [], one: {with: {type: x}}}}}}]",
        "/do/0/a/listen/to",
        FaultKind::BadValue,
        "one way",
    );
    refused(
        "do: [{a: {listen: {to: {any: [], until: {any: [], until: 'true'}}}}}]",
        "/do/0/a/listen/to/until/until",
        FaultKind::BadValue,
        "no meaning",
    );
    refused(
        "do: [{a: {switch: [{x: {then: end}}, {y: {then: end}}]}}]",
        "/do/0/a/switch/1/y",
        FaultKind::MissingField,
        "default",
    );
    let retry = "do: [{a: {try: [{x: {set: {a: 1}}}], catch: {retry: {backoff: {linear: {}, constant: {}}}}}}]";
    refused(retry, "/do/0/a/catch/retry/backoff", FaultKind::BadValue, "one way");
    let grown = "do: [{a: {try: [{x: {set: {a: 1}}}], catch: {retry: {backoff: {linear: {increment: 1}}}}}}]";
    refused(grown, "/do/0/a/catch/retry/backoff/linear/increment", FaultKind::UnknownField, "increment");
    refused(
        "do: [{a: {emit: {event: {with: {type: x}}}}}]",
        "/do/0/a/emit/event/with",
        FaultKind::MissingField,
        "`source`",
    );
}

#[test]
fn schemas_are_checked_where_they_stand() {
    let schema = "do: [{a: {set: {x: 1}, output: {schema: {document: {properties: {x: {type: numberr}}}}}}}]";
    let found = faults(&document(schema));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0.starts_with("/do/0/a/output/schema/document") && found[0].1 == FaultKind::BadSchema,
        "{found:?}"
    );
}

#[test]
fn something_else_than_an_object_is_refused() {
    for value in [json!(null), json!([]), json!("x"), json!(1)] {
        assert_eq!(faults(&value)[0].1, FaultKind::WrongType);
    }
}
