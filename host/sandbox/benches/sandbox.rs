//! What a sandbox costs: from nothing to its first line, beside `docker run` of the same image, and a line there and back.
//!
//! `cargo bench -p nexus-sandbox`, on an engine at its usual socket or where `DOCKER_HOST` says.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that cannot run ends")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nexus_sandbox::{DockerDriver, DockerSettings, Driver, Owner, Sandbox, SandboxSpec};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio_util::task::TaskTracker;

const PROGRAM: &str =
    "fn main() { println!(\"ready\"); for l in std::io::stdin().lines() { println!(\"{}\", l.unwrap()); } }";
const STARTS: usize = 30;
const LINES: usize = 20_000;

fn main() {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    let driver = driver().await;
    let image = driver.build_from_program(&program(), "nexus-bench/echo").await.unwrap().image;
    let spec = SandboxSpec::new(image.clone());
    // The first start of all is slower for both.
    let _ = (cold(&driver, &spec).await, docker_run(image.as_str()));
    let (mut own, mut run) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        own.push(cold(&driver, &spec).await);
        run.push(docker_run(image.as_str()));
    }
    let (own_p50, run_p50) =
        (tell("cold sandbox to its first line", own), tell("`docker run --rm -i` of the same", run));
    println!("ratio of the medians: {:.2}", own_p50.as_secs_f64() / run_p50.as_secs_f64());
    tell("a line there and back", lines(&driver, &spec).await);
}

/// The median of what was measured, which is told with its tail.
fn tell(what: &str, mut measured: Vec<Duration>) -> Duration {
    measured.sort_unstable();
    let at = |share: usize| measured[(measured.len() - 1) * share / 100];
    println!("{what}: p50 {:?}, p99 {:?} ({} times)", at(50), at(99), measured.len());
    at(50)
}

async fn cold(driver: &DockerDriver, spec: &SandboxSpec) -> Duration {
    let begin = Instant::now();
    let Sandbox { mut input, output, handle } = driver.start(spec).await.unwrap();
    let mut line = String::new();
    tokio::io::BufReader::new(output).read_line(&mut line).await.unwrap();
    let took = begin.elapsed();
    assert_eq!(line, "ready\n");
    input.shutdown().await.unwrap();
    handle.wait().await;
    took
}

fn docker_run(image: &str) -> Duration {
    let begin = Instant::now();
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "-i", image]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the command line of Docker is installed");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let took = begin.elapsed();
    assert_eq!(line, "ready\n");
    drop(child.stdin.take());
    child.wait().unwrap();
    took
}

async fn lines(driver: &DockerDriver, spec: &SandboxSpec) -> Vec<Duration> {
    let Sandbox { mut input, output, handle } = driver.start(spec).await.unwrap();
    let mut lines = tokio::io::BufReader::new(output).lines();
    lines.next_line().await.unwrap();
    let mut took = Vec::with_capacity(LINES);
    for _ in 0..LINES {
        let begin = Instant::now();
        input.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").await.unwrap();
        input.flush().await.unwrap();
        lines.next_line().await.unwrap().unwrap();
        took.push(begin.elapsed());
    }
    handle.kill().await;
    took
}

async fn driver() -> DockerDriver {
    #[expect(clippy::disallowed_methods, reason = "where the engine is")]
    let host = std::env::var("DOCKER_HOST").ok();
    let owner = Owner { host: "bench".to_owned(), lease: std::process::id().to_string() };
    let settings = DockerSettings { host, ..DockerSettings::default() };
    DockerDriver::connect(settings, owner, TaskTracker::new()).await.unwrap_or_else(|error| panic!("{error}"))
}

fn program() -> std::path::PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-echo");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-", "-o"]).arg(&program);
    let mut child = rustc.stdin(Stdio::piped()).spawn().expect("rustc runs");
    child.stdin.take().unwrap().write_all(PROGRAM.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    program
}
