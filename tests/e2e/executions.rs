//! Executions of workflows: walked in a container, seen, waiting, killed, cancelled and done again.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};
use nexus_tests::{DockerEngine, House, Stage};
use serde_json::{Value, json};

const APP: &str = "flow";
const PROCESS: &str = "sandbox: { driver: process }\n";

const OPERATIONS: [(&str, &str); 6] = [
    (
        "count",
        "do:
  - begin: { set: { key: '${ .key }' } }
  - add: { call: tool, with: { tool: core.state.increment, arguments: { key: '${ .key }' } } }
  - end: { set: { n: '${ .value }' } }",
    ),
    (
        "approve",
        "do:
  - ask: { emit: { event: { with: { source: 'https://flow.example', type: approval.wanted, data: '${ . }' } } } }
  - hear: { listen: { to: { one: { with: { type: approval.given, subject: '${ $workflow.input.ticket }' } } } } }
  - end: { set: { by: '${ .[0].by }' } }",
    ),
    ("nap", "do:\n  - nap: { wait: '${ .time }' }\n  - end: { set: { rested: true } }"),
    (
        "outer",
        "do:
  - inner: { run: { workflow: { namespace: test, name: count, version: 1.0.0, input: { key: inner } } } }
  - again: { call: operation, with: { operation: count, input: { key: inner } } }
  - tool: { call: tool, with: { tool: count, arguments: { input: { key: inner } } } }
  - end: { set: { n: '${ .n }' } }",
    ),
    (
        "race",
        "do:
  - both:
      fork:
        compete: true
        branches:
          - slow: { wait: { minutes: 5 } }
          - fast: { call: tool, with: { tool: core.state.increment, arguments: { key: race } } }
  - end: { set: { n: '${ .value }' } }",
    ),
    (
        "wrong",
        "do:
  - pry: { call: tool, with: { tool: '${ \"core.definitions.\" + \"write\" }' } }",
    ),
];

fn write_app(stage: &Stage) -> Result<()> {
    let app = stage.apps().join(APP);
    fs::create_dir_all(app.join("workflows"))?;
    fs::write(app.join("any.json"), "{}")?;
    let mut operations = String::new();
    for (name, tasks) in OPERATIONS {
        let _ = writeln!(
            operations,
            "    {name}: {{ input: any.json, output: any.json, workflow: workflows/{name}.yaml }}"
        );
        write_workflow(&app, name, tasks)?;
    }
    let yaml = format!(
        "apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {APP} }}\nspec:\n  operations:\n{operations}\
         \x20 tools: {{ allow: [core.state.*, count] }}\n",
    );
    Ok(fs::write(app.join("app.yaml"), yaml)?)
}

fn workflow(name: &str, tasks: &str) -> String {
    format!("document: {{ dsl: 1.0.0, namespace: test, name: {name}, version: 1.0.0 }}\n{tasks}\n")
}

fn write_workflow(app: &Path, name: &str, tasks: &str) -> Result<()> {
    Ok(fs::write(app.join(format!("workflows/{name}.yaml")), workflow(name, tasks))?)
}

fn house(folder: &Path, settings: &str) -> Result<House> {
    let stage = Stage::new(folder)?;
    write_app(&stage)?;
    stage.start_with(settings, Some(stage.apps()))
}

fn run(house: &House, operation: &str, input: &Value) -> Result<Value> {
    house.api.call(APP, operation, input)?.success()
}

fn said(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The events of a stream, as (id, kind, data).
fn events(text: &str) -> Vec<(String, String, Value)> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let read = |block: &str| {
        let data = serde_json::from_str(&field(block, "data")).unwrap_or_default();
        (field(block, "id"), field(block, "event"), data)
    };
    text.split("\n\n").filter(|block| block.contains("event: ")).map(read).collect()
}

