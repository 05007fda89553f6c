//! Secrets: kept, used, and never shown.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use nexus_server::{Environment, Server, Surroundings};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Host, problem};

const CANARY: &str = "canary-5b1f0c2d9e";

impl Host {
    fn put(&self, path: &str, value: &Value) -> reqwest::RequestBuilder {
        self.ask(Method::PUT, path).json(value)
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["secrets"].as_array().unwrap().iter().map(|secret| secret["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_kept_listed_and_forgotten() {
    let mut host = Host::start().await;
    for path in ["/v1/secrets/openai", "/v1/apps/echo-desk/secrets/crm", "/v1/apps/not-there-yet/secrets/crm"] {
        assert_eq!(host.put(path, &json!({ "value": CANARY })).send().await.unwrap().status(), 204);
    }
    assert!(host.stop().await);
    host.resume().await;
    let listed = host.json("/v1/secrets").await;
    assert_eq!(listed, json!({ "secrets": [{ "name": "openai", "source": "store" }] }));
    assert_eq!(names(&host.json("/v1/apps/echo-desk/secrets").await), ["crm"]);
    let log = host.json("/v1/audit?action=secret.").await;
    let targets: Vec<_> = log["records"].as_array().unwrap().iter().map(|record| &record["target"]).collect();
    assert_eq!(targets, ["not-there-yet/crm", "echo-desk/crm", "-/openai"]);
    assert!(!log.to_string().contains(CANARY));
    let delete = |path: &str| host.ask(Method::DELETE, path).send();
    assert_eq!(delete("/v1/apps/echo-desk/secrets/crm").await.unwrap().status(), 204);
    problem(delete("/v1/apps/echo-desk/secrets/crm").await.unwrap(), 404, "unknown_secret").await;
    assert!(names(&host.json("/v1/apps/echo-desk/secrets").await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_secret_is_refused_without_repeating_it() {
    let host = Host::start().await;
    for (path, body, status, code) in [
        ("/v1/secrets/openai", json!({ "value": "" }), 422, "invalid_secret"),
        ("/v1/secrets/openai", json!({ "valu": CANARY }), 400, "invalid_json"),
        ("/v1/secrets/openai", json!(CANARY), 400, "invalid_json"),
        ("/v1/secrets/openai", json!({ "value": [CANARY] }), 400, "invalid_json"),
        ("/v1/secrets/canary-5b1f0c2d9e--", json!({ "value": "x" }), 422, "invalid_secret"),
        ("/v1/apps/No%20App/secrets/x", json!({ "value": "x" }), 422, "invalid_secret"),
    ] {
        let told = problem(host.put(path, &body).send().await.unwrap(), status, code).await;
        assert!(!told.to_string().contains(CANARY), "{told}");
    }
    let writer = host.key(&["apps:echo-desk:write"]).await;
    for (path, status) in
        [("/v1/apps/echo-desk/secrets/x", 204), ("/v1/apps/other/secrets/x", 403), ("/v1/secrets/x", 403)]
    {
        let request = host.client.put(format!("{}{path}", host.url())).bearer_auth(&writer);
        let answer = request.json(&json!({ "value": "x" })).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_and_files_are_listed_behind_the_store() {
    let mut host = Host::start_with(|settings| settings.secrets_dir = settings.data_dir.join("given")).await;
    assert!(host.stop().await);
    let given = host.settings.secrets_dir.clone();
    fs::create_dir_all(given.join("echo-desk")).unwrap();
    fs::write(given.join("echo-desk/crm"), CANARY).unwrap();
    let environment: Environment = [("NEXUS_SECRET_OPENAI", CANARY)].into_iter().collect();
    let running =
        Server::start_in(host.settings.clone(), Surroundings { environment, ..Surroundings::default() }).await.unwrap();
    let get = async |path: &str| {
        let request = host.client.get(format!("{}{path}", running.url())).bearer_auth(&host.admin);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let of_host = get("/v1/secrets").await;
    assert_eq!(of_host, json!({ "secrets": [{ "name": "openai", "source": "environment" }] }));
    let of_app = get("/v1/apps/echo-desk/secrets").await;
    assert_eq!(of_app, json!({ "secrets": [{ "name": "crm", "source": "files" }] }));
    assert!(running.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reads_a_value_from_standard_input() {
    let host = Host::start().await;
    let (url, key) = (host.url(), host.admin.clone());
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexus"));
        command.args(["secret", "set", "crm", "--app", "echo-desk", "--json", "--url", &url]).env("NEXUS_KEY", key);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{CANARY}").unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), r#"{"name":"crm","set":true}"#);
    assert_eq!(names(&host.json("/v1/apps/echo-desk/secrets").await), ["crm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_master_key_is_told_at_once() {
    let mut host = Host::start().await;
    assert!(host.stop().await);
    let data = &host.settings.data_dir;
    fs::remove_file(data.join("master-key")).unwrap();
    let error = Server::start_in(host.settings.clone(), Surroundings::default()).await.unwrap_err().to_string();
    assert!(error.contains("another master key") && error.contains("master-key"), "{error}");
}
