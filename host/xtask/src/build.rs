//! `cargo xtask build`.

use anyhow::Result;

use crate::{
    out, plugins, sandboxed, setup,
    workspace::{Workspace, run as run_command},
};

/// Sets up, then builds the components and the host's programs.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    components(workspace)?;
    out::step("build", "the host's programs");
    run_command(&mut workspace.cargo(["build", "--release"]))?;
    sandboxed::for_hosts(workspace)
}

/// Sets up and builds the components, which the host's crates embed.
pub(crate) fn components(workspace: &Workspace) -> Result<()> {
    setup::run(workspace)?;
    plugins::run(workspace)
}
