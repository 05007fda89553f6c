//! Programs and libraries in Python that the tests use, as pip brings them.

use std::{
    fs::{File, create_dir_all, read_to_string, write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::programs;

/// A Python with what `interop/requirements.txt` lists, in a virtual environment in the target folder that is made once
/// for a list of versions. Programs that come with it are in the folder of the interpreter.
pub fn python() -> Result<PathBuf> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/requirements.txt");
    let wanted = read_to_string(&list)?;
    let home = programs()?.join("interop-clients");
    create_dir_all(&home)?;
    let lock = File::create(home.join("lock"))?;
    lock.lock().context("the folder of the virtual environment cannot be locked")?;
    let (python, made) = (home.join("venv/bin/python"), home.join("installed.txt"));
    if read_to_string(&made).is_ok_and(|installed| installed == wanted) && python.exists() {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home.join("venv"))).context(
        "the test needs Python 3.10 or later with its module venv: `cargo xtask setup` installs them on Debian",
    )?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    run(pip.arg(list)).context(
        "pip cannot install what the test asks with: check that this machine reaches the Python package index",
    )?;
    write(made, wanted)?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?} cannot be started"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
