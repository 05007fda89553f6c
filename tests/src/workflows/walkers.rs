//! The programs in sandboxes that walk workflows.

use std::{fs::read_to_string, process::Command};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::{House, said};

/// As the kernel has the name of the program: its first 15 letters.
const NAME: &str = "nexus-orchestra";

/// What programs walk workflows in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalkerDriver {
    /// Plain processes.
    Process,
    /// Containers of the engine that listens there, as `unix:///run/docker.sock`.
    Docker(String),
}

impl WalkerDriver {
    /// Kills all that walk workflows of a server, or of all that share the engine; how many there were.
    pub(super) fn kill(&self, house: &House) -> Result<usize> {
        match self {
            Self::Process => {
                // One that ended meanwhile is no matter.
                let walkers = walkers_of(house.nexus.id())?.into_iter().filter_map(Pid::from_raw);
                Ok(walkers.filter(|walker| kill_process(*walker, Signal::KILL).is_ok()).count())
            }
            Self::Docker(host) => {
                let killed = containers(host)?.iter().filter(|id| docker(host, &["kill", id]).is_ok()).count();
                Ok(killed)
            }
        }
    }

    /// Memory of the programs that walk workflows of a server, or of all that share the engine, that is resident now, in bytes.
    pub fn resident_bytes(&self, house: &House) -> Result<u64> {
        let walkers = match self {
            Self::Process => walkers_of(house.nexus.id())?,
            Self::Docker(host) => {
                let pid = |id: &String| docker(host, &["inspect", "--format", "{{.State.Pid}}", id]);
                let containers = containers(host)?;
                containers.iter().map(|id| Ok(pid(id)?.trim().parse()?)).collect::<Result<_>>()?
            }
        };
        let mut all = walkers.clone();
        // Each has a child that evaluates expressions.
        for walker in walkers {
            all.extend(children(walker.unsigned_abs())?);
        }
        Ok(all.into_iter().map(resident).sum())
    }
}

fn docker(host: &str, arguments: &[&str]) -> Result<String> {
    said(Command::new("docker").env("DOCKER_HOST", host).args(arguments))
}

/// The containers that work for applications.
fn containers(host: &str) -> Result<Vec<String>> {
    let listed = docker(host, &["ps", "--quiet", "--no-trunc", "--filter", "label=app"])?;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn walkers_of(server: u32) -> Result<Vec<i32>> {
    let name = |id: &i32| read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    Ok(children(server)?.into_iter().filter(|child| name(child).trim() == NAME).collect())
}

fn children(of: u32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    let threads = std::fs::read_dir(format!("/proc/{of}/task")).context("the program is gone")?;
    for thread in threads.filter_map(Result::ok) {
        let children = read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|id| id.parse::<i32>().ok()));
    }
    Ok(found)
}

/// Nothing, if it is gone.
fn resident(process: i32) -> u64 {
    let status = read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().map_or(0, |kibibytes| kibibytes * 1024)
}
