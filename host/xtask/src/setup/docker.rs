//! Docker and Compose, for the test of `docker-compose.yml`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{debian, said};
use crate::out;

/// Debian's packages. Its newer releases have the command line in a package of its own.
const PACKAGES: &str = "^(docker.io|docker-cli|docker-compose)$";
const MEND: &str = "install Docker and its Compose (https://docs.docker.com/engine/install)";

/// Makes sure that Docker and Compose are there. Whether an engine runs is not looked at: a test that needs one starts it where
/// none answers.
pub(super) fn ensure() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    out::step("setup", "installing Debian's docker.io and docker-compose: self-hosting is tested on a real engine");
    let found = debian::search(PACKAGES);
    if found.is_empty() {
        bail!("there is no package docker.io here: {MEND}");
    }
    debian::install(&found).context(MEND)?;
    is_there()
        .then_some(())
        .with_context(|| format!("{} were installed and are not found: {MEND}", found.join(" and ")))
}

fn is_there() -> bool {
    let answers = |program: &str, argument: &str| said(Command::new(program).arg(argument)).is_some();
    let engine = said(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"])).is_some();
    let compose = said(Command::new("docker").args(["compose", "version"])).is_some();
    (engine || (answers("docker", "--version") && answers("dockerd", "--version")))
        && (compose || answers("docker-compose", "version"))
}
