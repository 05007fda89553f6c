//! `cargo xtask dist`: what an image of a container is made of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    build, out, sandboxed,
    workspace::{Workspace, run as run_command},
};

/// Sets up, builds, and fills the folder `dist` in the target folder: the programs `nexus` and `nexus-relay`, linked statically;
/// `share` with the components and the sample applications; and `data`, an empty folder.
///
/// `nexus` in the folder of the built programs is the static one afterwards, until the next `cargo build`.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    build::components(workspace)?;
    out::step("build", "the program without shared libraries, for containers");
    // Only the last step is told, so that what was built for this machine is used as it is.
    let package = ["--package=nexus-server", "--bin=nexus"];
    let mut rustc = workspace.cargo(["rustc", "--release"]);
    run_command(rustc.args(package).args(["--", "-Ctarget-feature=+crt-static"]))?;
    sandboxed::for_hosts(workspace)?;
    let fresh = workspace.target.join("dist.new");
    lay_out(workspace, &fresh)?;
    let dist = workspace.target.join("dist");
    remove(&dist)?;
    fs::rename(&fresh, &dist).with_context(|| format!("{} cannot be put in place", dist.display()))
}

fn lay_out(workspace: &Workspace, to: &Path) -> Result<()> {
    remove(to)?;
    let share = to.join("share");
    for folder in [to.join("data"), to.join("etc"), share.join("apps"), share.join("plugins")] {
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    // How the C library looks names up where nobody tells it: also in /etc/hosts.
    fs::write(to.join("etc").join("nsswitch.conf"), "hosts: files dns\n").context("the file cannot be written")?;
    let mut copy = workspace.command("cp");
    run_command(
        copy.args(["nexus", "nexus-relay", "nexus-orchestrator"].map(|name| workspace.programs().join(name))).arg(to),
    )?;
    let plugins = workspace.root.join("plugins").join("dist");
    run_command(workspace.command("cp").arg("--recursive").arg(plugins.join(".")).arg(share.join("plugins")))?;
    let mut samples = workspace.command("cp");
    run_command(samples.arg("--recursive").args(applications(&workspace.root.join("apps"))?).arg(share.join("apps")))
}

/// The folders in `apps` that are applications.
fn applications(apps: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("{} cannot be read", apps.display());
    let entries =
        fs::read_dir(apps).with_context(unreadable)?.collect::<Result<Vec<_>, _>>().with_context(unreadable)?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.join("app.yaml").is_file()).collect())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    Ok(())
}
