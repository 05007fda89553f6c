//! A guard before the real engine: what Nexus does goes through, and nothing else reaches the engine.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use nexus_sandbox::{
    BuildSpec, DockerDriver, DockerSettings, Driver, EngineAddress, EngineGuard, Exit, GuardSettings, ImageReference,
    Owner, OwnerError, Owners, Profile, Reaped, SandboxError, SandboxSpec, ServerProfile, VolumeSpec, create_body,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpStream, UnixListener, UnixStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    host::Host,
    server::{OneHost, Upstream, gated, server},
    support::{LONG, Speaker, docker, image, owned, owner, program, settings, spec, told, until},
};

const SOCKET: &str = "unix:///var/run/docker.sock";

/// A guard, and between it and the engine one who writes down what comes by.
struct World {
    guard: EngineGuard,
    seen: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
    _ended: DropGuard,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl Fn(&mut GuardSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (seen, ended, tasks) = (Arc::<Mutex<Vec<String>>>::default(), CancellationToken::new(), TaskTracker::new());
        let path = folder.path().join("witness");
        let listener = UnixListener::bind(&path).unwrap();
        tasks.spawn({
            let (seen, ended, tasks) = (seen.clone(), ended.clone(), tasks.clone());
            async move { ended.run_until_cancelled(witness(listener, seen, tasks)).await }
        });
        let mut settings = GuardSettings {
            engine: EngineAddress::Unix(path),
            listen: "tcp://127.0.0.1:0".parse().unwrap(),
            ..GuardSettings::default()
        };
        change(&mut settings);
        let guard = EngineGuard::listen(settings, &tasks).await.unwrap();
        // The guard has looked whether somebody is there.
        until("the look is seen", || async { !seen.lock().unwrap().is_empty() }).await;
        seen.lock().unwrap().clear();
        Self { guard, seen, _folder: folder, _ended: ended.drop_guard() }
    }

    async fn driver_of(&self, owner: Owner) -> DockerDriver {
        let settings = DockerSettings { host: Some(self.guard.address().to_string()), ..settings() };
        DockerDriver::connect(settings, owner, TaskTracker::new()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The first lines of all that the engine was asked.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The status and all that is said until the connection is closed.
    async fn say(&self, bytes: &[u8]) -> (u16, String) {
        let address = self.guard.address().to_string();
        let mut stream = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).await.unwrap();
        // It may be refused before all of it was said.
        let _ = stream.write_all(bytes).await;
        let mut heard = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut heard)).await.expect("an answer in time");
        let heard = String::from_utf8_lossy(&heard).into_owned();
        (heard.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), heard)
    }

    async fn ask(&self, method: &str, target: &str, body: impl AsRef<[u8]>) -> (u16, String) {
        let body = body.as_ref();
        let head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        self.say(&[head.as_bytes(), body].concat()).await
    }

    /// What has to be refused, with a message that says why, before the engine hears of it.
    async fn is_refused(&self, method: &str, target: &str, body: impl AsRef<[u8]>) {
        let (status, heard) = self.ask(method, target, body).await;
        assert_eq!(status, 403, "{method} {target}: {heard}");
        let told: Value = serde_json::from_str(heard.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert!(told["message"].as_str().is_some_and(|why| !why.is_empty()), "{heard}");
        assert_eq!(self.seen(), Vec::<String>::new(), "{method} {target}");
    }
}

async fn witness(listener: UnixListener, seen: Arc<Mutex<Vec<String>>>, tasks: TaskTracker) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let seen = seen.clone();
        tasks.spawn(async move {
            let mut first = vec![0; 4096];
            let length = stream.read(&mut first).await.unwrap_or(0);
            let line = String::from_utf8_lossy(&first[..length]).lines().next().unwrap_or_default().to_owned();
            seen.lock().unwrap().push(line);
            let host = told("DOCKER_HOST").unwrap_or_else(|| SOCKET.to_owned());
            if let Some(path) = host.strip_prefix("unix://") {
                let mut engine = UnixStream::connect(path).await.unwrap();
                let _ = engine.write_all(&first[..length]).await;
                let _ = copy_bidirectional(&mut stream, &mut engine).await;
            } else {
                let mut engine = TcpStream::connect(host.strip_prefix("tcp://").unwrap()).await.unwrap();
                let _ = engine.write_all(&first[..length]).await;
                let _ = copy_bidirectional(&mut stream, &mut engine).await;
            }
        });
    }
}

