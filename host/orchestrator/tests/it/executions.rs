//! Executions, from the host and back.

use std::{collections::BTreeSet, process::Stdio};

use rmcp::ServiceExt;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Breaks, PARALLEL, PROGRAM, TestHost};

/// Tasks of most kinds; all wait for what comes, and one branch for what does not.
fn tasks() -> Value {
    json!([
        {"begin": {"set": {"numbers": [1, 2, 3], "doubled": []}}},
        {"each": {
            "for": {"each": "number", "in": ".numbers"},
            "do": [
                {"double": {
                    "call": "tool", "with": {"tool": "app/double", "arguments": {"n": "${ $number }"}},
                    "output": {"as": "${ {numbers: $input.numbers, doubled: ($input.doubled + [.n])} }"},
                }},
            ],
        }},
        {"which": {"switch": [{"some": {"when": "(.doubled | length) == 3", "then": "both"}}, {"none": {"then": "exit"}}]}},
        {"never": {"raise": {"error": {"type": "https://example.com/never", "status": 500}}}},
        {"both": {
            "fork": {"branches": [
                {"one": {"call": "tool", "with": {"tool": "app/double", "arguments": {"n": 10}}}},
                {"two": {"call": "prompt", "with": {"prompt": "p", "input": "${ .doubled }"}}},
            ]},
        }},
        {"race": {
            "input": {"from": "${ {both: .} }"},
            "fork": {"compete": true, "branches": [
                {"slow": {"wait": {"days": 300}}},
                {"quick": {"call": "tool", "with": {"tool": "app/double", "arguments": {"n": 50}},
                    "output": {"as": "${ {both: $input.both, race: .n} }"}}},
            ]},
        }},
        {"again": {
            "try": [{"flaky": {"call": "tool", "with": {"tool": "flaky"}, "output": {"as": "${ $input + {again: .} }"}}}],
            "catch": {"errors": {"with": {"status": 503}}, "retry": {"delay": {"seconds": 1}, "limit": {"attempt": {"count": 3}}}},
        }},
        {"pause": {"wait": {"minutes": 5}}},
        {"hear": {
            "listen": {"to": {"one": {"with": {"type": "com.test.heard"}}}},
            "output": {"as": "${ $input + {heard: .[0].word} }"},
        }},
        {"agent": {
            "call": "agent", "with": {"prompt": "Double three and four.", "limits": {"steps": 4}},
            "output": {"as": "${ $input + {agent: .} }"},
        }},
    ])
}

fn wanted() -> Value {
    json!({
        "both": [{"n": 20}, {"prompted": [2, 4, 6]}], "race": 100, "again": "at last", "heard": "hello",
        "agent": "{\"n\":6} {\"n\":8}",
    })
}

/// The steps that had effects, each once.
fn had(host: &TestHost, execution: &str) -> BTreeSet<String> {
    let world = host.world();
    let had = &world.executions[execution].had;
    let steps: BTreeSet<String> = had.iter().map(|(step, _)| step.clone()).collect();
    assert_eq!(steps.len(), had.len(), "an effect was had twice");
    steps
}

#[tokio::test]
async fn a_workflow_goes_to_its_end_and_is_parked_where_it_waits() {
    let host = TestHost::new();
    host.add("e", &tasks(), &json!({}));
    let finished = host.output("e").await;
    assert_eq!(finished["output"], wanted(), "{finished}");
    let steps = had(&host, "e");
    for step in [
        "/do/9/agent/agent/0",
        "/do/9/agent/turn/0/attempt/1",
        "/do/9/agent/turn/0/tool/1",
        "/do/9/agent/turn/1",
        "/do/8/hear/event/0",
    ] {
        assert!(steps.contains(step), "{step} is not among {steps:#?}");
    }
    // Two waits before tries, one wait, one event, and a wait before a turn is made again.
    assert_eq!(host.world().executions["e"].taken, 6);
    assert!(finished["at"].as_i64().unwrap() > crate::support::BEGIN + 300_000);
    let world = host.world();
    let told = &world.executions["e"].steps;
    assert!(told.iter().any(|step| step["task"] == "agent" && step["phase"] == "completed"), "{told:#?}");
}

