//! A Docker engine for tests: the one that answers, or one of their own.

use std::{
    fs::{File, create_dir_all, read_to_string},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, getuid, kill_process};

/// The longest that an engine may take to answer, or to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// How to get what is missing.
const MEND: &str = "run `cargo xtask setup`, or install Docker and its Compose";

/// A Docker engine. One that was started here ends, with all that it has, when this is dropped.
pub struct DockerEngine {
    own: Option<Own>,
}

/// An engine that belongs to a test.
struct Own {
    daemon: Child,
    socket: String,
}

impl DockerEngine {
    /// The engine that `docker` reaches; where none answers, one of our own that keeps everything in `folder`, for which it
    /// takes root.
    pub fn find_or_start(folder: &Path) -> Result<Self> {
        let found = Self { own: None };
        let Err(reason) = found.answer() else { return Ok(found) };
        ensure!(
            getuid().is_root(),
            "no Docker engine answers, and only root may start one: start yours, or run this as root ({reason:#})"
        );
        Self::start(folder)
    }

    fn start(folder: &Path) -> Result<Self> {
        create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let (log, socket) = (folder.join("dockerd.log"), format!("unix://{}/socket", folder.display()));
        // Whoever is killed takes the engine along.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "dockerd", "--host", &socket]);
        for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(folder.join(name));
        }
        command.stdin(Stdio::null()).stdout(File::create(&log)?).stderr(File::create(&log)?);
        let daemon = command.spawn().context("`setpriv`, of util-linux, is missing")?;
        let mut engine = Self { own: Some(Own { daemon, socket }) };
        let end = Instant::now() + PATIENCE;
        while let Err(reason) = engine.answer() {
            if engine.has_ended() || Instant::now() > end {
                let told = read_to_string(&log).unwrap_or_default();
                bail!("dockerd does not run ({MEND}): {reason:#}\n{told}");
            }
            sleep(Duration::from_millis(100));
        }
        Ok(engine)
    }

    /// Where it listens, as `DOCKER_HOST` and settings name it.
    pub fn address(&self) -> Result<String> {
        let told = self.docker(["context", "inspect", "default", "--format", "{{.Endpoints.docker.Host}}"])?;
        Ok(told.trim().to_owned())
    }

    /// What `docker` says to these arguments.
    pub fn docker<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        said(self.command("docker").args(arguments))
    }

    /// Compose, for this engine: `docker compose`, or the older `docker-compose`.
    pub fn compose(&self) -> Command {
        let plugin = Command::new("docker").args(["compose", "version"]).output();
        if plugin.is_ok_and(|output| output.status.success()) {
            let mut command = self.command("docker");
            command.arg("compose");
            return command;
        }
        self.command("docker-compose")
    }

    /// Builds the image `name` from a folder with a `Dockerfile`.
    pub fn build(&self, name: &str, folder: &Path) -> Result<()> {
        said(self.command("docker").args(["build", "--quiet", "--tag", name]).arg(folder)).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(own) = &self.own {
            command.env("DOCKER_HOST", &own.socket);
        }
        command
    }

    fn answer(&self) -> Result<String> {
        self.docker(["version", "--format", "{{.Server.Version}}"])
    }

    fn has_ended(&mut self) -> bool {
        self.own.as_mut().is_some_and(|own| !matches!(own.daemon.try_wait(), Ok(None)))
    }
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else { return };
        // It may have ended already. It has processes and mounts of its own to take down, so it is asked first.
        let _ = kill_process(Pid::from_child(&own.daemon), Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while matches!(own.daemon.try_wait(), Ok(None)) && Instant::now() < end {
            sleep(Duration::from_millis(50));
        }
        let _ = own.daemon.kill();
        let _ = own.daemon.wait();
    }
}

/// What a command prints; what it complains about is part of the error.
pub fn said(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} is missing: {MEND}", command.get_program().display()))?;
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        bail!("{command:?} ({})\n{told}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(told)
}

/// Copies a program of this machine to the same place below `root`, with the shared libraries that it needs.
pub fn transplant(program: &Path, place: &Path, root: &Path) -> Result<()> {
    let mut files = vec![(program.to_owned(), place.to_owned())];
    for line in said(Command::new("ldd").arg(program))?.lines() {
        let library = line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
        files.extend(library.map(|library| (library.clone(), library)));
    }
    for (from, place) in files {
        let to = root.join(place.strip_prefix("/")?);
        create_dir_all(to.parent().context("a file is in no folder")?)?;
        std::fs::copy(&from, &to).with_context(|| format!("{} cannot be copied", from.display()))?;
    }
    Ok(())
}