struct Dead(Owner);

#[async_trait]
impl Owners for Dead {
    async fn is_alive(&self, owner: &Owner) -> Result<bool, OwnerError> {
        Ok(*owner != self.0)
    }
}

fn keeper(spec: SandboxSpec, volume: &str) -> SandboxSpec {
    let volume = VolumeSpec { name: volume.to_owned(), target: "/data".to_owned(), bytes: 8 << 20 };
    let profile = ServerProfile { name: "keeper".to_owned(), volume: Some(volume), ..ServerProfile::default() };
    SandboxSpec { profile: Profile::Server(profile), ..spec }
}

/// What the driver would ask for, to be changed.
fn body(image: &ImageReference) -> Value {
    let owner = Owner { host: "somebody".to_owned(), lease: "none".to_owned() };
    serde_json::to_value(create_body(&spec(image.clone(), &[]), &owner, None, None)).unwrap()
}

fn any_image() -> ImageReference {
    format!("sha256:{}", "0a".repeat(32)).parse().unwrap()
}

#[tokio::test]
async fn a_sandbox_lives_and_ends_through_a_guard_as_it_does_without() {
    let world = World::new().await;
    let owner = owner();
    let driver = world.driver_of(owner.clone()).await;
    let image = image(&driver).await;
    let mut speaker = Speaker::start(&driver, &spec(image.clone(), &[])).await;
    speaker.expect("ready").await;
    speaker.echo("one").await;
    let long = "x".repeat(1 << 20);
    speaker.echo(&long).await;
    speaker.input.shutdown().await.unwrap();
    assert_eq!(speaker.hear().await, None);
    assert_eq!(speaker.handle.wait().await, Exit { code: Some(0) });

    let mut speaker = Speaker::start(&driver, &spec(image.clone(), &["complain"])).await;
    assert_eq!(speaker.hear().await, None);
    assert_eq!(speaker.handle.complaints(), "I have a complaint\n");
    assert_eq!(speaker.handle.wait().await, Exit { code: Some(7) });

    let mut speaker = Speaker::start(&driver, &spec(image.clone(), &["deaf"])).await;
    speaker.expect("ready").await;
    speaker.input.shutdown().await.unwrap();
    assert_eq!(speaker.handle.wait_or_kill(Duration::from_millis(300)).await, Exit { code: Some(137) });

    for words in [&[][..], &["deaf"]] {
        let mut speaker = Speaker::start(&driver, &spec(image.clone(), words)).await;
        speaker.expect("ready").await;
    }
    until("what nobody holds is gone", || async { owned(&owner) == 0 }).await;
}

#[tokio::test]
async fn an_image_is_built_through_a_guard() {
    let world = World::new().await;
    let driver = world.driver_of(owner()).await;
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("program");
    let mut program = std::fs::read(tokio::task::spawn_blocking(program).await.unwrap()).unwrap();
    program.extend_from_slice(owner().lease.as_bytes());
    program.extend_from_slice(format!("{:?}", std::time::SystemTime::now()).as_bytes());
    std::fs::write(&new, &program).unwrap();
    let name = "nexus-test/guarded";
    let built = driver.build_from_program(&new, name).await.unwrap();
    assert!(!built.reused);
    assert!(driver.build_from_program(&new, name).await.unwrap().reused);
    let mut speaker = Speaker::start(&driver, &spec(built.image.clone(), &[])).await;
    speaker.expect("ready").await;
    speaker.handle.kill().await;
    let labels = docker(&["inspect", "--format", "{{json .Config.Labels}}", built.image.as_str()]);
    assert!(labels.contains("nexus.content") && labels.contains("nexus.built"), "{labels}");
    docker(&["image", "rm", "--force", built.image.as_str()]);
}

