//! Outside servers: their volume, and the ways out.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_model::{TcpDestination, WebOrigin};
use nexus_sandbox::{
    DockerDriver, DockerSettings, Driver, Gate, Profile, Refused, SandboxError, SandboxSpec, ServerProfile, VolumeSpec,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::support::{Speaker, docker, driver, driver_of, image, owned, owner, relay_of, settings, spec, until};

/// Grants nothing.
pub(crate) struct Nowhere;

#[async_trait]
impl Gate for Nowhere {
    async fn open(&self, _: &str, origin: &WebOrigin) -> Result<TcpStream, Refused> {
        Err(Refused::NotGranted(origin.to_string()))
    }
}

/// Grants what is on the host `granted.test` to the server `asker`, and has it at an address of this machine.
pub(crate) struct OneHost(pub(crate) SocketAddr);

impl OneHost {
    async fn connect(&self, server: &str, host: &str, what: String) -> Result<TcpStream, Refused> {
        if server != "asker" || host != "granted.test" {
            return Err(Refused::NotGranted(what));
        }
        TcpStream::connect(self.0).await.map_err(|error| Refused::Unreachable(error.into()))
    }
}

#[async_trait]
impl Gate for OneHost {
    async fn open(&self, server: &str, origin: &WebOrigin) -> Result<TcpStream, Refused> {
        self.connect(server, &origin.host().to_string(), origin.to_string()).await
    }

    async fn open_tcp(&self, server: &str, destination: &TcpDestination) -> Result<TcpStream, Refused> {
        self.connect(server, destination.name(), destination.to_string()).await
    }
}

/// A server on this machine, at all of its addresses. It says `pong` to `ping`, `hello` to a request, and to all else the same.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    _running: DropGuard,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let running = ended.clone().drop_guard();
        let (own, end) = (tasks.clone(), ended.clone());
        tasks.spawn(async move {
            while let Some(Ok((stream, _))) = end.run_until_cancelled(listener.accept()).await {
                own.spawn(answer(stream));
            }
        });
        Self { address, _running: running }
    }
}

async fn answer(mut stream: TcpStream) {
    let mut heard = vec![0; 4096];
    let length = stream.read(&mut heard).await.unwrap_or(0);
    let text = String::from_utf8_lossy(&heard[..length]).into_owned();
    if text == "ping" {
        let _ = stream.write_all(b"pong").await;
    } else if let Some(first) = text.lines().next().filter(|first| first.ends_with("HTTP/1.1")) {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{first}", first.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    } else {
        let (mut from, mut to) = stream.into_split();
        if to.write_all(&heard[..length]).await.is_ok() {
            let _ = copy(&mut from, &mut to).await;
        }
    }
}

/// A specification of a server by this name.
pub(crate) fn server(spec: SandboxSpec, profile: ServerProfile) -> SandboxSpec {
    SandboxSpec { profile: Profile::Server(profile), ..spec }
}

pub(crate) fn gated(name: &str, gate: impl Gate + 'static, tcp: &[&str]) -> ServerProfile {
    let tcp = tcp.iter().map(|text| text.parse().unwrap()).collect();
    ServerProfile { name: name.to_owned(), gate: Some(Arc::new(gate)), tcp, volume: None }
}

#[tokio::test]
async fn a_server_reaches_what_is_granted_and_nothing_else() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let image = image(&driver).await;
    let upstream = Upstream::start().await;
    let port = upstream.address.port();
    let wanted = [
        ("http://granted.test/page", "200 GET /page HTTP/1.1"),
        ("http://other.test/page", "403 this origin is not granted"),
        ("http://169.254.169.254/latest", "403 this origin is not granted"),
        ("connect granted.test:443", "200 pong"),
        ("connect other.test:443", "403"),
        // As the names are, and at a port that only root has elsewhere.
        ("tcp granted.test:5432", "pong"),
        ("tcp granted.test:80", "pong"),
        ("bytes granted.test:5432", "all came back"),
        // The gate refuses it: it is closed.
        ("tcp denied.test:5432", ""),
    ];
    let own = format!("127.0.0.1:{port}");
    let machine: Vec<String> =
        addresses_of_this_machine().iter().map(|address| format!("{address}:{port}")).chain([own]).collect();
    assert!(machine.len() > 1, "this machine has an address");
    let closed = [
        "1.1.1.1:443",
        "8.8.8.8:53",
        "172.17.0.1:80",
        "example.com:443",
        "granted.test:5433",
        "granted.test:3128",
        "127.0.0.1:5432",
        "127.0.0.1:80",
        "127.0.0.4:5432",
        "[::1]:3128",
    ];
    let closed: Vec<&str> = closed.into_iter().chain(machine.iter().map(String::as_str)).collect();
    let words: Vec<&str> =
        std::iter::once("ask").chain(wanted.map(|(what, _)| what)).chain(closed.iter().copied()).collect();
    let tcp = ["granted.test:5432", "granted.test:80", "denied.test:5432"];
    let spec = server(spec(image, &words), gated("asker", OneHost(upstream.address), &tcp));
    let mut speaker = Speaker::start(&driver, &spec).await;
    let report = speaker.report().await;
    for (what, answer) in wanted {
        assert!(report.contains(&format!("{what} -> {answer}")), "{what} -> {answer} is not in {report:#?}");
    }
    for what in closed {
        let line = report.iter().find(|line| line.starts_with(&format!("{what} ->")));
        assert!(line.is_some_and(|line| line.contains("failed")), "{what} is open: {report:#?}");
    }
    speaker.input.shutdown().await.unwrap();
    speaker.handle.wait().await;
    assert_eq!(owned(&owner), 0);
}

