//! The specification's examples: each runs, over stand-ins, or is refused by name.

use std::{collections::BTreeSet, fs, path::Path};

use nexus_workflow::{FaultKind, Grants, Workflow};
use serde_json::{Value, json};

use crate::support::{World, run_in, yaml};

/// What becomes of an example.
enum Outcome {
    /// It runs to its end with this input.
    Runs(Value),
    /// It runs to an error of this type: what it says is wrong by itself, or is an error.
    Fails(Value, &'static str),
    /// It waits for events without end.
    Waits(Value),
    /// It is refused at this place.
    Refused(&'static str),
    /// It is refused at this place, and runs where that is granted.
    Granted(&'static str),
}

use Outcome::{Fails, Granted, Refused, Runs, Waits};

fn table() -> Vec<(&'static str, Outcome)> {
    let pet = || json!({"petId": 1, "token": "t"});
    let patient = || json!({"patient": {"fullName": "A"}, "room": {"number": 1}});
    let trigger = || json!([{"data": {"patient": {"id": 1, "name": "A", "room": {"number": 2}, "vitals": {"bpm": 30}}, "timestamp": 1}}]);
    let container = "/do/0/runContainer/run/container";
    vec![
        // Its output is a list, of which it asks a field.
        ("accumulate-room-readings.yaml", Fails(json!({}), "expression")),
        ("authentication-bearer-uri-format.yaml", Runs(pet())),
        ("authentication-bearer.yaml", Runs(pet())),
        ("authentication-oauth2-secret.yaml", Runs(pet())),
        ("authentication-oauth2.yaml", Runs(pet())),
        ("authentication-oidc-secret.yaml", Runs(pet())),
        ("authentication-oidc.yaml", Runs(pet())),
        ("authentication-reusable.yaml", Runs(pet())),
        ("call-asyncapi-publish.yaml", Refused("/do/0/findPet/call")),
        ("call-asyncapi-subscribe-consume-amount.yaml", Refused("/do/0/getNotifications/call")),
        ("call-asyncapi-subscribe-consume-forever-foreach.yaml", Refused("/do/0/getNotifications/call")),
        ("call-asyncapi-subscribe-consume-until.yaml", Refused("/do/0/getNotifications/call")),
        ("call-asyncapi-subscribe-consume-while.yaml", Refused("/do/0/getNotifications/call")),
        ("call-custom-function-cataloged.yaml", Refused("/do/0/log/call")),
        ("call-custom-function-inline.yaml", Runs(json!({}))),
        ("call-grpc.yaml", Refused("/do/0/greet/call")),
        ("call-http-endpoint-interpolation-shorthand.yaml", Runs(pet())),
        ("call-http-endpoint-interpolation.yaml", Runs(pet())),
        ("call-http-query-headers-expressions.yaml", Runs(json!({"searchQuery": "luke"}))),
        ("call-http-query-parameters.yaml", Runs(json!({"searchQuery": "luke"}))),
        ("call-http-redirect.yaml", Runs(json!({"searchQuery": "luke"}))),
        ("call-mcp.yaml", Runs(json!({}))),
        ("call-openapi-redirect.yaml", Runs(json!({}))),
        ("call-openapi.yaml", Runs(json!({}))),
        ("conditional-task.yaml", Runs(json!({"customer": {"age": 20}, "bet": {}}))),
        ("do-multiple.yaml", Runs(pet())),
        ("do-single.yaml", Runs(pet())),
        ("emit.yaml", Runs(json!({}))),
        ("for.yaml", Fails(json!({"pets": [{"id": 1}], "vet": "v"}), "expression")),
        ("fork.yaml", Runs(patient())),
        ("listen-to-all read-envelope.yaml", Runs(json!({}))),
        ("listen-to-all.yaml", Runs(json!({}))),
        ("listen-to-any-filter.yaml", Runs(json!({}))),
        ("listen-to-any-forever-foreach.yaml", Waits(json!({"roomId": 1}))),
        ("listen-to-any-until-condition.yaml", Runs(json!({}))),
        ("listen-to-any-until-consumed.yaml", Runs(json!({}))),
        ("listen-to-any.yaml", Runs(json!({}))),
        ("listen-to-one.yaml", Runs(json!({}))),
        ("mock-service-extension.yaml", Refused("/use/extensions")),
        ("raise-inline.yaml", Fails(json!({}), "not-implemented")),
        ("raise-reusable.yaml", Fails(json!({}), "not-implemented")),
        ("run-container-cleanup-always.yaml", Granted(container)),
        ("run-container-cleanup-eventually.yaml", Granted(container)),
        ("run-container-stdin-and-arguments.yaml", Granted("/do/1/runContainer/run/container")),
        ("run-container-with-name.yaml", Granted(container)),
        ("run-container-with-pull-policy.yaml", Granted(container)),
        ("run-container.yaml", Granted(container)),
        ("run-return-all.yaml", Granted(container)),
        ("run-return-code.yaml", Granted(container)),
        ("run-return-none.yaml", Granted(container)),
        ("run-return-stderr.yaml", Granted(container)),
        ("run-script-with-stdin-and-arguments.yaml", Granted("/do/0/runScript/run/script")),
        ("run-shell-stdin-and-arguments.yaml", Granted("/do/1/runShell/run/shell")),
        ("run-subflow.yaml", Runs(json!({"user": {}}))),
        ("schedule-cron.yaml", Runs(json!({}))),
        ("schedule-event-driven.yaml", Runs(trigger())),
        ("set-expression.yaml", Runs(trigger())),
        ("set.yaml", Runs(trigger())),
        ("star-wars-homeworld.yaml", Runs(json!({"id": 1}))),
        ("switch-then-string.yaml", Runs(json!({"orderType": "physical"}))),
        ("try-catch-retry-inline.yaml", Runs(pet())),
        ("try-catch-retry-reusable.yaml", Runs(pet())),
        ("try-catch-then.yaml", Runs(json!({"petId": "none"}))),
        ("try-catch.yaml", Runs(json!({"petId": "none"}))),
        ("wait-duration-inline.yaml", Runs(json!({}))),
        ("wait-duration-iso8601.yaml", Runs(json!({}))),
    ]
}

/// Enough events for every example that waits for some.
fn events() -> Vec<Value> {
    let event = |kind: &str, data: Value| {
        json!({
            "specversion": "1.0", "id": kind, "source": "https://my.home.com/sensor", "type": kind, "data": data, "roomid": 1
        })
    };
    vec![
        event("com.fake-hospital.vitals.measurements.temperature", json!({"temperature": 37})),
        event("com.fake-hospital.vitals.measurements.temperature", json!({"temperature": 39})),
        event("com.fake-hospital.vitals.measurements.bpm", json!({"bpm": 120})),
        event("my.home.sensors.temperature", json!({"reading": 21})),
        event("my.home.sensors.humidity", json!({"reading": 40})),
        event("com.fake.petclinic.pets.checkup.completed.v2", json!({})),
        event("com.virtual-wf-powered-race.events.race.started.v1", json!({"carId": 4})),
        event("com.fake-hospital.patient.checked-out", json!({})),
    ]
}

#[test]
fn every_example_runs_or_is_refused_by_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec/examples");
    let files: BTreeSet<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let table = table();
    assert_eq!(files, table.iter().map(|(name, _)| (*name).to_owned()).collect());
    let mut faults = Vec::new();
    for (name, outcome) in &table {
        let definition = yaml(&fs::read_to_string(folder.join(name)).unwrap());
        match become_of(&definition, outcome) {
            Ok(said) => println!("{name:55} {said}"),
            Err(why) => faults.push(format!("{name}: {why}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn become_of(definition: &Value, outcome: &Outcome) -> Result<String, String> {
    let all = Grants { container: true, script: true, shell: true };
    match outcome {
        Refused(place) => refusal(definition, all, place),
        Granted(place) => {
            let said = refusal(definition, Grants::default(), place)?;
            run(definition, all, &json!({})).map(|end| format!("{said}; granted: {end}"))
        }
        Runs(input) => run(definition, Grants::default(), input),
        Fails(input, kind) => match run(definition, Grants::default(), input) {
            Err(error) if error.contains(kind) => Ok(format!("runs to its error: {error}")),
            other => Err(format!("{other:?} is no error of the type {kind}")),
        },
        Waits(input) => match run(definition, Grants::default(), input) {
            Err(why) if why == "it waits" => Ok("runs, and waits for more events".to_owned()),
            other => Err(format!("{other:?}")),
        },
    }
}

fn refusal(definition: &Value, grants: Grants, place: &str) -> Result<String, String> {
    let Err(faults) = Workflow::read(definition, grants) else { return Err("it is not refused".to_owned()) };
    match faults.as_slice() {
        [fault] if fault.kind == FaultKind::Unsupported && fault.pointer == place => Ok(format!("refused: {fault}")),
        faults => Err(format!("{faults:?}")),
    }
}

fn run(definition: &Value, grants: Grants, input: &Value) -> Result<String, String> {
    let workflow = Workflow::read(definition, grants).map_err(|faults| format!("it is refused: {faults:?}"))?;
    let world = World::new().with_events(events());
    let finished = run_in(&world, &workflow, input.clone()).ok_or("it waits")?;
    let output = finished.result.map_err(|error| format!("{} {error}", error.kind))?;
    let output: String = output.to_string().chars().take(80).collect();
    Ok(format!("runs ({} effects): {output}", world.begun().len()))
}
