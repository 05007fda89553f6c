//! Python with virtual environments, for the test that asks with the providers' own clients.

use std::process::Command;

use anyhow::{Context, Result};

use super::{debian, said};
use crate::out;

/// Finds Python and brings what is missing of it.
pub(super) fn ensure() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    out::step("setup", "no Python with virtual environments is here: installing Debian's python3-venv");
    let mend = "install Python 3.10 or later with its modules venv and ensurepip";
    let found = debian::search("^python3-venv$");
    debian::install(&found).context(mend)?;
    is_there().then_some(()).with_context(|| format!("Debian's Python does not make virtual environments: {mend}"))
}

fn is_there() -> bool {
    let asked = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    said(Command::new("python3").args(["-c", asked])).is_some()
}
