//! An event of one application that calls an operation of another, with the program as a program.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    program::{Program, run, text},
    support::{ShoutingEndpoint, write_app},
};

const NOT_PERMITTED: &str = "/v1/logs?q=events%20are%20not%20delivered";

/// Writes an application that shouts, with more at the end of its `app.yaml`.
fn write(apps: &Path, name: &str, more: &str) {
    let from = write_app(&apps.with_file_name("template"));
    assert!(Command::new("cp").arg("-r").arg(&from).arg(apps.join(name)).status().unwrap().success());
    let text = fs::read_to_string(from.join("app.yaml")).unwrap().replace("name: echo-desk", &format!("name: {name}"));
    fs::write(apps.join(name).join("app.yaml"), text + more).unwrap();
}

/// Replaces a line in an application of the running server, which serves it when this returns.
async fn change(program: &Program, app: &str, from: &str, to: &str) {
    let path = format!("/v1/apps/{app}/files/app.yaml");
    let read = program.get(&path).send().await.unwrap();
    let tag = read.headers()["etag"].clone();
    let text = read.text().await.unwrap();
    assert!(text.contains(from), "{text}");
    let put = program.ask(Method::PUT, &path).header("if-match", tag).body(text.replace(from, to));
    put.send().await.unwrap().error_for_status().unwrap();
}

async fn publish(program: &Program, id: &str) {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "order.placed", "subject": "lamp",
        "data": { "text": format!("order {id}") },
    });
    let request =
        program.ask(Method::POST, "/v1/events?app=shop").header("content-type", "application/cloudevents+json");
    assert_eq!(request.body(event.to_string()).send().await.unwrap().status(), 202);
}

/// What `nexus_events_refused_total` says, by reason.
async fn refused(program: &Program) -> (u64, u64) {
    let text = program.get("/metrics").send().await.unwrap().text().await.unwrap();
    let of = |reason: &str| {
        let name = format!("nexus_events_refused_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    };
    (of("not_declared"), of("not_admitted"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_calls_another_application_once_both_permit_it() {
    let dir = tempfile::tempdir().unwrap();
    let apps = dir.path().join("apps");
    fs::create_dir(&apps).unwrap();
    write(&apps, "shop", "  security: { may_call: [] }\n");
    write(
        &apps,
        "crm",
        "  security: { callable_by: [] }\n  triggers:\n    - name: orders\n      on: { event: order.placed, app: shop }\n      \
         operation: shout\n",
    );
    let checked = run(dir.path(), &["check", "apps"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let endpoint = ShoutingEndpoint::start().await;
    let program = Program::start(dir.path(), &endpoint.url, &[]);

    publish(&program, "1").await;
    publish(&program, "2").await;
    assert_eq!(refused(&program).await, (2, 0));
    let said = program.records(NOT_PERMITTED, 1).await;
    assert_eq!((said.len(), &said[0]["app"], &said[0]["level"]), (1, &json!("crm"), &json!("warn")), "{said:?}");
    let message = said[0]["message"].as_str().unwrap();
    assert!(message.contains("add `crm` to `security.may_call` in the `app.yaml` of `shop`"), "{message}");

    change(&program, "shop", "may_call: []", "may_call: [crm]").await;
    publish(&program, "3").await;
    publish(&program, "4").await;
    assert_eq!(refused(&program).await, (2, 2));
    let trigger = &program.json("/v1/apps/crm/triggers").await["triggers"][0];
    assert_eq!((&trigger["app"], &trigger["waiting"]), (&json!("shop"), &json!(0)));
    let mend = "add `shop` to `security.callable_by` in the `app.yaml` of `crm`";
    assert!(trigger["refused"].as_str().unwrap().ends_with(mend), "{trigger}");
    let (url, folder) = (program.served.url.clone(), dir.path().to_owned());
    let shown = tokio::task::spawn_blocking(move || {
        run(&folder, &["events", "triggers", "crm", "--url", &url, "--data-dir", "data"])
    });
    let shown = shown.await.unwrap();
    assert!(text(&shown.stdout).contains("event of shop") && text(&shown.stderr).contains(mend), "{shown:?}");

    change(&program, "crm", "callable_by: []", "callable_by: [shop]").await;
    publish(&program, "5").await;
    let executions = caused(&program).await;
    let [execution] = executions.as_slice() else { panic!("{executions:?}") };
    assert_eq!((&execution["app"], &execution["output"]["shout"]), (&json!("crm"), &json!("ORDER 5")));
    assert_eq!((&execution["cause"]["emitter"], &execution["cause"]["event_id"]), (&json!("shop"), &json!("5")));
    assert_eq!(refused(&program).await, (2, 2));
    assert!(program.json("/v1/apps/crm/triggers").await["triggers"][0].get("refused").is_none());
    // Records keep their order: what was said of refusals is there when that is which was said after them.
    program.records("/v1/logs?app=crm&q=application%20loaded", 2).await;
    let said = program.records(NOT_PERMITTED, 2).await;
    assert_eq!(said.len(), 2, "one for each reason: {said:?}");
}

/// The executions that triggers caused, when there are any.
async fn caused(program: &Program) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let listed = program.json("/v1/executions?limit=200").await;
        let mut found = listed["executions"].as_array().unwrap().clone();
        found.retain(|one| one.get("cause").is_some());
        if !found.is_empty() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the trigger calls nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
