//! Programs that run in sandboxes: static, so that an image needs nothing else.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::{
    out,
    workspace::{Workspace, run as run_command},
};

/// The program with which the tests prove the way to a sandbox and back, and what it is called beside the host's programs.
const ECHO: Program = Program {
    target: &["--package", "nexus-orchestrator", "--example", "echo_worker"],
    made: "examples/echo_worker",
    name: "nexus-echo-worker",
};

/// The program that carries the connections of outside servers.
const RELAY: Program = Program {
    target: &["--package", "nexus-relay", "--features", "program", "--bin", "nexus-relay"],
    made: "nexus-relay",
    name: "nexus-relay",
};

/// The program that walks workflows.
const ORCHESTRATOR: Program = Program {
    target: &["--package", "nexus-orchestrator", "--features", "program", "--bin", "nexus-orchestrator"],
    made: "nexus-orchestrator",
    name: "nexus-orchestrator",
};

/// A program, where cargo puts it, and what it is called beside the host's programs.
struct Program {
    target: &'static [&'static str],
    made: &'static str,
    name: &'static str,
}

/// Builds what the host runs in containers besides what it is given.
pub(crate) fn for_hosts(workspace: &Workspace) -> Result<()> {
    out::step("build", "the static program that carries connections of MCP servers in containers");
    build(workspace, &RELAY)?;
    out::step("build", "the static program that walks workflows in sandboxes");
    build(workspace, &ORCHESTRATOR)
}

/// Builds what only the tests run in sandboxes.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<()> {
    out::step("build", "a static program for the tests of sandboxes");
    build(workspace, &ECHO)
}

/// The crates that only programs in sandboxes have.
const APART: [&str; 2] = ["nexus-orchestrator", "nexus-workflow"];

/// Cargo with one of its commands, for the crates that only programs in sandboxes have, in the folder of these programs.
pub(crate) fn cargo(workspace: &Workspace, command: &str) -> Command {
    let mut cargo = workspace.cargo([command, "--release"]);
    for package in APART {
        cargo.args(["--package", package]);
    }
    // Its tests start it.
    cargo.args(["--features", "nexus-orchestrator/program"]);
    cargo.arg("--target-dir").arg(workspace.target.join("static"));
    cargo
}

/// In a target folder of its own: a static program asks for other flags, and is of one small crate, so that the host is not built
/// once more.
fn build(workspace: &Workspace, program: &Program) -> Result<()> {
    let folder = workspace.target.join("static");
    let mut cargo = workspace.cargo(["rustc", "--release"]);
    cargo.args(program.target).arg("--target-dir").arg(&folder);
    run_command(cargo.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]))?;
    let (made, wanted) = (folder.join("release").join(program.made), workspace.programs().join(program.name));
    // A rename is seen whole or not at all.
    let beside = wanted.with_extension("new");
    fs::copy(&made, &beside).with_context(|| format!("{} cannot be copied", made.display()))?;
    fs::rename(&beside, &wanted).with_context(|| format!("{} cannot be made", wanted.display()))
}
