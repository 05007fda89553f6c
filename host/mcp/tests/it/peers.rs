//! Servers that others have written.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use nexus_mcp::hub::{Connect, HttpAuth, ProcessLauncher};
use serde_json::{Map, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
    time::timeout,
};

use crate::support::{Caller, PATIENT, World, call, node, peers, spec, text};

/// A server from npm.
fn javascript(package: &str, arguments: &[&str], world: &World) -> Connect {
    let (program, environment) = node();
    let script = peers().join("node_modules/@modelcontextprotocol").join(package).join("dist/index.js");
    let arguments = std::iter::once(script.to_str().unwrap()).chain(arguments.iter().copied());
    let arguments = arguments.map(ToOwned::to_owned).collect();
    Connect::Stream(Arc::new(ProcessLauncher {
        program,
        arguments,
        environment,
        folder: None,
        tasks: world.tasks.clone(),
    }))
}

/// A server from Python's index.
fn python(program: &str, arguments: &[&str], world: &World) -> Connect {
    let program = peers().join("venv/bin").join(program);
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let environment =
        BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("HOME".to_owned(), "/".to_owned())]);
    Connect::Stream(Arc::new(ProcessLauncher {
        program,
        arguments,
        environment,
        folder: None,
        tasks: world.tasks.clone(),
    }))
}

#[tokio::test]
async fn everything_over_streams() {
    let world = World::new();
    let connect = javascript("server-everything", &["stdio"], &world);
    everything(&world, connect).await;
    world.end().await;
}

#[tokio::test]
async fn everything_over_http() {
    let world = World::new();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (program, environment) = node();
    let mut server = Command::new(program);
    server
        .arg(peers().join("node_modules/@modelcontextprotocol/server-everything/dist/index.js"))
        .arg("streamableHttp");
    server.env_clear().envs(environment).env("PORT", port.to_string()).kill_on_drop(true);
    let mut server = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    timeout(PATIENT, async { while !lines.next_line().await.unwrap().unwrap().contains(&port.to_string()) {} })
        .await
        .unwrap();
    let url = format!("http://127.0.0.1:{port}/mcp").parse().unwrap();
    everything(&world, Connect::Http { url, auth: HttpAuth::None }).await;
    world.end().await;
    server.kill().await.unwrap();
}

async fn everything(world: &World, connect: Connect) {
    let tools = world.trust(spec("app/everything", connect)).await;
    assert!(tools.len() > 5, "{tools:?}");
    let echo = world.call("app/everything", "echo", json!({"message": "from Nexus"})).await.unwrap();
    assert_eq!(text(&echo), "Echo: from Nexus");
    let sum = world.call("app/everything", "get-sum", json!({"a": 2, "b": 40})).await.unwrap();
    assert!(text(&sum).contains("42"), "{}", text(&sum));
    let caller = Caller::accepting();
    let long = call("trigger-long-running-operation", json!({"duration": 1, "steps": 4}), Arc::clone(&caller) as _);
    world.hub.call("app/everything", long).await.unwrap();
    assert!(!caller.progress.lock().unwrap().is_empty());
    let structured = json!({"location": "New York"});
    let structured = world.call("app/everything", "get-structured-content", structured).await.unwrap();
    assert!(structured.structured.is_some_and(|value| value.is_object()));
    let image = world.call("app/everything", "get-tiny-image", json!({})).await.unwrap();
    assert!(image.blocks.iter().any(|block| block["type"] == "image"));
    let prompts = world.hub.prompts("app/everything").await.unwrap();
    let name =
        prompts.iter().find_map(|prompt| prompt["arguments"].as_array().is_none().then(|| prompt["name"].as_str()));
    let prompt =
        world.hub.prompt("app/everything", name.flatten().unwrap(), Map::new(), Caller::accepting()).await.unwrap();
    assert!(!prompt["messages"].as_array().unwrap().is_empty());
    let resources = world.hub.resources("app/everything").await.unwrap();
    let uri = resources[0]["uri"].as_str().unwrap();
    let read = world.hub.read("app/everything", uri, Caller::accepting()).await.unwrap();
    assert!(read["contents"][0]["text"].is_string());
    assert!(!world.hub.templates("app/everything").await.unwrap().is_empty());
    world.hub.ping("app/everything").await.unwrap();
}