#[tokio::test]
async fn the_name_of_an_image_of_others_is_not_taken() {
    let world = World::new().await;
    let text = format!("FROM scratch\nLABEL of={}\n", std::process::id());
    let spec = BuildSpec::of_dockerfile(&text, &format!("nexus-test/taken-{}", std::process::id())).unwrap();
    let built = crate::support::driver().await.build(spec, mpsc::channel(1).0).await.unwrap();
    let name = docker(&["inspect", "--format", "{{index .RepoTags 0}}", built.image.as_str()]);
    let query = "rm=true&memory=67108864&memswap=67108864&networkmode=none&version=1&dockerfile=Dockerfile";
    let (status, heard) = world.ask("POST", &format!("/build?t={name}&{query}"), "").await;
    docker(&["image", "rm", &name]);
    assert!(status == 403 && heard.contains("did not build"), "{heard}");
    assert!(!world.seen().iter().any(|line| line.starts_with("POST")), "{:?}", world.seen());
}

#[tokio::test]
async fn a_volume_is_made_given_kept_and_removed_through_a_guard() {
    let world = World::new().await;
    let driver = world.driver_of(owner()).await;
    let image = image(&driver).await;
    let name = format!("nexus-test-guard-{}", std::process::id());
    for heard in ["x", "xx"] {
        let mut speaker = Speaker::start(&driver, &keeper(spec(image.clone(), &["data", "/data"]), &name)).await;
        speaker.expect("added true").await;
        speaker.expect(heard).await;
        speaker.handle.wait().await;
    }
    let foreign = format!("{name}-foreign");
    docker(&["volume", "create", &foreign]);
    assert!(driver.start(&keeper(spec(image.clone(), &[]), &foreign)).await.is_err());
    let mut mounted = body(&image);
    let mount = json!({ "Type": "volume", "Source": foreign, "Target": "/x", "VolumeOptions": { "NoCopy": true } });
    mounted["HostConfig"]["Mounts"] = json!([mount]);
    let (status, heard) = world.ask("POST", "/containers/create", mounted.to_string()).await;
    assert!(status == 403 && heard.contains("was not made by Nexus"), "{heard}");
    assert_eq!(world.ask("DELETE", &format!("/volumes/{foreign}"), "").await.0, 403);
    mounted["HostConfig"]["Mounts"][0]["Source"] = json!(format!("{name}-absent"));
    assert_eq!(world.ask("POST", "/containers/create", mounted.to_string()).await.0, 404);
    docker(&["volume", "rm", &foreign]);
    until("the volume can be removed", || async { driver.remove_volume(&name).await.is_ok() }).await;
}

#[tokio::test]
async fn a_server_reaches_what_is_granted_through_a_guard_and_ends_with_its_relay() {
    let (world, owner) = (World::new().await, owner());
    let driver = world.driver_of(owner.clone()).await;
    let (image, upstream) = (image(&driver).await, Upstream::start().await);
    let words = ["ask", "http://granted.test/page", "tcp granted.test:5432", "http://other.test/page"];
    let profile = gated("asker", OneHost(upstream.address), &["granted.test:5432"]);
    let mut speaker = Speaker::start(&driver, &server(spec(image, &words), profile)).await;
    let report = speaker.report().await;
    for line in [
        "http://granted.test/page -> 200 GET /page HTTP/1.1",
        "tcp granted.test:5432 -> pong",
        "http://other.test/page -> 403 this origin is not granted",
    ] {
        assert!(report.iter().any(|heard| heard == line), "{line} is not in {report:#?}");
    }
    assert_eq!(owned(&owner), 2);
    speaker.handle.kill().await;
    until("both are gone", || async { owned(&owner) == 0 }).await;
}

#[tokio::test]
async fn what_a_dead_host_left_is_removed_through_a_guard() {
    let world = World::new().await;
    let dead = owner();
    let mut host = Host::start(&dead, "docker deaf");
    assert_eq!(host.sandboxes().len(), 3);
    host.kill();
    let driver = world.driver_of(owner()).await;
    assert_eq!(driver.reap(&Dead(dead.clone())).await.unwrap(), Reaped { sandboxes: 3 });
    assert_eq!(owned(&dead), 0);
}

#[tokio::test]
async fn who_listens_ends_with_the_guard() {
    let world = World::new().await;
    let owner = owner();
    let driver = world.driver_of(owner.clone()).await;
    let mut speaker = Speaker::start(&driver, &spec(image(&driver).await, &[])).await;
    speaker.expect("ready").await;
    drop(world);
    until("the sandbox is gone", || async { owned(&owner) == 0 }).await;
}

