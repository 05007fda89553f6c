//! `cargo xtask setup`: what building needs beyond rustup and the C compiler that linked this tool.
//!
//! Two things: Rust's standard library for `wasm32-wasip2`, and a C compiler for it (`QuickJS` is C). And for the tests a Python
//! for the providers' clients, a Redis, a `PostgreSQL`, an OCI registry, Docker, programs that speak MCP, and components in other languages. Each part looks first whether it is there already, so that every other
//! command can afford to set up before it begins.

mod compiler;
mod componentize;
mod debian;
mod docker;
mod mcp_peers;
mod postgres;
mod python;
mod redis;
mod registry;
mod target;

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub(crate) use self::{compiler::Compiler, redis::ensure as redis};
use crate::workspace::{Workspace, spelled};

/// What components are built for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Brings what is missing for building. Takes well below a second when nothing is.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    target::ensure(workspace)?;
    compiler::ensure().map(drop)
}

/// Brings what only the tests need.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<()> {
    python::ensure()?;
    redis::ensure()?;
    postgres::ensure()?;
    registry::ensure()?;
    docker::ensure()?;
    mcp_peers::ensure()?;
    componentize::ensure(workspace)
}

/// The folder for what is downloaded once and used by every working copy.
fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|base| base.is_absolute());
    let base = base.or_else(|| Some(env::home_dir()?.join(".cache")));
    let cache = base.context("there is no home folder to keep downloads in: set XDG_CACHE_HOME")?.join("nexus");
    make_folder(&cache)?;
    Ok(cache)
}

/// Waits until no other run holds `path`, and holds it until the value is dropped.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
    file.lock().with_context(|| format!("{} cannot be locked", path.display()))?;
    Ok(file)
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("{} cannot be made", path.display()))
}

/// Removes a folder that may or may not be there.
fn remove_folder(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    Ok(())
}

/// The paths in `folder`; none when it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

/// The file name of `path`, or nothing where it is no text.
fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What a command prints, or nothing when it cannot run or fails.
fn said(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a command quietly; what it printed is part of the error.
fn quietly(command: &mut Command) -> Result<()> {
    let spelled = spelled(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{spelled} cannot be started"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{spelled} failed ({})\n{}", output.status, String::from_utf8_lossy(&said).trim_end());
    }
    Ok(())
}

/// Whether a command succeeds within `limit`; it is ended when it does not.
fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(50)),
            _ => {
                // It may have ended by itself in between; either way it is gone and reaped.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}
