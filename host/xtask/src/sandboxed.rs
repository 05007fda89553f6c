//! Programs that run in sandboxes: static, so that an image needs nothing else.

use std::fs;

use anyhow::{Context, Result};

use crate::{
    out,
    workspace::{Workspace, run as run_command},
};

/// The program with which the tests prove the way to a sandbox and back, and what it is called beside the host's programs.
const ECHO: (&str, &str) = ("echo_worker", "nexus-echo-worker");

/// Builds what only the tests run in sandboxes. In a target folder of its own: a static program asks for other flags, and is of
/// one small crate, so that the host is not built once more.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<()> {
    out::step("build", "a static program for the tests of sandboxes");
    let folder = workspace.target.join("static");
    let mut cargo = workspace.cargo(["rustc", "--release", "--package", "nexus-orchestrator", "--example", ECHO.0]);
    cargo.arg("--target-dir").arg(&folder).args(["--", "-C", "target-feature=+crt-static"]);
    run_command(&mut cargo)?;
    let (made, wanted) = (folder.join("release/examples").join(ECHO.0), workspace.programs().join(ECHO.1));
    // A rename is seen whole or not at all.
    let beside = wanted.with_extension("new");
    fs::copy(&made, &beside).with_context(|| format!("{} cannot be copied", made.display()))?;
    fs::rename(&beside, &wanted).with_context(|| format!("{} cannot be made", wanted.display()))
}
