//! Outside servers: their volume, and the one way out.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use nexus_model::WebOrigin;
use nexus_sandbox::{Gate, Profile, Refused, SandboxSpec, ServerProfile, VolumeSpec};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::support::{Speaker, docker, driver, driver_of, image, owned, owner, spec, until};

/// Grants nothing.
pub(crate) struct Nowhere;

#[async_trait]
impl Gate for Nowhere {
    async fn open(&self, _: &str, origin: &WebOrigin) -> Result<TcpStream, Refused> {
        Err(Refused::NotGranted(origin.clone()))
    }
}

/// Grants what is on the host `granted.test` to the server `asker`, and has it at an address of this machine.
struct OneHost(SocketAddr);

#[async_trait]
impl Gate for OneHost {
    async fn open(&self, server: &str, origin: &WebOrigin) -> Result<TcpStream, Refused> {
        if server != "asker" || !origin.authority().starts_with("granted.test") {
            return Err(Refused::NotGranted(origin.clone()));
        }
        TcpStream::connect(self.0).await.map_err(|error| Refused::Unreachable(error.into()))
    }
}

/// Says `pong` to `ping`, and `hello` to a request.
async fn upstream(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut heard = vec![0; 4096];
        let length = stream.read(&mut heard).await.unwrap_or(0);
        let heard = String::from_utf8_lossy(&heard[..length]).into_owned();
        let answer = match heard.as_str() {
            "ping" => "pong".to_owned(),
            asked => {
                let first = asked.lines().next().unwrap_or_default().to_owned();
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{first}", first.len())
            }
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

fn server(spec: SandboxSpec, name: &str, gate: Option<Arc<dyn Gate>>, volume: Option<VolumeSpec>) -> SandboxSpec {
    SandboxSpec { profile: Profile::Server(ServerProfile { name: name.to_owned(), volume, gate }), ..spec }
}

#[tokio::test]
async fn a_server_reaches_what_is_granted_and_nothing_else() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let image = image(&driver).await;
    let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = Arc::new(OneHost(listener.local_addr().unwrap()));
    tasks.spawn({
        let ended = ended.clone();
        async move { ended.run_until_cancelled(upstream(listener)).await }
    });
    let wanted = [
        ("http://granted.test/page", "200 GET /page HTTP/1.1"),
        ("http://other.test/page", "403 this origin is not granted"),
        ("http://169.254.169.254/latest", "403 this origin is not granted"),
        ("connect granted.test:443", "200 pong"),
        ("connect other.test:443", "403"),
    ];
    let closed = ["1.1.1.1:443", "8.8.8.8:53", "172.17.0.1:80", "example.com:443"];
    let words: Vec<&str> = std::iter::once("ask").chain(wanted.map(|(what, _)| what)).chain(closed).collect();
    let mut speaker = Speaker::start(&driver, &server(spec(image, &words), "asker", Some(gate), None)).await;
    let report = speaker.report().await;
    for (what, answer) in wanted {
        assert!(report.contains(&format!("{what} -> {answer}")), "{what} -> {answer} is not in {report:#?}");
    }
    for what in closed {
        let line = report.iter().find(|line| line.starts_with(what));
        assert!(line.is_some_and(|line| line.contains("failed")), "{what} is open: {report:#?}");
    }
    speaker.handle.wait().await;
    assert_eq!(owned(&owner), 0);
    ended.cancel();
}

#[tokio::test]
async fn nobody_else_asks_the_proxy_of_a_server() {
    let driver = driver().await;
    let spec = server(spec(image(&driver).await, &["env"]), "asker", Some(Arc::new(Nowhere)), None);
    let mut speaker = Speaker::start(&driver, &SandboxSpec { command: vec!["/program".into()], ..spec.clone() }).await;
    speaker.expect("ready").await;
    let environment = docker(&["inspect", "--format", "{{json .Config.Env}}", speaker.handle.id()]);
    let proxy = environment.split("HTTP_PROXY=http://").nth(1).unwrap().split('"').next().unwrap();
    // From this machine it can be connected to, and is closed at once.
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let _ = stream.write_all(b"GET http://granted.test/ HTTP/1.1\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    speaker.handle.kill().await;
}

#[tokio::test]
async fn a_volume_outlives_the_server() {
    let driver = driver().await;
    let image = image(&driver).await;
    let name = format!("nexus-test-{}", std::process::id());
    let volume = VolumeSpec { name: name.clone(), target: "/data".to_owned(), bytes: 8 << 20 };
    for heard in ["x", "xx"] {
        let spec = server(spec(image.clone(), &["data", "/data"]), "keeper", None, Some(volume.clone()));
        let mut speaker = Speaker::start(&driver, &spec).await;
        speaker.expect("added true").await;
        speaker.expect(heard).await;
        speaker.handle.wait().await;
    }
    let foreign = VolumeSpec { name: format!("{name}-foreign"), ..volume };
    docker(&["volume", "create", &foreign.name]);
    let spec = server(spec(image, &[]), "keeper", None, Some(foreign.clone()));
    assert!(nexus_sandbox::Driver::start(&driver, &spec).await.is_err());
    assert!(driver.remove_volume(&foreign.name).await.is_err());
    docker(&["volume", "rm", &foreign.name]);
    until("the volume can be removed", || async { driver.remove_volume(&name).await.is_ok() }).await;
    driver.remove_volume(&name).await.unwrap();
}

#[tokio::test]
async fn a_server_that_ends_takes_its_network_along() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let spec = server(spec(image(&driver).await, &["deaf"]), "short", Some(Arc::new(Nowhere)), None);
    let mut speaker = Speaker::start(&driver, &spec).await;
    speaker.expect("ready").await;
    assert_eq!(owned(&owner), 2);
    speaker.handle.wait_or_kill(Duration::ZERO).await;
    assert_eq!(owned(&owner), 0);
}