#[test]
fn a_workflow_is_walked_in_a_container_and_every_step_is_seen() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = DockerEngine::find_or_start(&folder.path().join("engine"))?;
    let house = house(folder.path(), &format!("sandbox: {{ docker_host: \"{}\" }}\n", engine.address()?))?;
    let called = house.api.call(APP, "count", &json!({ "key": "a" }))?;
    assert_eq!(called.success()?, json!({ "n": 1 }));
    let id = called.execution.clone().context("the call is an execution")?;
    let execution = house.api.execution(&id)?;
    assert_eq!((&execution["status"], &execution["output"]), (&json!("completed"), &json!({ "n": 1 })));
    let steps = execution["steps"].as_array().context("there are steps")?;
    assert_eq!(steps.len(), 1, "{execution}");
    let of = |name: &str| steps[0][name].clone();
    assert_eq!(
        [of("kind"), of("name"), of("state"), of("pointer")],
        [json!("tool"), json!("core.state.increment"), json!("completed"), json!("/do/1/add")]
    );
    assert_eq!(of("output"), json!({ "value": 1 }));

    // What was told is told again, and from where somebody left off.
    let told = events(&house.api.get(&format!("/v1/executions/{id}/events"))?.text);
    let kinds: Vec<&str> = told.iter().map(|(_, kind, _)| kind.as_str()).collect();
    ensure!(kinds.contains(&"begun") && kinds.contains(&"ended") && kinds.last() == Some(&"finished"), "{told:?}");
    let mut tasks: Vec<String> = told
        .iter()
        .filter(|(_, kind, _)| kind == "step")
        .map(|(_, _, data)| format!("{} {}", said(&data["task"]), said(&data["phase"])))
        .collect();
    tasks.sort_unstable();
    let all = ["add completed", "add started", "begin completed", "begin started", "end completed", "end started"];
    assert_eq!(tasks, all, "{told:?}");
    let middle = told.iter().position(|(_, kind, _)| kind == "ended").context("a step has ended")?;
    let after = events(&house.api.events_after(&format!("/v1/executions/{id}/events"), &told[middle].0)?.text);
    assert_eq!(after, told[middle + 1..]);

    // The walker is a container with nothing but its streams.
    let containers = engine.docker(["ps", "--quiet", "--no-trunc", "--filter", "label=app=flow"])?;
    let containers =
        if containers.trim().is_empty() { engine.docker(["ps", "--quiet", "--no-trunc"])? } else { containers };
    let id = containers.lines().next().context("there is a container")?;
    let inspected: Value = serde_json::from_str(&engine.docker(["inspect", id])?)?;
    assert_eq!(inspected[0]["HostConfig"]["NetworkMode"], "none");
    assert_eq!(inspected[0]["HostConfig"]["CapDrop"], json!(["ALL"]));
    assert_eq!(inspected[0]["Mounts"], json!([]));

    let outer = house.api.call(APP, "outer", &json!({}))?;
    assert_eq!(outer.success()?, json!({ "n": 3 }), "workflows begin each other");
    // Also one that is used as a tool is begun by a step, and known by it.
    let outer = outer.execution.context("it is an execution")?;
    let begun = house.api.execution(&outer)?["steps"][2]["execution"].clone();
    let inner = house.api.execution(said(&begun))?;
    assert_eq!(
        (&inner["parent"]["execution"], &inner["parent"]["step"]),
        (&json!(outer), &json!("/do/2/tool")),
        "{inner}"
    );
    assert_eq!(run(&house, "race", &json!({}))?, json!({ "n": 1 }));
    let denied = house.api.call(APP, "wrong", &json!({}))?;
    assert_eq!((denied.status, denied.json()["code"].clone()), (422, json!("workflow_authorization")));
    let denied =
        house.api.execution(&denied.execution.or_else(|| denied_execution(&house)).context("it is an execution")?)?;
    assert_eq!(denied["problem"]["instance"], json!("/do/0/pry"), "{denied}");
    house.stop()
}

/// The newest execution.
fn denied_execution(house: &House) -> Option<String> {
    let list = house.api.get("/v1/executions?app=flow&operation=wrong").ok()?.json();
    list["executions"][0]["id"].as_str().map(ToOwned::to_owned)
}

#[test]
fn executions_wait_in_no_sandbox_and_outlive_their_host() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let house = house(folder.path(), PROCESS)?;
    let approval = house.api.begun(APP, "approve", &json!({ "ticket": "7" }))?;
    let other = house.api.begun(APP, "approve", &json!({ "ticket": "8" }))?;
    let nap = house.api.begun(APP, "nap", &json!({ "time": "PT4S" }))?;
    for id in [&approval, &other, &nap] {
        house.api.until(id, "waiting")?;
    }
    let sandboxes = house.api.get("/v1/sandboxes")?.success()?;
    assert_eq!((&sandboxes["waiting"], &sandboxes["apps"]["flow (workflows)"]["taken"]), (&json!(3), &json!(0)));
    let unfinished = house.api.get("/v1/executions?unfinished=true")?.success()?;
    assert_eq!(unfinished["executions"].as_array().map(Vec::len), Some(3));

    let house = house.crash()?;
    for id in [&approval, &other] {
        house.api.until(id, "waiting")?;
    }
    let given = |id: &str, ticket: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "/people", "type": "approval.given", "subject": ticket,
            "data": { "by": format!("who reads {ticket}") },
        })
    };
    house.api.publish(APP, &[given("1", "8")])?.success()?;
    assert_eq!(house.api.until(&other, "completed")?["output"], json!({ "by": "who reads 8" }));
    // The event was for another: whoever judged it waits again.
    house.api.until(&approval, "waiting")?;
    assert_eq!(house.api.until(&nap, "completed")?["output"], json!({ "rested": true }));

    // An event that comes while no host is there is not missed: it was published before the kill and not heard yet, or comes after.
    house.api.publish(APP, &[given("2", "7")])?.success()?;
    let house = house.crash()?;
    let done = house.api.until(&approval, "completed")?;
    assert_eq!(done["output"], json!({ "by": "who reads 7" }));
    let emitted: Vec<_> =
        done["steps"].as_array().context("steps")?.iter().filter(|step| step["kind"] == "emit").collect();
    assert_eq!(emitted.len(), 1);
    let log = house.api.get("/v1/executions?unfinished=true")?.success()?;
    assert_eq!(log["executions"], json!([]));
    house.stop()
}

