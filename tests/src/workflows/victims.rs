//! The programs in sandboxes, to be killed.

use std::{fs::read_to_string, process::Command};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::WalkerDriver;
use crate::{House, said};

/// As the kernel has the name of the program: its first 15 letters.
const NAME: &str = "nexus-orchestra";

/// How to find them.
pub(super) enum Victims {
    /// The children of a server.
    Children,
    /// The containers of an engine.
    Containers(String),
}

impl Victims {
    pub(super) fn of(driver: &WalkerDriver) -> Self {
        match driver {
            WalkerDriver::Process => Self::Children,
            WalkerDriver::Docker(host) => Self::Containers(host.clone()),
        }
    }

    /// Kills all that walk workflows of a server, or of all that share the engine; how many there were.
    pub(super) fn kill(&self, house: &House) -> Result<usize> {
        match self {
            Self::Children => {
                let children = children(house.nexus.id())?;
                // One that ended meanwhile is no matter.
                Ok(children.into_iter().filter(|child| kill_process(*child, Signal::KILL).is_ok()).count())
            }
            Self::Containers(host) => {
                let docker = |arguments: &[&str]| said(Command::new("docker").env("DOCKER_HOST", host).args(arguments));
                let listed = docker(&["ps", "--quiet", "--filter", "label=app"])?;
                let killed = listed.lines().filter(|id| docker(&["kill", id]).is_ok());
                Ok(killed.count())
            }
        }
    }
}

fn children(of: u32) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    let threads = std::fs::read_dir(format!("/proc/{of}/task")).context("the server is gone")?;
    for thread in threads.filter_map(Result::ok) {
        let children = read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
            let name = read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            found.extend(Pid::from_raw(child).filter(|_| name.trim() == NAME));
        }
    }
    Ok(found)
}
