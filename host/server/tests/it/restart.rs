//! What survives a restart.

use nexus_server::{DataDirError, Server, StartError};
use serde_json::json;

use crate::support::{Host, SHOUT};

#[tokio::test(flavor = "multi_thread")]
async fn keys_executions_and_metrics_survive() {
    let mut host = Host::start().await;
    let key = host.key(&["apps:echo-desk:invoke"]).await;
    let call = host.shout("before").send().await.unwrap();
    let id = call.headers()["x-nexus-execution"].to_str().unwrap().to_owned();
    let count = |text: String| -> Vec<String> {
        let lines =
            text.lines().filter(|line| line.contains("echo-desk") && line.contains("model") && line.contains("call"));
        lines.map(str::to_owned).collect()
    };
    let before = count(host.get("/metrics").send().await.unwrap().text().await.unwrap());
    assert!(!before.is_empty());
    assert!(host.stop().await);

    host.settings.apps = None;
    host.resume().await;
    let after = count(host.get("/metrics").send().await.unwrap().text().await.unwrap());
    assert_eq!(before, after);
    let execution = host.json(&format!("/v1/executions/{id}")).await;
    assert_eq!(execution["output"], json!({ "shout": "BEFORE" }));
    let again = host.client.post(format!("{}{SHOUT}", host.url())).bearer_auth(&key).json(&json!({ "text": "x" }));
    assert_eq!(again.send().await.unwrap().status(), 200);
    assert_eq!(host.json("/v1/keys").await["keys"].as_array().unwrap().len(), 2, "no second admin key was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_has_one_server() {
    let mut host = Host::start().await;
    let second = Server::start(host.settings.clone()).await;
    assert!(matches!(second, Err(StartError::DataDir(DataDirError::InUse(_)))), "{second:?}");
    assert_eq!(host.shout("x").send().await.unwrap().status(), 200);
    assert!(host.stop().await);
    host.resume().await;
    assert_eq!(host.shout("x").send().await.unwrap().status(), 200);
}
