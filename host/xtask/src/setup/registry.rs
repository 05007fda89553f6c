//! `docker-registry`, for the test that pulls a component from a registry.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{debian, said};
use crate::out;

/// Debian's package, which brings the program of the same name.
const PACKAGE: &str = "docker-registry";
const MEND: &str = "install the registry of the CNCF's Distribution, so that `docker-registry` is found";

/// Makes sure that a registry is there. The service that comes with the package is not left running.
pub(super) fn ensure() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    out::step("setup", "installing Debian's docker-registry: components are pulled from a real one");
    if debian::search(&format!("^{PACKAGE}$")).is_empty() {
        bail!("there is no package {PACKAGE} here: {MEND}");
    }
    debian::install(&[PACKAGE.to_owned()]).context(MEND)?;
    debian::stop_service(PACKAGE)?;
    is_there().then_some(()).with_context(|| format!("{PACKAGE} was installed and is not found: {MEND}"))
}

fn is_there() -> bool {
    said(Command::new(PACKAGE).arg("--version")).is_some()
}
