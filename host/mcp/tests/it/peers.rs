//! Servers that others have written.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use nexus_mcp::hub::{Connect, Fault, HttpAuth, ProcessLauncher};
use nexus_tests::PostgresServer;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::support::{Caller, PATIENT, World, call, node, peers, spec, text};

const EVERYTHING: &str = "@modelcontextprotocol/server-everything";
const FILESYSTEM: &str = "@modelcontextprotocol/server-filesystem";
const MEMORY: &str = "@modelcontextprotocol/server-memory";
const POSTGRES: &str = "@bytebase/dbhub";

/// A server of the host's that is spoken with over its streams.
pub(crate) fn on_streams(
    program: PathBuf,
    arguments: &[&str],
    environment: &[(&str, String)],
    world: &World,
) -> Connect {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let given = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let environment = environment_of_programs().into_iter().chain(given).collect();
    let (folder, tasks) = (None, world.tasks.clone());
    Connect::Stream(Arc::new(ProcessLauncher { program, arguments, environment, folder, tasks }))
}

/// A server from npm.
fn javascript(package: &str, arguments: &[&str], environment: &[(&str, String)], world: &World) -> Connect {
    let script = script(package);
    let arguments: Vec<_> = std::iter::once(script.as_str()).chain(arguments.iter().copied()).collect();
    on_streams(node().0, &arguments, environment, world)
}

fn script(package: &str) -> String {
    peers().join("node_modules").join(package).join("dist/index.js").to_str().unwrap().to_owned()
}

/// A server from Python's index.
fn python(program: &str, arguments: &[&str], world: &World) -> Connect {
    on_streams(peers().join("venv/bin").join(program), arguments, &[], world)
}

fn environment_of_programs() -> BTreeMap<String, String> {
    let (_, mut environment) = node();
    environment.insert("HOME".to_owned(), "/".to_owned());
    environment
}

/// A server of the host's that is spoken with over HTTP. It is killed when this is dropped.
pub(crate) struct Serving {
    port: u16,
    auth: HttpAuth,
    program: Child,
}

impl Serving {
    /// Starts a program that is told its port, and waits until it listens.
    pub(crate) async fn start(program: impl FnOnce(String) -> (PathBuf, Vec<String>)) -> Self {
        Self::start_with(&[], HttpAuth::None, program).await
    }

    /// The same with more of an environment, where `PORT` is its port, and with what it wants to be shown.
    async fn start_with(
        environment: &[(&str, String)],
        auth: HttpAuth,
        program: impl FnOnce(String) -> (PathBuf, Vec<String>),
    ) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let (program, arguments) = program(port.to_string());
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment_of_programs()).env("PORT", port.to_string());
        command.envs(environment.iter().map(|(name, value)| (*name, value))).kill_on_drop(true);
        let program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut this = Self { port, auth, program };
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert_eq!(this.program.try_wait().unwrap(), None, "it has ended");
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENT, listens).await.unwrap();
        this
    }

    pub(crate) fn connect(&self) -> Connect {
        let url = format!("http://127.0.0.1:{}/mcp", self.port).parse().unwrap();
        Connect::Http { url, auth: self.auth.clone() }
    }

    pub(crate) async fn end(mut self) {
        self.program.kill().await.unwrap();
    }
}

#[tokio::test]
async fn everything_over_streams() {
    let world = World::new();
    let connect = javascript(EVERYTHING, &["stdio"], &[], &world);
    everything(&world, connect).await;
    world.end().await;
}

#[tokio::test]
async fn everything_over_http() {
    let world = World::new();
    let server = Serving::start(|_| (node().0, vec![script(EVERYTHING), "streamableHttp".to_owned()])).await;
    everything(&world, server.connect()).await;
    world.end().await;
    server.end().await;
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
    world.trust(spec("fs", javascript(FILESYSTEM, &[root.to_str().unwrap()], &[], &world))).await;
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
    let file = folder.path().join("memory.jsonl").to_str().unwrap().to_owned();
    world.trust(spec("memory", javascript(MEMORY, &[], &[("MEMORY_FILE_PATH", file)], &world))).await;
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
async fn postgres() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let database = PostgresServer::start(folder.path()).unwrap();
    let dsn = [("DSN", database.url("127.0.0.1"))];
    world.trust(spec("streams", javascript(POSTGRES, &["--transport", "stdio"], &dsn, &world))).await;
    let created = "CREATE TABLE sacks (id serial PRIMARY KEY, grams integer NOT NULL CHECK (grams > 0), label text)";
    assert!(sql(&world, "streams", created).await.is_ok());
    let written =
        sql(&world, "streams", "INSERT INTO sacks (grams, label) VALUES (25000, 'Säcke '' ; --') RETURNING id");
    assert_eq!(written.await, Ok(json!([{"id": 1}])));
    for (wrong, why) in [
        ("SELECT * FROM nowhere", r#"relation "nowhere" does not exist"#),
        ("INSERT INTO sacks (grams) VALUES (-1)", "violates check constraint"),
        ("SELEC 1", "syntax error"),
    ] {
        let failed = sql(&world, "streams", wrong).await.unwrap_err();
        assert!(failed.contains(why), "{failed}");
    }
    let read = "SELECT grams, label FROM sacks";
    let rows = json!([{"grams": 25000, "label": "Säcke ' ; --"}]);
    assert_eq!(sql(&world, "streams", read).await, Ok(rows.clone()), "the session has survived");
    let tables = world.call("streams", "search_objects", json!({"object_type": "table"})).await.unwrap();
    assert!(text(&tables).contains("sacks"), "{}", text(&tables));
    // Another of its processes, over HTTP, sees what the first has written, and lets in who has its token.
    let started = |port: String| {
        let arguments = ["--transport", "http", "--host", "127.0.0.1", "--port", &port];
        let script = std::iter::once(script(POSTGRES));
        (node().0, script.chain(arguments.map(ToOwned::to_owned)).collect())
    };
    let token = HttpAuth::Bearer(Arc::new(SecretString::from("a-token-of-32-characters-or-more")));
    let environment = [&dsn[..], &[("DBHUB_AUTH_TOKEN", "a-token-of-32-characters-or-more".to_owned())]].concat();
    let server = Serving::start_with(&environment, token, started).await;
    world.trust(spec("http", server.connect())).await;
    assert_eq!(sql(&world, "http", read).await, Ok(rows));
    assert!(sql(&world, "http", "UPDATE sacks SET grams = 24000").await.is_ok());
    let weighed = sql(&world, "streams", "SELECT sum(grams)::integer AS grams FROM sacks").await;
    assert_eq!(weighed, Ok(json!([{"grams": 24000}])));
    let Connect::Http { url, .. } = server.connect() else { unreachable!() };
    world.hub.serve(spec("stranger", Connect::Http { url, auth: HttpAuth::None }));
    let stranger = world.hub.offered("stranger").await.unwrap_err();
    assert!(matches!(stranger.fault, Fault::LoginFailed(_)), "{stranger}");
    world.end().await;
    server.end().await;
}

/// The rows that a statement answers with, or what is wrong with it.
async fn sql(world: &World, key: &str, statement: &str) -> Result<Value, String> {
    let answered = world.call(key, "execute_sql", json!({"sql": statement})).await.unwrap();
    let mut told: Value = serde_json::from_str(&text(&answered)).unwrap();
    assert_eq!(told["success"], !answered.failed, "{told}");
    if answered.failed {
        return Err(told["error"].as_str().unwrap().to_owned());
    }
    Ok(told["data"]["statements"][0]["rows"].take())
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
