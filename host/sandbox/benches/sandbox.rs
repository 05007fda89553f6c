//! What a sandbox costs: from nothing to its first line, beside `docker run` of the same image and beside a server with grants, which
//! has a relay; a line there and back; and what a server connects to outside, beside the same without a sandbox.
//!
//! `cargo bench -p nexus-sandbox`, on an engine at its usual socket or where `DOCKER_HOST` says.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark that cannot run ends")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use nexus_model::{TcpDestination, WebOrigin};
use nexus_sandbox::{
    DockerDriver, DockerSettings, Driver, Gate, Owner, Profile, Refused, Sandbox, SandboxSpec, ServerProfile,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// Says each line that it hears. `rounds ADDRESS N` is answered with the nanoseconds of each of so many bytes there and back,
/// `bulk ADDRESS N` with those of so many bytes there and back at once.
const PROGRAM: &str = r#"
use std::{io::*, net::*, thread, time::*};
fn main() {
    println!("ready");
    for line in stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let connect = || { let s = TcpStream::connect(words[1]).unwrap(); s.set_nodelay(true).unwrap(); s };
        let count = || words[2].parse::<usize>().unwrap();
        match words[0] {
            "rounds" => {
                let (mut stream, mut byte) = (connect(), [0; 1]);
                for _ in 0..count() {
                    let begin = Instant::now();
                    stream.write_all(b"x").unwrap();
                    stream.read_exact(&mut byte).unwrap();
                    println!("{}", begin.elapsed().as_nanos());
                }
            }
            "bulk" => {
                let (begin, mut stream, count) = (Instant::now(), connect(), count());
                let mut writer = stream.try_clone().unwrap();
                let writing = thread::spawn(move || {
                    for _ in 0..count >> 16 { writer.write_all(&[7; 1 << 16]).unwrap(); }
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                copy(&mut stream, &mut sink()).unwrap();
                writing.join().unwrap();
                println!("{}", begin.elapsed().as_nanos());
            }
            _ => println!("{line}"),
        }
    }
}
"#;
const ROUNDS: usize = 2_000;
const BULK: usize = 64 << 20;
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
    let server = granted(&spec).await;
    let _ = (cold(&driver, &spec).await, docker_run(image.as_str()), cold(&driver, &server).await);
    let (mut own, mut run, mut related) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        own.push(cold(&driver, &spec).await);
        run.push(docker_run(image.as_str()));
        related.push(cold(&driver, &server).await);
    }
    let related = tell("cold server with grants to its first line", related);
    let (own_p50, run_p50) =
        (tell("cold sandbox to its first line", own), tell("`docker run --rm -i` of the same", run));
    println!("ratio of the medians: {:.2}", own_p50.as_secs_f64() / run_p50.as_secs_f64());
    println!("added by the relay: {:?}", related.saturating_sub(own_p50));
    tell("a line there and back", lines(&driver, &spec).await);
    outside(&driver, &server).await;
}

/// Has one destination, which echoes.
struct Echo(std::net::SocketAddr);

#[async_trait]
impl Gate for Echo {
    async fn open(&self, _: &str, origin: &WebOrigin) -> Result<TcpStream, Refused> {
        Err(Refused::NotGranted(origin.to_string()))
    }

    async fn open_tcp(&self, _: &str, _: &TcpDestination) -> Result<TcpStream, Refused> {
        let stream = TcpStream::connect(self.0).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(stream)
    }
}

/// The same as a server that may connect to something.
async fn granted(spec: &SandboxSpec) -> SandboxSpec {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = std::sync::Arc::new(Echo(listener.local_addr().unwrap()));
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tasks.spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    let tcp = vec!["echo.test:7".parse().unwrap()];
    let profile = ServerProfile { name: "bench".to_owned(), gate: Some(gate), tcp, volume: None };
    SandboxSpec { profile: Profile::Server(profile), ..spec.clone() }
}

/// What a server has of a destination.
async fn outside(driver: &DockerDriver, server: &SandboxSpec) {
    let Sandbox { mut input, output, handle } = driver.start(server).await.unwrap();
    let mut lines = tokio::io::BufReader::new(output).lines();
    lines.next_line().await.unwrap();
    let told = async |lines: &mut tokio::io::Lines<_>| {
        let line: Option<String> = lines.next_line().await.unwrap();
        Duration::from_nanos(line.unwrap().parse().unwrap())
    };
    input.write_all(format!("rounds echo.test:7 {ROUNDS}\nbulk echo.test:7 {BULK}\n").as_bytes()).await.unwrap();
    input.flush().await.unwrap();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rounds.push(told(&mut lines).await);
    }
    tell("a byte to a destination and back, through the relay", rounds);
    let took = told(&mut lines).await;
    println!("{} MiB there and back through the relay: {took:?}", BULK >> 20);
    handle.kill().await;
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
    let relay = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("nexus-relay");
    let settings = DockerSettings { host, relay: Some(relay), ..DockerSettings::default() };
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