/// What others reach this machine by.
fn addresses_of_this_machine() -> Vec<String> {
    let output = std::process::Command::new("hostname").arg("--all-ip-addresses").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().filter(|address| !address.contains(':')).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_server_has_no_network_but_that_of_its_relay_which_has_none() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let spec = server(spec(image(&driver).await, &["look"]), gated("asker", Nowhere, &["db.internal:5432"]));
    let mut speaker = Speaker::start(&driver, &spec).await;
    let report = speaker.report().await;
    for line in
        ["routes 0", "devices lo", "resolves false", "writable /dev/shm", "hosts false", "NoNewPrivs: 1", "Seccomp: 2"]
    {
        assert!(report.contains(&line.to_owned()), "{line:?} is not in {report:#?}");
    }
    let relay = relay_of(speaker.handle.id());
    for (what, value) in [
        (".HostConfig.NetworkMode", r#""none""#),
        (".HostConfig.ExtraHosts", r#"["db.internal:127.0.0.2"]"#),
        (".HostConfig.CapDrop", r#"["ALL"]"#),
        (".HostConfig.CapAdd", "null"),
        (".HostConfig.Privileged", "false"),
        (".HostConfig.SecurityOpt", r#"["no-new-privileges:true"]"#),
        (".HostConfig.ReadonlyRootfs", "true"),
        (".Config.User", r#""65534:65534""#),
        (".HostConfig.PidsLimit", "16"),
        (".HostConfig.Memory", "33554432"),
        (".HostConfig.MemorySwap", "33554432"),
        (".HostConfig.Binds", "null"),
        (".HostConfig.AutoRemove", "true"),
        (".Config.StdinOnce", "true"),
        // Which the engine sets.
        (".Config.Env", r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]"#),
        (".Mounts", "[]"),
    ] {
        assert_eq!(docker(&["inspect", "--format", &format!("{{{{json {what}}}}}"), &relay]), value, "{what}");
    }
    let networks = docker(&["inspect", "--format", "{{json .NetworkSettings.Networks}}", speaker.handle.id()]);
    assert_eq!(networks, "{}");
    let labels = docker(&["inspect", "--format", "{{json .Config.Labels}}", &relay]);
    assert!(labels.contains(&format!(r#""nexus.lease":"{}""#, owner.lease)), "{labels}");
    speaker.handle.kill().await;
}

#[tokio::test]
async fn a_server_ends_with_its_relay_and_the_relay_with_its_server() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let image = image(&driver).await;
    let spec = server(spec(image, &["deaf"]), gated("short", Nowhere, &[]));
    let mut speaker = Speaker::start(&driver, &spec).await;
    speaker.expect("ready").await;
    assert_eq!(owned(&owner), 2);
    docker(&["kill", &relay_of(speaker.handle.id())]);
    speaker.handle.wait().await;
    assert_eq!(owned(&owner), 0);

    let mut speaker = Speaker::start(&driver, &spec).await;
    speaker.expect("ready").await;
    assert_eq!(owned(&owner), 2);
    speaker.handle.wait_or_kill(Duration::ZERO).await;
    assert_eq!(owned(&owner), 0);
}

#[tokio::test]
async fn a_start_with_a_relay_that_nobody_waits_for_leaves_nothing() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let image = image(&driver).await;
    for after in [5, 40, 160, 320, 640] {
        let spec = server(spec(image.clone(), &["deaf"]), gated("short", Nowhere, &["db.internal:5432"]));
        let _ = tokio::time::timeout(Duration::from_millis(after), driver.start(&spec)).await;
    }
    // The start goes on and is ended then, so that there may be nothing yet.
    tokio::time::sleep(Duration::from_secs(2)).await;
    until("all are gone", || async { owned(&owner) == 0 }).await;
}

#[tokio::test]
async fn a_server_that_does_not_start_leaves_no_relay() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let image = image(&driver).await;
    let absent = SandboxSpec { command: vec!["/absent".to_owned()], ..spec(image.clone(), &[]) };
    let unknown = spec(format!("sha256:{}", "0".repeat(64)).parse().unwrap(), &[]);
    for spec in [absent, unknown] {
        assert!(driver.start(&server(spec, gated("short", Nowhere, &[]))).await.is_err());
        assert_eq!(owned(&owner), 0);
    }
}

#[tokio::test]
async fn without_the_relay_servers_with_grants_are_refused_and_told_what_to_do() {
    let absent = std::env::temp_dir().join("nexus-no-relay");
    for relay in [None, Some(absent.clone())] {
        let settings = DockerSettings { relay: relay.clone(), ..settings() };
        let driver = DockerDriver::connect(settings, owner(), TaskTracker::new()).await.unwrap();
        let spec = spec(image(&driver).await, &["deaf"]);
        let error = driver.start(&server(spec.clone(), gated("short", Nowhere, &[]))).await.unwrap_err();
        assert!(matches!(&error, SandboxError::NoRelay { place } if *place == relay), "{error}");
        assert!(error.to_string().contains("cargo xtask build"), "{error}");
        // Others need none.
        let mut other = Speaker::start(&driver, &server(spec, ServerProfile::default())).await;
        other.expect("ready").await;
        other.handle.kill().await;
    }
    let settings = DockerSettings { relay: Some(crate::support::program()), ..settings() };
    let driver = DockerDriver::connect(settings, owner(), TaskTracker::new()).await.unwrap();
    let spec = server(spec(image(&driver).await, &["deaf"]), gated("short", Nowhere, &[]));
    let error = driver.start(&spec).await.unwrap_err();
    assert!(matches!(error, SandboxError::Relay(_)), "{error}");
}

#[tokio::test]
async fn destinations_without_a_gate_are_refused() {
    let driver = driver().await;
    let profile = ServerProfile { tcp: vec!["db.internal:5432".parse().unwrap()], ..ServerProfile::default() };
    let refused = driver.start(&server(spec(image(&driver).await, &[]), profile)).await;
    assert!(matches!(refused, Err(SandboxError::Spec(_))));
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let settings = DockerSettings {
        proxy: nexus_sandbox::ProxyBounds { connections: 2, ..nexus_sandbox::ProxyBounds::default() },
        ..settings()
    };
    let driver = DockerDriver::connect(settings, owner(), TaskTracker::new()).await.unwrap();
    let upstream = Upstream::start().await;
    // One after the other, each far more often than there are places.
    let words = std::iter::once("ask").chain(std::iter::repeat_n("tcp granted.test:5432", 20)).collect::<Vec<_>>();
    let gate = OneHost(upstream.address);
    let spec = server(spec(image(&driver).await, &words), gated("asker", gate, &["granted.test:5432"]));
    let mut speaker = Speaker::start(&driver, &spec).await;
    assert_eq!(speaker.report().await, vec!["tcp granted.test:5432 -> pong"; 20]);
    speaker.handle.kill().await;
}

#[tokio::test]
async fn a_volume_outlives_the_server() {
    let driver = driver().await;
    let image = image(&driver).await;
    let name = format!("nexus-test-{}", std::process::id());
    let volume = VolumeSpec { name: name.clone(), target: "/data".to_owned(), bytes: 8 << 20 };
    for heard in ["x", "xx"] {
        let spec = server(spec(image.clone(), &["data", "/data"]), keeper(volume.clone()));
        let mut speaker = Speaker::start(&driver, &spec).await;
        speaker.expect("added true").await;
        speaker.expect(heard).await;
        speaker.handle.wait().await;
    }
    let foreign = VolumeSpec { name: format!("{name}-foreign"), ..volume };
    docker(&["volume", "create", &foreign.name]);
    let spec = server(spec(image, &[]), keeper(foreign.clone()));
    assert!(driver.start(&spec).await.is_err());
    assert!(driver.remove_volume(&foreign.name).await.is_err());
    docker(&["volume", "rm", &foreign.name]);
    until("the volume can be removed", || async { driver.remove_volume(&name).await.is_ok() }).await;
    driver.remove_volume(&name).await.unwrap();
}

fn keeper(volume: VolumeSpec) -> ServerProfile {
    ServerProfile { name: "keeper".to_owned(), volume: Some(volume), ..ServerProfile::default() }
}