#[tokio::test]
async fn filesystem() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let root = folder.path().canonicalize().unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    world.trust(spec("fs", javascript("server-filesystem", &[root.to_str().unwrap()], &world))).await;
    world.call("fs", "write_file", json!({"path": path("a.txt"), "content": "written"})).await.unwrap();
    assert_eq!(fs::read_to_string(root.join("a.txt")).unwrap(), "written");
    let read = world.call("fs", "read_text_file", json!({"path": path("a.txt")})).await.unwrap();
    assert!(text(&read).contains("written"));
    let outside = world.call("fs", "read_text_file", json!({"path": "/etc/passwd"})).await.unwrap();
    assert!(outside.failed && !text(&outside).contains("root:"), "{}", text(&outside));
    world.end().await;
}

#[tokio::test]
async fn memory() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let (program, mut environment) = node();
    environment.insert("MEMORY_FILE_PATH".to_owned(), folder.path().join("memory.jsonl").to_str().unwrap().to_owned());
    let script = peers().join("node_modules/@modelcontextprotocol/server-memory/dist/index.js");
    let arguments = vec![script.to_str().unwrap().to_owned()];
    let tasks = world.tasks.clone();
    let launcher = ProcessLauncher { program, arguments, environment, folder: None, tasks };
    world.trust(spec("memory", Connect::Stream(Arc::new(launcher)))).await;
    let entity = json!({"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]});
    world.call("memory", "create_entities", json!({"entities": [entity]})).await.unwrap();
    let found = world.call("memory", "search_nodes", json!({"query": "Ada"})).await.unwrap();
    assert!(text(&found).contains("first program"), "{}", text(&found));
    world.end().await;
}

#[tokio::test]
async fn time() {
    let world = World::new();
    world.trust(spec("time", python("mcp-server-time", &["--local-timezone", "Etc/UTC"], &world))).await;
    let arguments = json!({"source_timezone": "Etc/UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let converted = world.call("time", "convert_time", arguments).await.unwrap();
    assert!(text(&converted).contains("21:00"), "{}", text(&converted));
    world.end().await;
}

#[tokio::test]
async fn git() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(arguments)
            .current_dir(folder.path());
        assert!(git.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    };
    git(&["init"]);
    git(&["config", "user.name", "Ada"]);
    git(&["config", "user.email", "ada@example.com"]);
    fs::write(folder.path().join("a.txt"), "one\n").unwrap();
    let path = folder.path().to_str().unwrap();
    world.trust(spec("git", python("mcp-server-git", &["--repository", path], &world))).await;
    world.call("git", "git_add", json!({"repo_path": path, "files": ["a.txt"]})).await.unwrap();
    let committed = world.call("git", "git_commit", json!({"repo_path": path, "message": "Begin"})).await.unwrap();
    assert!(!committed.failed, "{}", text(&committed));
    let log = world.call("git", "git_log", json!({"repo_path": path})).await.unwrap();
    assert!(text(&log).contains("Begin"), "{}", text(&log));
    world.end().await;
}

#[tokio::test]
async fn fetch() {
    let world = World::new();
    let app = axum::Router::new().route("/page", axum::routing::get(|| async { "a page of this machine" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/page", listener.local_addr().unwrap());
    let end = world.cancel.clone();
    let serving = axum::serve(listener, app).with_graceful_shutdown(end.cancelled_owned());
    world.tasks.spawn(async move { serving.await.unwrap() });
    world
        .trust(spec("fetch", python("mcp-server-fetch", &["--ignore-robots-txt", "--allow-private-ips"], &world)))
        .await;
    let fetched =
        timeout(Duration::from_secs(40), world.call("fetch", "fetch", json!({"url": url}))).await.unwrap().unwrap();
    assert!(text(&fetched).contains("a page of this machine"), "{}", text(&fetched));
    world.end().await;
}

#[tokio::test]
async fn programs_end_with_the_hub() {
    let world = World::new();
    world.trust(spec("time", python("mcp-server-time", &[], &world))).await;
    let running = || {
        let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let status = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let parent = fs::read_to_string(entry.path().join("stat")).ok()?;
            let ours = parent.rsplit(") ").next()?.split(' ').nth(1)? == std::process::id().to_string();
            (ours && status.contains("mcp-server-time")).then_some(entry.path())
        });
        children.collect::<Vec<PathBuf>>()
    };
    let before = running();
    assert!(!before.is_empty());
    world.end().await;
    let after: Vec<_> = before.iter().filter(|path| path.exists()).collect();
    // Another test may run one of its own.
    assert!(after.len() < before.len(), "{after:?}");
}
