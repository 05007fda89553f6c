//! Schemathesis asks a server all that the API's description allows, and much that it does not: no answer is a fault of the
//! server's, and every answer is one that the description has.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{House, HouseOptions, git, programs, python};
use serde_json::Value;

/// Cases for each call in the phase of random ones; the others have as many as the description makes them have.
const CASES: &str = "40";
const SEED: &str = "7";

fn house(folder: &Path) -> Result<House> {
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../apps");
    git(folder, &["init", "-q", "--bare", "-b", "main", "remote.git"])?;
    let recordings = apps.join("recordings");
    let remote = folder.join("remote.git");
    // What is asked at random must not make images at an engine of this machine.
    let settings =
        format!("sandbox: {{ driver: off }}\ndefinitions: {{ remote: {{ url: \"{}\" }} }}\n", remote.display());
    House::start(HouseOptions::new(programs()?, apps, recordings, settings), folder)
}

/// Runs Schemathesis; what it reports, and what it says.
fn asked(house: &House, folder: &Path) -> Result<(Value, String)> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    let keys = house.api.get("/v1/keys")?.success()?;
    let mut command = Command::new(python()?.with_file_name("schemathesis"));
    command.arg("--config-file").arg(own.join("schemathesis.toml")).arg("run");
    // One worker: before 3.12, threads of CPython that parse code at the same time break each other (gh-106905).
    command.arg(format!("{}/openapi.json", house.api.base())).args(["--no-color", "--seed", SEED, "--workers", "1"]);
    command.args(["--max-examples", CASES, "--report", "json", "--report-json-path", "report.json"]);
    command.arg("--header").arg(format!("authorization: Bearer {}", house.key));
    command.env("PYTHONPATH", &own).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("NEXUS_URL", house.api.base()).env("NEXUS_KEY", &house.key);
    command.env("NEXUS_KEY_ID", keys["keys"][0]["id"].as_str().context("the admin key has no id")?);
    let output = command.current_dir(folder).stdin(Stdio::null()).output().context("Schemathesis cannot be started")?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let report = std::fs::read(folder.join("report.json")).with_context(|| format!("there is no report:\n{said}"))?;
    Ok((serde_json::from_slice(&report)?, said))
}

#[test]
fn the_api_answers_as_it_is_described() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let house = house(folder.path())?;
    let (report, said) = asked(&house, folder.path())?;
    ensure!(report["failures"] == Value::Array(Vec::new()) && report["exit_code"] == 0, "{said}");
    let operations = &report["operations"];
    ensure!(operations["tested"] == operations["total"] && report["complete"] == true, "not all were asked:\n{said}");
    let generated = report["test_cases"]["generated"].as_u64().unwrap_or_default();
    ensure!(generated > 2_000, "only {generated} cases were asked:\n{said}");
    let log = house.nexus.tail(usize::MAX);
    ensure!(!log.contains("panicked"), "a request made the server panic:\n{log}");
    house.stop()
}
