//! The driver without an engine.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use nexus_sandbox::{Exit, Limits, ProcessDriver, SandboxSpec};
use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;

use crate::{
    host::Host,
    support::{Speaker, owner, program, until},
};

fn spec(words: &[&str]) -> SandboxSpec {
    let program = program().to_str().unwrap().to_owned();
    let command = std::iter::once(program).chain(words.iter().map(|word| (*word).to_owned())).collect();
    SandboxSpec { command, ..SandboxSpec::new("none".parse().unwrap()) }
}

fn driver() -> ProcessDriver {
    ProcessDriver::new(TaskTracker::new()).unwrap()
}

fn runs(id: &str) -> bool {
    // A zombie has no program.
    let program = PathBuf::from(format!("/proc/{id}/exe"));
    std::fs::read_link(program).is_ok()
}

#[tokio::test]
async fn lines_go_there_and_back_until_the_input_is_closed() {
    let driver = driver();
    let mut speaker = Speaker::start(&driver, &spec(&[])).await;
    speaker.expect("ready").await;
    speaker.echo("one").await;
    speaker.input.shutdown().await.unwrap();
    assert_eq!(speaker.hear().await, None);
    assert_eq!(speaker.handle.wait().await, Exit { code: Some(0) });
}

#[tokio::test]
async fn it_has_the_environment_that_it_is_given() {
    let driver = driver();
    let environment = BTreeMap::from([("WHO".to_owned(), "somebody".to_owned())]);
    let mut speaker = Speaker::start(&driver, &SandboxSpec { environment, ..spec(&["env"]) }).await;
    assert_eq!(speaker.report().await, ["WHO=somebody"]);
}

#[tokio::test]
async fn its_memory_is_bounded_and_its_end_is_told() {
    let driver = driver();
    let limits = Limits { memory: 64 << 20, ..Limits::default() };
    let mut speaker = Speaker::start(&driver, &SandboxSpec { limits, ..spec(&["memory"]) }).await;
    speaker.expect("ready").await;
    assert_eq!(speaker.hear().await, None);
    // The program aborts when it gets no memory.
    assert_eq!(speaker.handle.wait().await, Exit { code: Some(134) });
    let mut speaker = Speaker::start(&driver, &spec(&["complain"])).await;
    assert_eq!(speaker.hear().await, None);
    assert_eq!(speaker.handle.wait().await, Exit { code: Some(7) });
    assert_eq!(speaker.handle.complaints(), "I have a complaint\n");
}

#[tokio::test]
async fn what_ignores_the_end_of_its_input_is_killed() {
    let driver = driver();
    let mut speaker = Speaker::start(&driver, &spec(&["deaf"])).await;
    speaker.expect("ready").await;
    speaker.input.shutdown().await.unwrap();
    let exit = speaker.handle.wait_or_kill(Duration::from_millis(100)).await;
    assert_eq!(exit, Exit { code: Some(137) });
    assert!(!runs(speaker.handle.id()));
}

#[tokio::test]
async fn it_dies_with_its_host() {
    let mut host = Host::start(&owner(), "process deaf");
    let ids = host.sandboxes();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| runs(id)));
    host.kill();
    until("all are dead", || async { !ids.iter().any(|id| runs(id)) }).await;
}