#[tokio::test]
async fn what_nexus_does_not_do_never_reaches_the_engine() {
    let world = World::new().await;
    let id = "0a".repeat(32);
    let good = body(&any_image());
    for (place, key, value) in [
        ("/HostConfig", "Privileged", json!(true)),
        ("/HostConfig", "privileged", json!(true)),
        ("/HostConfig", "Binds", json!(["/:/host"])),
        ("/HostConfig", "NetworkMode", json!("host")),
        ("/HostConfig", "PidMode", json!("host")),
        ("/HostConfig", "CapAdd", json!(["SYS_ADMIN"])),
        ("/HostConfig", "Runtime", json!("other")),
        ("", "Volumes", json!({ "/x": {} })),
        ("", "User", json!("0:0")),
    ] {
        let mut body = good.clone();
        body.pointer_mut(place).unwrap()[key] = value;
        world.is_refused("POST", "/v1.41/containers/create", body.to_string()).await;
    }
    let text = good.to_string();
    let twice = text.replacen("\"Privileged\":false", "\"Privileged\":true,\"Privileged\":false", 1);
    let outer = text.replacen("{\"", "{\"HostConfig\":{\"Privileged\":true},\"", 1);
    for bad in [twice.as_str(), &outer, "", "[]", "null", "{", "{} {}"] {
        world.is_refused("POST", "/containers/create", bad).await;
    }
    world.is_refused("POST", "/containers/create?name=nexus", &text).await;
    for (method, target) in [
        ("POST", format!("/containers/{id}/exec")),
        ("POST", format!("/exec/{id}/start")),
        ("GET", format!("/containers/{id}/archive?path=/")),
        ("GET", format!("/containers/{id}/logs")),
        ("GET", format!("/containers/{id}/%6Ason")),
        ("GET", format!("/containers/{id}%2Fjson")),
        ("POST", "/containers/%63reate".to_owned()),
        ("POST", "/v1.44/../containers/create".to_owned()),
        ("POST", "/v1.44/%2e%2e/containers/create".to_owned()),
        ("POST", "/v1.30/containers/create".to_owned()),
        ("POST", "//containers/create".to_owned()),
        ("POST", "/containers/prune".to_owned()),
        ("GET", "/containers/json".to_owned()),
        ("GET", "/containers/json?all=true".to_owned()),
        ("GET", "/containers/json?filters=%7B%7D".to_owned()),
        ("GET", "/containers/json?filters=%7B%22label%22%3A%5B%22x%22%5D%7D".to_owned()),
        ("GET", "/images/json".to_owned()),
        ("POST", "/images/create?fromImage=x".to_owned()),
        ("POST", "/images/load".to_owned()),
        ("POST", "/images/x/tag?repo=nexus".to_owned()),
        ("DELETE", "/images/nexus".to_owned()),
        ("POST", "/networks/create".to_owned()),
        ("POST", "/networks/bridge/connect".to_owned()),
        ("GET", "/volumes".to_owned()),
        ("POST", "/volumes/create".to_owned()),
        ("DELETE", "/volumes/redis".to_owned()),
        ("POST", "/build?remote=https://example.com/".to_owned()),
        ("POST", "/build?networkmode=host&t=nexus-a&memory=1&memswap=1".to_owned()),
        ("GET", "/info".to_owned()),
        ("GET", "/events".to_owned()),
        ("GET", "/secrets".to_owned()),
        ("POST", "/swarm/init".to_owned()),
        ("GET", "http://other.example/_ping".to_owned()),
        ("CONNECT", "other.example:80".to_owned()),
        ("OPTIONS", "*".to_owned()),
    ] {
        world.is_refused(method, &target, "").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_of_docker_gets_nowhere() {
    let world = World::new().await;
    let image = image(&crate::support::driver().await).await;
    let guard = world.guard.address().to_string();
    for words in [
        &["run", "--rm", "--privileged", image.as_str()][..],
        &["run", "--rm", "--volume", "/:/host", image.as_str()],
        &["run", "--rm", "--network", "host", image.as_str()],
        &["pull", "busybox"],
        &["volume", "ls"],
        &["system", "info"],
        &["ps"],
    ] {
        let output = std::process::Command::new("docker").args(["--host", &guard]).args(words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && told.contains("rror response from daemon"), "{words:?}: {told}");
    }
    let seen = world.seen();
    assert!(seen.iter().all(|line| line.contains(" /_ping ") || line.contains("/version ")), "{seen:?}");
}

/// The head of a request.
fn head(line: &str, fields: &[&str]) -> String {
    let fields = [&["host: x"], fields].concat().join("\r\n");
    format!("{line} HTTP/1.1\r\n{fields}\r\n\r\n")
}

#[tokio::test]
async fn nothing_is_smuggled_past_a_guard() {
    let world = World::new().await;
    let body = body(&any_image()).to_string();
    let (chunked, long) = ("transfer-encoding: chunked", format!("content-length: {}", body.len()));
    let create = |fields: &[&str], body: &str| head("POST /containers/create", fields) + body;
    let attach = |fields: &[&str]| head(&format!("POST /containers/{}/attach?stream=true", "0a".repeat(32)), fields);
    let ping = |fields: &[&str]| head("GET /_ping", fields);
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let (many, giant) = (["x: y"; 200], format!("x: {}", "x".repeat(64 << 10)));
    for (hostile, statuses) in [
        // Two lengths, in each order, and none.
        (create(&[&long, chunked], &body), &[400, 403][..]),
        (create(&[chunked, "content-length: 5"], "0\r\n\r\nGET /_ping HTTP/1.1\r\n\r\n"), &[400, 403]),
        (create(&[chunked], &chunks), &[403]),
        (create(&["content-length: 5", &long], &body), &[400]),
        (create(&["content-length: -1"], &body), &[400]),
        // Another protocol where there is none, or another one than there is.
        (create(&["connection: upgrade", "upgrade: tcp", &long], &body), &[403]),
        (ping(&["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"]), &[403]),
        (attach(&["connection: upgrade", "upgrade: h2c"]), &[403]),
        (attach(&["connection: close", "upgrade: tcp"]), &[403]),
        (attach(&[]), &[403]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[0, 400]),
        // Too much.
        (ping(&[&giant]), &[0, 400, 431]),
        (ping(&many), &[0, 400, 431]),
        (create(&["content-length: 2097152"], &"x".repeat(2 << 20)), &[0, 413]),
        // What is no request.
        ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), &[0, 400]),
        (head("GET /_ping\u{0}", &[]), &[0, 400]),
    ] {
        let (status, heard) = world.say(hostile.as_bytes()).await;
        let hostile = &hostile[..hostile.len().min(200)];
        assert!(statuses.contains(&status), "{hostile}: {heard}");
        assert_eq!(world.seen(), Vec::<String>::new(), "{hostile}");
    }
    let build = "POST /build?t=nexus-test/a&memory=67108864&memswap=67108864&networkmode=none";
    let giant = head(build, &["content-length: 67108865"]);
    assert_eq!(world.say(giant.as_bytes()).await.0, 413);
    assert_eq!(world.seen(), Vec::<String>::new());
    // What stands behind a request is not read.
    let two = ping(&[]) + &create(&[&long], &body);
    let (status, heard) = world.say(two.as_bytes()).await;
    assert_eq!((status, heard.matches("HTTP/1.1 ").count()), (200, 1), "{heard}");
    assert_eq!(world.seen(), ["GET /_ping HTTP/1.1"]);
}

