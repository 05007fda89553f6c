//! A host that can be killed: this program, started again.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use nexus_sandbox::{Driver, Owner, ProcessDriver, Profile, SandboxSpec, ServerProfile};
use tokio_util::task::TaskTracker;

use crate::{
    server::Nowhere,
    support::{Speaker, driver_of, image, program, spec, told},
};

const OWNER: &str = "NEXUS_TEST_OWNER";
const PLAY: &str = "NEXUS_TEST_PLAY";

/// A host in a process of its own. Dropped, it is killed.
pub(crate) struct Host {
    child: Child,
    said: std::io::Lines<BufReader<ChildStdout>>,
}

impl Host {
    /// Starts one that has sandboxes, and waits until it has them.
    pub(crate) fn start(owner: &Owner, play: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "host::plays_the_host", "--ignored", "--nocapture"]);
        command.env(OWNER, format!("{} {}", owner.host, owner.lease)).env(PLAY, play);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    /// The ids of its sandboxes, once all run.
    pub(crate) fn sandboxes(&mut self) -> Vec<String> {
        let lines = self.said.by_ref().map(Result::unwrap);
        let ids = lines.skip_while(|line| !line.contains("sandbox ")).take_while(|line| !line.contains("all run"));
        ids.filter_map(|line| line.split("sandbox ").nth(1).map(str::to_owned)).collect()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other tests start it"]
#[expect(clippy::print_stdout, reason = "how it tells the other tests what it has")]
async fn plays_the_host() {
    let (Some(owner), Some(play)) = (told(OWNER), told(PLAY)) else { return };
    let (host, lease) = owner.split_once(' ').unwrap();
    let owner = Owner { host: host.to_owned(), lease: lease.to_owned() };
    let tasks = TaskTracker::new();
    let mut words: Vec<&str> = play.split(' ').collect();
    let kind = words.remove(0);
    let (driver, spec): (Box<dyn Driver>, _) = if kind == "process" {
        let program = program().to_str().unwrap().to_owned();
        let command = std::iter::once(program).chain(words.iter().map(|word| (*word).to_owned())).collect();
        let spec = SandboxSpec { command, ..SandboxSpec::new("none".parse().unwrap()) };
        (Box::new(ProcessDriver::new(tasks.clone()).unwrap()), spec)
    } else {
        let driver = driver_of(owner).await;
        let spec = spec(image(&driver).await, &words);
        (Box::new(driver), spec)
    };
    let mut held = Vec::new();
    for number in 0..3 {
        let mut spec = spec.clone();
        if kind == "server" {
            let gate = Some(Arc::new(Nowhere) as _);
            let tcp = vec!["db.internal:5432".parse().unwrap()];
            spec.profile = Profile::Server(ServerProfile { name: format!("s{number}"), volume: None, gate, tcp });
        }
        let mut speaker = Speaker::start(&*driver, &spec).await;
        speaker.expect("ready").await;
        println!("sandbox {}", speaker.handle.id());
        held.push(speaker);
    }
    println!("all run");
    std::future::pending::<()>().await;
}