#[tokio::test]
async fn what_loses_is_cancelled_at_the_host() {
    let host = TestHost::new();
    let race = tasks()[5].clone();
    host.add("e", &json!([race]), &json!([]));
    tokio::select! {
        () = host.work() => panic!("the program ended"),
        () = host.until(|world| !world.cancelled.is_empty() && !world.executions["e"].finished.is_empty()) => (),
    }
    assert_eq!(host.world().cancelled, ["/do/0/race/fork/branches/0/slow"]);
    assert_eq!(host.world().executions["e"].finished[0]["output"]["race"], 100);
}

#[tokio::test]
async fn an_execution_lost_at_any_effect_goes_on_elsewhere_and_has_each_effect_once() {
    let host = TestHost::new();
    host.add("e", &tasks(), &json!({}));
    host.output("e").await;
    let effects = had(&host, "e");
    for count in 0..=effects.len() {
        for breaks in [Breaks::Before(count), Breaks::After(count)] {
            let host = TestHost::new().breaking(breaks);
            host.add("e", &tasks(), &json!({}));
            let broken = count < effects.len() || matches!(breaks, Breaks::After(1..));
            if broken {
                tokio::select! {
                    () = host.work() => panic!("the program ended"),
                    () = host.until(|world| world.executions["e"].had.len() >= count) => (),
                }
                host.again();
            }
            let finished = host.output("e").await;
            assert_eq!(finished["output"], wanted(), "{breaks:?}");
            assert_eq!(had(&host, "e"), effects, "{breaks:?}");
        }
    }
}