#[tokio::test]
async fn containers_of_others_are_not_there() {
    let world = World::new().await;
    let driver = crate::support::driver().await;
    let image = image(&driver).await;
    let id = docker(&["create", "--network", "none", "--label", "nexus.lease=x", image.as_str()]);
    for (method, rest) in [
        ("GET", "/json"),
        ("POST", "/start"),
        ("POST", "/kill"),
        ("POST", "/wait?condition=removed"),
        ("PUT", "/archive?path=/"),
        ("DELETE", "?force=true"),
    ] {
        let (status, heard) = world.ask(method, &format!("/containers/{id}{rest}"), "").await;
        assert_eq!(status, 404, "{method} {rest}: {heard}");
    }
    let attach = format!(
        "POST /containers/{id}/attach?stream=true HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n"
    );
    assert_eq!(world.say(attach.as_bytes()).await.0, 404);
    let mut joins = body(&image);
    joins["HostConfig"]["NetworkMode"] = json!(format!("container:{id}"));
    assert_eq!(world.ask("POST", "/containers/create", joins.to_string()).await.0, 404);
    let looks = format!("GET /containers/{id}/json HTTP/1.1");
    assert!(world.seen().iter().all(|line| *line == looks), "{:?}", world.seen());
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &id]), "created");
    docker(&["rm", &id]);
}

