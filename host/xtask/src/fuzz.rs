//! `cargo xtask fuzz`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    out,
    workspace::{Workspace, run as run_command},
};

/// The folder of the targets, and for each target, what it begins with.
const FOLDER: &str = "tests/fuzz";
const TARGETS: [(&str, &str); 6] = [
    ("component", "tests/fuzz/seeds/component"),
    ("arguments", "tests/fuzz/seeds/arguments"),
    ("types", "tests/fuzz/seeds/types"),
    ("manifest", "host/definitions/tests"),
    ("prompt", "host/definitions/tests"),
    ("workflow_document", "tests/fuzz/seeds/workflow_document"),
];

/// What to fuzz, and how long.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask fuzz                            ten minutes of each target
  cargo xtask fuzz component --seconds 3600   an hour of one
  cargo xtask fuzz component --seconds 0 tests/fuzz/artifacts/component/crash-…   one input again")]
pub(crate) struct Arguments {
    /// Which: component, arguments, types, manifest, prompt, `workflow_document`; all, one after the other, if left out.
    target: Option<String>,
    /// An input to try again.
    input: Option<PathBuf>,
    /// How long each runs.
    #[arg(long, default_value_t = 600, value_name = "NUMBER")]
    seconds: u32,
}

/// Stops at the first target that finds something; the input is then in `tests/fuzz/artifacts`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    check_tools()?;
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|(target, _)| arguments.target.as_deref().is_none_or(|chosen| chosen == *target))
        .collect();
    if chosen.is_empty() {
        bail!("there is no such target: the targets are {}", TARGETS.map(|(target, _)| target).join(", "));
    }
    for (target, seeds) in chosen {
        match &arguments.input {
            Some(input) => run_command(command(workspace, target).arg(input))?,
            None => fuzz(workspace, target, Path::new(seeds), arguments.seconds)?,
        }
    }
    Ok(())
}

/// What is found interesting stays in the target folder, for the next run.
fn fuzz(workspace: &Workspace, target: &str, seeds: &Path, seconds: u32) -> Result<()> {
    out::step("fuzz", &format!("{target} for {} min", f64::from(seconds) / 60.0));
    let corpus = workspace.target.join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("{} cannot be made", corpus.display()))?;
    let mut command = command(workspace, target);
    command.arg(&corpus).arg(workspace.root.join(seeds));
    command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=10", "-rss_limit_mb=4096"]);
    run_command(&mut command)
}

/// The host has no unsafe code, so the address sanitizer would look at what others have fuzzed.
fn command(workspace: &Workspace, target: &str) -> Command {
    let mut command = workspace.cargo(["+nightly", "fuzz", "run", "--fuzz-dir", FOLDER, "--sanitizer", "none", target]);
    command.env("CARGO_TARGET_DIR", workspace.target.join("fuzz"));
    command
}

fn check_tools() -> Result<()> {
    let is_there = |arguments: &[&str]| {
        let status = Command::new("cargo").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !is_there(&["+nightly", "--version"]) {
        bail!("libFuzzer needs a nightly compiler: `rustup toolchain install nightly`");
    }
    if !is_there(&["fuzz", "--version"]) {
        bail!("cargo-fuzz is missing: `cargo install cargo-fuzz`");
    }
    Ok(())
}
