//! How a sandbox lives and ends.

use std::time::{Duration, Instant};

use nexus_sandbox::{DockerDriver, DockerSettings, Driver, Exit, SandboxError};
use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;

use crate::support::{LONG, Speaker, driver, driver_of, image, owned, owner, settings, spec, until};

#[tokio::test]
async fn lines_go_there_and_back_until_the_input_is_closed() {
    let driver = driver().await;
    let mut speaker = Speaker::start(&driver, &spec(image(&driver).await, &[])).await;
    speaker.expect("ready").await;
    speaker.echo("one").await;
    speaker.echo("two").await;
    speaker.input.shutdown().await.unwrap();
    assert_eq!(speaker.hear().await, None);
    assert_eq!(speaker.handle.wait().await, Exit { code: Some(0) });
}

#[tokio::test]
async fn how_it_ended_and_what_it_complained_about_is_told() {
    let driver = driver().await;
    let mut speaker = Speaker::start(&driver, &spec(image(&driver).await, &["complain"])).await;
    assert_eq!(speaker.hear().await, None);
    assert_eq!(speaker.handle.complaints(), "I have a complaint\n");
    assert_eq!(speaker.handle.wait().await, Exit { code: Some(7) });
}

#[tokio::test]
async fn what_ignores_the_end_of_its_input_is_killed() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let mut speaker = Speaker::start(&driver, &spec(image(&driver).await, &["deaf"])).await;
    speaker.expect("ready").await;
    speaker.input.shutdown().await.unwrap();
    let exit = speaker.handle.wait_or_kill(Duration::from_millis(300)).await;
    assert_eq!(exit, Exit { code: Some(137) });
    assert_eq!(owned(&owner), 0);
}

#[tokio::test]
async fn what_nobody_holds_ends() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let image = image(&driver).await;
    for words in [&[][..], &["deaf"]] {
        let mut speaker = Speaker::start(&driver, &spec(image.clone(), words)).await;
        speaker.expect("ready").await;
    }
    until("both are gone", || async { owned(&owner) == 0 }).await;
}

#[tokio::test]
async fn who_writes_faster_than_is_read_waits() {
    let driver = driver().await;
    let mut speaker = Speaker::start(&driver, &spec(image(&driver).await, &["flood"])).await;
    speaker.expect("ready").await;
    // The program is asked again and again how far it is, while nothing is read.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        speaker.input.write_all(b"how far?\n").await.unwrap();
        speaker.input.flush().await.unwrap();
    }
    while speaker.handle.complaints().lines().count() < 6 {
        speaker.hear().await.unwrap();
    }
    let complaints = speaker.handle.complaints();
    let counts: Vec<u64> = complaints.lines().map(|line| line.parse().unwrap()).collect();
    // It stands still, and what is between the two is bounded: pipes, the engine's buffer, the socket.
    assert!(counts[4] == counts[5] && counts[5] < 8 << 10, "KiB written: {counts:?}");
    speaker.handle.kill().await;
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_nothing() {
    let owner = owner();
    let driver = driver_of(owner.clone()).await;
    let image = image(&driver).await;
    for after in [5, 20, 40, 80, 160] {
        let spec = spec(image.clone(), &["deaf"]);
        let _ = tokio::time::timeout(Duration::from_millis(after), driver.start(&spec)).await;
    }
    // The start goes on and is ended then, so that there may be nothing yet.
    tokio::time::sleep(Duration::from_secs(2)).await;
    until("all are gone", || async { owned(&owner) == 0 }).await;
}

#[tokio::test]
async fn without_an_engine_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let mute = std::os::unix::net::UnixListener::bind(folder.path().join("mute")).unwrap();
    let at = |name: &str| format!("unix://{}", folder.path().join(name).display());
    for (host, mend) in [
        (at("absent"), "apt install docker.io"),
        (at("dead"), "start the engine"),
        (at("mute"), "DOCKER_HOST"),
        ("ftp://somewhere".to_owned(), "tcp://host:port"),
    ] {
        let begin = Instant::now();
        let settings = DockerSettings { host: Some(host.clone()), ..settings() };
        let error = DockerDriver::connect(settings, owner(), TaskTracker::new()).await.unwrap_err();
        assert!(matches!(error, SandboxError::Unreachable { .. }) && error.to_string().contains(mend), "{error}");
        assert!(begin.elapsed() < LONG, "{host}");
    }
    drop(mute);
}
