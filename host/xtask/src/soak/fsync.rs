//! Watches one write over HTTP: every object of its commit and the branch are on the disk before the answer is sent.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nexus_tests::{Api, Fixture, Program, Taste, git};

use super::trace::{Call, Event, events, undurable};
use crate::{out, workspace::Workspace};

const APP: &str = "scale-room";
/// How long the traced server may take to start and to stop; tracing slows it down.
const PATIENCE: Duration = Duration::from_mins(2);
const CALLS: &str = "trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,write,writev,sendto,sendmsg";

/// Models that nobody asks.
const SETTINGS: &str = "\
models:
  small: { endpoint: \"http://127.0.0.1:9/v1\", model: small }
  coder: { endpoint: \"http://127.0.0.1:9/v1\", model: coder }
";

pub(super) fn run(workspace: &Workspace) -> Result<ExitCode> {
    out::step("soak", "the system calls of one write over HTTP");
    if Command::new("strace").arg("-V").output().is_err() {
        bail!("the program `strace` is not there: install it, on Debian with `apt-get install strace`");
    }
    let folder = workspace.target.join("soak-fsync");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("the folder of the last run cannot be removed")?;
    }
    fs::create_dir_all(&folder).context("a folder cannot be made")?;
    let objects = traced_write(workspace, &folder)?;
    let trace = fs::read_to_string(folder.join("trace")).context("strace wrote nothing")?;
    let found = events(&trace);
    let answer = found.iter().find(|event| event.call == Call::Answer).context("the answer is not in the trace")?;
    let repository = folder.join("data/definitions.git").display().to_string();
    let files = objects.iter().map(|id| format!("{repository}/objects/{}/{}", &id[..2], &id[2..]));
    let files: Vec<_> = files.chain([format!("{repository}/refs/heads/main")]).collect();
    report(&found, &files, answer.place)
}

fn report(found: &[Event], files: &[String], answer: usize) -> Result<ExitCode> {
    let wrong: Vec<_> = files.iter().filter_map(|file| undurable(found, file, answer)).collect();
    for why in &wrong {
        out::fault(why);
    }
    ensure!(!files.is_empty(), "the write made nothing");
    let syncs = found.iter().filter(|event| matches!(event.call, Call::Sync(_)) && event.place < answer).count();
    out::line(format!(
        "{} of {} files of the commit were on the disk before the answer ({syncs} syncs until then)",
        files.len() - wrong.len(),
        files.len()
    ));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a server under strace, adds one file to an application, and stops it; the ids of the objects that this made.
fn traced_write(workspace: &Workspace, folder: &Path) -> Result<Vec<String>> {
    let (apps, data) = (folder.join("apps"), folder.join("data"));
    fs::create_dir_all(&apps).context("a folder cannot be made")?;
    Fixture::new(APP, Taste::Opinion)?.write(&apps, &folder.join("recordings"))?;
    fs::write(folder.join("nexus.yaml"), SETTINGS).context("the settings cannot be written")?;
    // As a grandchild (-D) strace leaves signals to the server.
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-y", "-qq", "-s", "64", "-e", CALLS, "-o"]).arg(folder.join("trace"));
    command.arg(workspace.programs().join("nexus")).args(["serve", "--json", "--insecure-local"]);
    command.args(["--listen", "127.0.0.1:0", "--config"]).arg(folder.join("nexus.yaml"));
    command.arg("--data-dir").arg(&data).arg("--apps").arg(&apps);
    let nexus = Program::start("nexus", &mut command, &folder.join("log"), PATIENCE)?;
    let api = Api::new(nexus.said("listening")?, None);
    let repository = data.join("definitions.git");
    let before = git(&repository, &["rev-parse", "main"])?;
    let app = api.get(&format!("/v1/apps/{APP}"))?.success()?;
    let revision = app["newest"].as_str().context("the application has a revision")?;
    let reply = api.put(&format!("/v1/apps/{APP}/files/docs/x.md"), &format!("\"{revision}\""), b"traced\n")?;
    ensure!(reply.status == 201, "HTTP {}: {}", reply.status, reply.text);
    let new = git(&repository, &["rev-list", "--objects", "main", &format!("^{}", before.trim())])?;
    nexus.stop(PATIENCE)?;
    wait_for_end(&folder.join("trace"))?;
    Ok(new.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// strace writes its last lines after the server has ended.
fn wait_for_end(trace: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(trace).unwrap_or_default().contains("\"HTTP/1.1 201") {
        ensure!(Instant::now() < deadline, "the answer is not in the trace");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}