/// A program in a process of its own, for as long as a future runs.
async fn in_a_process(host: &TestHost, until: impl Future<Output = ()>) {
    let mut program = Command::new(PROGRAM)
        .args(["--parallel", "8"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let streams = (program.stdout.take().unwrap(), program.stdin.take().unwrap());
    let session = host.clone().serve(streams).await.unwrap();
    until.await;
    program.kill().await.unwrap();
    drop(session);
}

#[tokio::test]
async fn the_program_is_killed_at_some_effects_and_another_goes_on() {
    for count in [1, 5, 9, 14] {
        let host = TestHost::new().breaking(Breaks::After(count));
        host.add("e", &tasks(), &json!({}));
        in_a_process(&host, host.until(|world| world.executions["e"].had.len() >= count)).await;
        host.again();
        in_a_process(&host, host.until(|world| !world.executions["e"].finished.is_empty())).await;
        assert_eq!(host.world().executions["e"].finished[0]["output"], wanted());
        had(&host, "e");
    }
}

#[tokio::test]
async fn the_program_ends_when_its_input_is_closed_and_refuses_unknown_flags() {
    let ended = Command::new(PROGRAM).stdin(Stdio::null()).stderr(Stdio::piped()).output().await.unwrap();
    assert!(!ended.status.success());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("did not begin a session"));
    let refused = Command::new(PROGRAM).arg("--paralel").output().await.unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--parallel NUMBER"));
}

#[tokio::test]
async fn many_executions_go_at_one_time() {
    let host = TestHost::new();
    // Without those that wait for the time: each comes once more, for the event.
    let all = tasks();
    let tasks = json!([all[0], all[1], all[4], all[5], all[8]]);
    for n in 0..100 {
        host.add(&format!("e{n}"), &tasks, &json!({"n": n}));
    }
    let begun = std::time::Instant::now();
    tokio::select! {
        () = host.work() => panic!("the program ended"),
        () = host.until(|world| world.executions.values().all(|execution| !execution.finished.is_empty())) => (),
    }
    println!("100 executions with 7 effects each: {:?}", begun.elapsed());
    for n in 0..100 {
        let id = format!("e{n}");
        assert_eq!(host.world().executions[&id].finished.len(), 1);
        let output = host.world().executions[&id].finished[0]["output"].clone();
        assert_eq!((&output["race"], &output["heard"]), (&json!(100), &json!("hello")), "{output}");
        assert_eq!(had(&host, &id).len(), 7);
    }
    // Those that began after the first had its document know it.
    let documents: usize = host.world().executions.values().map(|execution| execution.documents).sum();
    assert!((1..=PARALLEL).contains(&documents), "the document was asked for {documents} times");
}

#[tokio::test]
async fn what_fails_in_one_execution_ends_that_one_only() {
    let host = TestHost::new();
    let asks = |tool: &str| json!([{"a": {"try": [{"b": {"call": "tool", "with": {"tool": tool}}}], "catch": {}}}]);
    host.add("never", &asks("app/never"), &json!({}));
    host.add("unreadable", &asks("panic"), &json!({}));
    host.add("loop", &json!([{"a": {"set": {"x": "${ last(range(0; infinite)) }"}}}]), &json!({}));
    host.add(
        "memory",
        &json!([{"a": {"set": {"x": "${ reduce range(40) as $i (\"xxxxxxxx\"; . + .) | length }"}}}]),
        &json!({}),
    );
    host.add("faulty", &json!([{"a": {"sett": 1}}]), &json!({}));
    host.give("senseless", &json!({"worker": 1}), &json!(null), &json!({}));
    host.add("good", &asks("app/double"), &json!({}));
    let ended = ["unreadable", "loop", "memory", "faulty", "senseless", "good"];
    tokio::select! {
        () = host.work() => panic!("the program ended"),
        () = host.until(|world| ended.iter().all(|id| !world.executions[*id].finished.is_empty())) => (),
    }
    let problem = |id: &str| {
        let problem = host.world().executions[id].finished[0]["problem"].clone();
        let kind = problem["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (kind, problem["detail"].as_str().unwrap().to_owned())
    };
    for (id, kind, detail) in [
        // No `catch` of the workflow sees that the host cannot be understood.
        ("unreadable", "runtime", "core.work.perform"),
        ("loop", "expression", "longer than 6000 ms"),
        ("memory", "expression", "128 MiB"),
        ("faulty", "configuration", "/do/0/a"),
        ("senseless", "configuration", "cannot be read"),
    ] {
        let (said, why) = problem(id);
        assert_eq!(said, kind, "{id}: {why}");
        assert!(why.contains(detail), "{id}: {why}");
    }
    assert_eq!(host.world().executions["good"].finished[0]["output"], json!({"n": 0}));
    assert!(host.world().executions["never"].finished.is_empty());
}

#[tokio::test]
async fn an_execution_that_nobody_wants_any_more_is_left_and_its_place_is_free() {
    let host = TestHost::new();
    host.world().unwanted.push("e".to_owned());
    // One branch waits for an answer; the other goes on long enough that steps are told by themselves.
    let waits = json!({"call": "tool", "with": {"tool": "app/never"}});
    let goes_on =
        json!({"for": {"each": "n", "in": "${ [range(4000)] }"}, "do": [{"next": {"set": {"n": "${ $n + 1 }"}}}]});
    host.add("e", &json!([{"a": {"fork": {"branches": [{"waits": waits}, {"goesOn": goes_on}]}}}]), &json!({}));
    tokio::select! {
        () = host.work() => panic!("the program ended"),
        () = host.until(|world| world.cancelled == ["/do/0/a/fork/branches/0/waits"]) => (),
    }
    assert!(host.world().executions["e"].finished.is_empty());
}

/// How an agent ends whose tool never does.
async fn endless(limits: Value, timeout: Value) -> (String, Value) {
    let host = TestHost::new();
    let with = json!({"prompt": "Wait for ever.", "limits": limits});
    host.add("e", &json!([{"a": {"call": "agent", "with": with, "timeout": {"after": timeout}}}]), &json!({}));
    let problem = host.output("e").await["problem"].clone();
    (problem["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned(), problem)
}

#[tokio::test]
async fn an_agent_has_the_time_that_its_limits_say_and_not_more_than_its_task() {
    let (kind, problem) = endless(json!({"steps": 9, "time_ms": 5000}), json!({"hours": 1})).await;
    assert_eq!((kind.as_str(), &problem["status"]), ("runtime", &json!(429)), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("5000 ms"), "{problem}");
    assert_eq!(problem["instance"], "/do/0/a");
    let (kind, problem) = endless(json!({"steps": 9, "time_ms": 9_000_000}), json!({"hours": 1})).await;
    assert_eq!((kind.as_str(), &problem["status"]), ("timeout", &json!(408)), "{problem}");
    let (kind, problem) = endless(json!({"steps": 1}), json!({"hours": 1})).await;
    assert_eq!((kind.as_str(), &problem["status"]), ("runtime", &json!(429)), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("take 1 turn,"), "{problem}");
}