#[tokio::test]
async fn what_can_write_to_its_root_is_never_started() {
    let world = World::new().await;
    let driver = world.driver_of(owner()).await;
    let image = image(&driver).await;
    let name = format!("nexus-test-holder-{}", std::process::id());
    let labels = json!({ "nexus.volume": name });
    let made = world.ask("POST", "/volumes/create", json!({ "Name": name, "Labels": labels }).to_string()).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let mut holder = body(&image);
    holder["Entrypoint"] = json!(["/never"]);
    holder["HostConfig"]["ReadonlyRootfs"] = json!(false);
    let mount = json!({ "Type": "volume", "Source": name, "Target": "/volume", "VolumeOptions": { "NoCopy": true } });
    holder["HostConfig"]["Mounts"] = json!([mount]);
    let (status, heard) = world.ask("POST", "/containers/create", holder.to_string()).await;
    assert_eq!(status, 201, "{heard}");
    let told: Value = serde_json::from_str(heard.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let id = told["Id"].as_str().unwrap();
    // Another guard has to ask the engine what it is.
    for world in [&world, &World::new().await] {
        let (status, heard) = world.ask("POST", &format!("/containers/{id}/start"), "").await;
        assert!(status == 403 && heard.contains("never runs"), "{heard}");
        let (status, heard) = world.ask("PUT", &format!("/containers/{id}/archive?path=/"), "x".repeat(2048)).await;
        assert_eq!(status, 403, "{heard}");
        assert_eq!(world.ask("PUT", &format!("/containers/{id}/archive?path=/etc"), "").await.0, 403);
    }
    assert_eq!(world.ask("DELETE", &format!("/containers/{id}?force=true&v=true"), "").await.0, 204);
    assert_eq!(world.ask("DELETE", &format!("/volumes/{name}"), "").await.0, 204);
}

#[tokio::test]
async fn a_guard_says_whether_its_engine_answers() {
    let world = World::new().await;
    EngineGuard::ask(world.guard.address()).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let tasks = TaskTracker::new();
    let settings = GuardSettings {
        engine: EngineAddress::Unix(folder.path().join("none")),
        listen: EngineAddress::Unix(folder.path().join("guard")),
        ..GuardSettings::default()
    };
    let guard = EngineGuard::listen(settings.clone(), &tasks).await.unwrap();
    let error = EngineGuard::ask(guard.address()).await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("cannot be reached") && why.contains("start the engine"), "{why}");

    let refused = EngineGuard::listen(settings.clone(), &tasks).await;
    assert!(matches!(refused, Err(SandboxError::Listen { .. })), "{refused:?}");
    drop(guard);
    let error = EngineGuard::ask(&settings.listen).await.unwrap_err();
    assert!(error.to_string().contains("look at the log of the guard"), "{error}");
    // What a guard that was killed has left is in nobody's way.
    let EngineAddress::Unix(path) = &settings.listen else { unreachable!() };
    let _ = std::fs::remove_file(path);
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    EngineGuard::listen(settings, &tasks).await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_gives_his_place_to_others() {
    let world = World::with(|settings| {
        settings.connections = 1;
        settings.head = Duration::from_millis(200);
    })
    .await;
    let address = world.guard.address().to_string();
    let mut silent = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).await.unwrap();
    silent.write_all(b"GET /_pi").await.unwrap();
    assert_eq!(world.ask("GET", "/_ping", "").await.0, 200);
}

#[tokio::test]
async fn who_leaves_gives_his_place_to_others() {
    let world = World::with(|settings| settings.connections = 1).await;
    let driver = crate::support::driver().await;
    let mut speaker = Speaker::start(&driver, &spec(image(&driver).await, &[])).await;
    speaker.expect("ready").await;
    let address = world.guard.address().to_string();
    let mut waits = TcpStream::connect(address.strip_prefix("tcp://").unwrap()).await.unwrap();
    let wait = format!("POST /containers/{}/wait?condition=removed", speaker.handle.id());
    waits.write_all(head(&wait, &[]).as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(LONG, waits.read_exact(&mut answer)).await.expect("the answer begins at once").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(waits);
    assert_eq!(world.ask("GET", "/_ping", "").await.0, 200);
    speaker.echo("still here").await;
    speaker.handle.kill().await;
}
