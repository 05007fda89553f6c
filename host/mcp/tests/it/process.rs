//! Plain processes of the host.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nexus_mcp::hub::{Connect, Fault, Launcher, ProcessLauncher};
use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;

use crate::support::{World, spec};

fn shell(script: &str, tasks: &TaskTracker) -> ProcessLauncher {
    ProcessLauncher {
        program: PathBuf::from("/bin/sh"),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: BTreeMap::from([("GIVEN".to_owned(), "yes".to_owned())]),
        folder: None,
        tasks: tasks.clone(),
    }
}

#[tokio::test]
async fn it_has_no_environment_but_the_one_that_is_given() {
    let tasks = TaskTracker::new();
    let mut launched = shell("/usr/bin/env", &tasks).launch().await.unwrap();
    let mut said = String::new();
    launched.output.read_to_string(&mut said).await.unwrap();
    let mut names: Vec<_> = said.lines().map(|line| line.split('=').next().unwrap()).collect();
    // The shell itself adds some.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    assert_eq!(names, ["GIVEN"]);
}

#[tokio::test]
async fn it_ends_with_all_that_it_has_started() {
    let tasks = TaskTracker::new();
    // It ignores that its input is closed, and has a child of its own.
    let script = "trap '' HUP TERM; sleep 600 & echo $$ $!; while :; do sleep 600; done";
    let mut launched = shell(script, &tasks).launch().await.unwrap();
    let mut said = String::new();
    while !said.ends_with('\n') {
        said.push(char::from(launched.output.read_u8().await.unwrap()));
    }
    let ids: Vec<String> = said.split_whitespace().map(ToOwned::to_owned).collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| Path::new("/proc").join(id).exists()));
    drop(launched);
    tasks.close();
    tokio::time::timeout(Duration::from_secs(30), tasks.wait()).await.unwrap();
    // The first is reaped here; the other by whoever reaps orphans, and may be a zombie until then.
    assert!(!Path::new("/proc").join(&ids[0]).exists());
    let end = Instant::now() + Duration::from_secs(30);
    while fs::read_to_string(format!("/proc/{}/stat", ids[1])).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < end, "the child still runs");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_it_is_told() {
    let world = World::new();
    let failing = shell("echo 'no database at 10.0.0.1' >&2; sleep 0.2; exit 3", &world.tasks);
    world.hub.serve(spec("failing", Connect::Stream(Arc::new(failing))));
    let error = world.hub.offered("failing").await.unwrap_err();
    assert_eq!(error.code(), "mcp.connect", "{error}");
    assert!(error.to_string().contains("no database at 10.0.0.1"), "{error}");
    let missing = ProcessLauncher { program: PathBuf::from("/no/such/program"), ..shell("", &world.tasks) };
    world.hub.serve(spec("missing", Connect::Stream(Arc::new(missing))));
    let error = world.hub.offered("missing").await.unwrap_err();
    assert!(matches!(&error.fault, Fault::Launch(why) if why.contains("/no/such/program")), "{error}");
    let error = world.call("nobody", "tool", json!({})).await.unwrap_err();
    assert_eq!(error.code(), "mcp.unknown-server");
    world.end().await;
}