#[test]
fn whatever_an_execution_does_it_can_be_cancelled() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let house = house(folder.path(), PROCESS)?;
    let waiting = house.api.begun(APP, "nap", &json!({ "time": "PT10M" }))?;
    house.api.until(&waiting, "waiting")?;
    let fresh = house.api.begun(APP, "nap", &json!({ "time": "PT10M" }))?;
    for id in [&waiting, &fresh] {
        assert_eq!(house.api.post(&format!("/v1/executions/{id}/cancel"), b"")?.status, 204);
        let cancelled = house.api.until(id, "cancelled")?;
        assert_eq!(cancelled["problem"]["status"], json!(499));
        assert_eq!(house.api.post(&format!("/v1/executions/{id}/cancel"), b"")?.status, 404, "it has ended");
    }
    // A caller who waits is told.
    let told = std::thread::scope(|scope| {
        let call = scope.spawn(|| house.api.call(APP, "approve", &json!({ "ticket": "1" })));
        let cancelled = (0..200).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let list = house.api.get("/v1/executions?unfinished=true").ok()?.json();
            let id = list["executions"][0]["id"].as_str()?.to_owned();
            house.api.post(&format!("/v1/executions/{id}/cancel"), b"").ok().filter(|reply| reply.status == 204)
        });
        (call.join(), cancelled.is_some())
    });
    let answer = told.0.map_err(|_| anyhow::anyhow!("the call broke off"))??;
    assert_eq!((answer.status, answer.json()["code"].clone(), told.1), (409, json!("cancelled"), true));
    assert_eq!(house.api.get("/v1/sandboxes")?.success()?["waiting"], json!(0));
    house.stop()
}

#[test]
fn an_execution_is_done_again_on_another_revision_without_its_effects() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let house = house(folder.path(), PROCESS)?;
    let called = house.api.call(APP, "count", &json!({ "key": "r" }))?;
    assert_eq!(called.success()?, json!({ "n": 1 }));
    let id = called.execution.context("it is an execution")?;
    let (_, tasks) = OPERATIONS[0];
    let changed = workflow("count", &tasks.replace("n: '${ .value }'", "n: '${ .value * 10 }'"));
    let path = format!("/v1/apps/{APP}/files/workflows/count.yaml");
    house.api.put(&path, "*", changed.as_bytes())?.success()?;

    let replay = |body: &Value| -> Result<Value> {
        let begun = house.api.post(&format!("/v1/executions/{id}/replay"), body.to_string().as_bytes())?.success()?;
        let again = begun["execution"].as_str().context("it is begun")?.to_owned();
        house.api.until(&again, "completed")
    };
    let again = replay(&json!({}))?;
    assert_eq!((&again["replay_of"], &again["output"]), (&json!(id), &json!({ "n": 10 })));
    let comparison = &again["comparison"];
    assert_eq!(comparison["same_result"], json!(false));
    assert_eq!([&comparison["output_before"], &comparison["output_after"]], [&json!({ "n": 1 }), &json!({ "n": 10 })]);
    assert_eq!(comparison["steps"], json!([]), "the tool's result is the one that was recorded");
    assert_eq!(run(&house, "count", &json!({ "key": "r" }))?, json!({ "n": 20 }), "the replay had no effect");

    // On the revision that it was, and with its effects.
    let revision = house.api.execution(&id)?["revision"].clone();
    let same = replay(&json!({ "revision": revision }))?;
    assert_eq!(same["comparison"]["same_result"], json!(true));
    let live = replay(&json!({ "effects": "live" }))?;
    assert_eq!(live["output"], json!({ "n": 30 }));
    assert_eq!(live["comparison"]["steps"][0]["change"], "answered");

    let unknown = house.api.post(&format!("/v1/executions/{id}/replay"), br#"{"revision":"0000"}"#)?;
    assert_eq!((unknown.status, unknown.json()["code"].clone()), (404, json!("unknown_revision")));
    let bad = house.api.post(&format!("/v1/executions/{id}/replay"), br#"{"effects":"some"}"#)?;
    assert_eq!(bad.status, 400);
    house.stop()
}
