//! A real engine, a program for its sandboxes, and lines to it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nexus_sandbox::{
    DockerDriver, DockerSettings, Driver, ImageReference, Owner, Sandbox, SandboxHandle, SandboxInput, SandboxOutput,
    SandboxSpec,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    time::timeout,
};
use tokio_util::task::TaskTracker;

/// Longer than anything takes, however slow the machine.
pub(crate) const LONG: Duration = Duration::from_secs(40);

/// Where the engine is, if the machine says so.
#[expect(clippy::disallowed_methods, reason = "how a test is told what to do")]
pub(crate) fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An owner that no other test is.
pub(crate) fn owner() -> Owner {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Owner { host: format!("test-{}", std::process::id()), lease: format!("{}-{number}", std::process::id()) }
}

pub(crate) fn settings() -> DockerSettings {
    DockerSettings { host: told("DOCKER_HOST"), relay: Some(relay()), ..DockerSettings::default() }
}

/// The program that `cargo xtask build` puts beside the host's.
fn relay() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let relay = own.ancestors().nth(2).unwrap().join("nexus-relay");
    assert!(relay.exists(), "there is no {}: `cargo xtask build` makes it", relay.display());
    relay
}

pub(crate) async fn driver_of(owner: Owner) -> DockerDriver {
    DockerDriver::connect(settings(), owner, TaskTracker::new()).await.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) async fn driver() -> DockerDriver {
    driver_of(owner()).await
}

/// The program, built once for each version of it.
pub(crate) fn program() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/probe.rs");
    let text = std::fs::read(&source).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join(format!("probe-{}", &nexus_model::sha256_hex(text)[..16]));
    if !program.exists() {
        // Other tests may be doing the same, in this process and in others.
        let own = folder.join(format!("probe-{}-{:?}", std::process::id(), std::thread::current().id()));
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "-Copt-level=1", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-o"]);
        assert!(rustc.arg(&own).arg(source).status().unwrap().success(), "rustc builds the probe");
        std::fs::rename(own, &program).unwrap();
    }
    program
}

pub(crate) async fn image(driver: &DockerDriver) -> ImageReference {
    let program = tokio::task::spawn_blocking(program).await.unwrap();
    driver.build_from_program(&program, "nexus-test/probe").await.unwrap().image
}

/// A sandbox in which the program does what the words say.
pub(crate) fn spec(image: ImageReference, words: &[&str]) -> SandboxSpec {
    let command = std::iter::once("/program").chain(words.iter().copied()).map(str::to_owned).collect();
    SandboxSpec { command, ..SandboxSpec::new(image) }
}

/// A sandbox that speaks in lines.
pub(crate) struct Speaker {
    pub(crate) input: SandboxInput,
    pub(crate) lines: Lines<BufReader<SandboxOutput>>,
    pub(crate) handle: SandboxHandle,
}

impl Speaker {
    pub(crate) fn new(sandbox: Sandbox) -> Self {
        let Sandbox { input, output, handle } = sandbox;
        Self { input, lines: BufReader::new(output).lines(), handle }
    }

    pub(crate) async fn start(driver: &dyn Driver, spec: &SandboxSpec) -> Self {
        Self::new(driver.start(spec).await.unwrap())
    }

    /// The next line; `None` at the end.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        timeout(LONG, self.lines.next_line()).await.expect("a line in time").unwrap()
    }

    pub(crate) async fn expect(&mut self, line: &str) {
        let heard = self.hear().await;
        assert_eq!(heard.as_deref(), Some(line), "{}", self.handle.complaints());
    }

    /// All lines until `end`.
    pub(crate) async fn report(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.hear().await.filter(|line| line != "end") {
            lines.push(line);
        }
        lines
    }

    pub(crate) async fn echo(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        self.input.flush().await.unwrap();
        self.expect(line).await;
    }
}

/// Done when it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, asked).await.unwrap_or_else(|_| panic!("{what}"));
}

/// What `docker` says.
pub(crate) fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().expect("the command line of Docker is installed");
    assert!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// How many containers an owner has, relays included.
pub(crate) fn owned(owner: &Owner) -> usize {
    docker(&["ps", "--all", "--quiet", "--filter", &format!("label=nexus.lease={}", owner.lease)]).lines().count()
}

/// The id of the relay that a server is in the namespace of.
pub(crate) fn relay_of(server: &str) -> String {
    let mode = docker(&["inspect", "--format", "{{.HostConfig.NetworkMode}}", server]);
    mode.strip_prefix("container:").expect("it is in another container's namespace").to_owned()
}
