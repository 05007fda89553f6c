//! Applications: shown, imported, imported again, refused.

use std::{fs, time::Duration};

use nexus_server::{AppsError, Server, Settings, StartError};
use serde_json::{Value, json};

use crate::{
    program::Program,
    support::{Host, ShoutingEndpoint, break_app, settings, write_app},
};

#[tokio::test(flavor = "multi_thread")]
async fn applications_are_shown() {
    let host = Host::start().await;
    let list = host.json("/v1/apps").await;
    assert_eq!(list["apps"][0]["name"], "echo-desk");
    assert_eq!(list["apps"][0]["status"], "active");
    assert_eq!(list["apps"][0]["operations"], json!(["shout"]));
    let app = host.json("/v1/apps/echo-desk").await;
    assert_eq!(app["timeout_ms"], 30_000);
    let operation = &app["operation_details"][0];
    assert_eq!((&operation["name"], &operation["implementation"]), (&json!("shout"), &json!("prompt")));
    assert_eq!(operation["input"]["required"], json!(["text"]));
    assert_eq!(operation["optimize"]["mode"], "recommend");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_picked_up_and_a_faulty_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let app = write_app(&dir.path().join("apps"));
    let endpoint = ShoutingEndpoint::start().await;
    let program = Program::start(dir.path(), &endpoint.url, &[]);
    let first = revision(&program).await;
    let prompt = app.join("prompts/shout.prompt.yml");
    let text = fs::read_to_string(&prompt).unwrap();
    fs::write(&prompt, text.replace("Say it louder.", "Say it as loud as you can.")).unwrap();
    let second = changed(&program, &first).await;
    break_app(&app);
    // Only the log says that nothing happens, and why.
    let said = program.records("/v1/logs?level=error&q=the%20folder%20was%20not%20imported", 1).await;
    assert!(said[0]["fields"]["error"].as_str().unwrap().contains("faults"), "{said:?}");
    assert_eq!(revision(&program).await, second);
    assert_eq!(program.call("still").send().await.unwrap().status(), 200);
    write_app(&dir.path().join("apps"));
    assert_eq!(changed(&program, &second).await, first, "the same files are the same revision");
}

async fn revision(program: &Program) -> String {
    program.json("/v1/apps/echo-desk").await["revision"].as_str().unwrap().to_owned()
}

async fn changed(program: &Program, from: &str) -> String {
    for _ in 0..100 {
        let revision = revision(program).await;
        if revision != from {
            return revision;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the change was not picked up")
}

async fn refused(settings: Settings) -> StartError {
    Server::start(settings).await.map(|_| ()).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_folder_is_refused_with_every_fault_and_nothing_of_it_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let broken = write_app(&dir.path().join("apps"));
    let good = dir.path().join("apps/good-desk");
    fs::create_dir_all(&good).unwrap();
    for file in ["schemas/text.json", "schemas/shout.json", "prompts/shout.prompt.yml"] {
        fs::create_dir_all(good.join(file).parent().unwrap()).unwrap();
        fs::copy(broken.join(file), good.join(file)).unwrap();
    }
    let manifest = fs::read_to_string(broken.join("app.yaml")).unwrap();
    fs::write(good.join("app.yaml"), manifest.replace("echo-desk", "good-desk")).unwrap();
    break_app(&broken);
    let settings = settings(dir.path(), "http://127.0.0.1:9/v1");
    let error = refused(settings.clone()).await;
    let StartError::Apps(AppsError::Faults { faults, .. }) = error else { panic!("{error:?}") };
    let faults: Vec<_> = faults.values().flatten().collect();
    assert!(faults.len() >= 5, "{faults:#?}");
    for (file, word) in [
        ("app.yaml", "descripton"),
        ("app.yaml", "txt.json"),
        ("app.yaml", "sometimes"),
        ("app.yaml", "3"),
        ("prompts/shout.prompt.yml", "modle"),
    ] {
        assert!(faults.iter().any(|fault| fault.file == file && fault.message.contains(word)), "{word}: {faults:#?}");
    }
    let running = Server::start(Settings { apps: None, insecure_local: true, ..settings }).await.unwrap();
    let apps: Value = reqwest::get(format!("{}/v1/apps", running.url())).await.unwrap().json().await.unwrap();
    assert_eq!(apps["apps"], json!([]), "nothing is half-imported");
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_applications_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("apps")).unwrap();
    let error = refused(settings(dir.path(), "http://127.0.0.1:9/v1")).await;
    assert!(matches!(error, StartError::Apps(AppsError::Empty(_))), "{error:?}");
}
