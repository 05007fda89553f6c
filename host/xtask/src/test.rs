//! `cargo xtask test`.

use std::{
    fmt,
    io::{BufRead, BufReader},
    ops::AddAssign,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};

use nexus_tests::DockerEngine;

use crate::{build, dist, out, plugins, sandboxed, setup, workspace::Workspace};

/// What to test.
#[derive(clap::Args, Default)]
#[command(after_help = "\
Examples:
  cargo xtask test
  cargo xtask test --filter hostile      tests whose name contains `hostile`
  cargo xtask test --package nexus-wasm  tests of one crate")]
pub(crate) struct Arguments {
    /// Run only the tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Run only the tests of this crate.
    #[arg(long, short, value_name = "CRATE")]
    package: Option<String>,
}

/// Does all that the tests need, runs them, and ends with the count, alone on the last line.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    Ok(execute(workspace, arguments)?.conclude())
}

/// Does all that the tests need and runs them. What keeps tests from running at all counts as one failure.
pub(crate) fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<Tally> {
    if let Err(error) = prepare(workspace) {
        out::fault(format!("nothing can be tested: {error:#}"));
        return Ok(Tally { failed: 1, ..Tally::default() });
    }
    let mut tally = Tally::default();
    if arguments.package.is_none() {
        out::step("test", "what components are made of, on this machine");
        tally += stream(&mut guests(workspace, arguments))?;
    }
    // One engine for all tests of sandboxes and of self-hosting; what it keeps is there for the next run.
    let engine = match DockerEngine::find_or_start(&workspace.target.join("engine")) {
        Ok(engine) => engine,
        Err(error) => {
            out::fault(format!("sandboxes cannot be tested: {error:#}"));
            return Ok(Tally { failed: 1, ..tally });
        }
    };
    out::step("test", "every test of the host, with the real programs");
    tally += stream(host(workspace, arguments).env("DOCKER_HOST", engine.address()?))?;
    Ok(tally)
}

fn prepare(workspace: &Workspace) -> Result<()> {
    setup::for_tests(workspace)?;
    build::run(workspace)?;
    sandboxed::for_tests(workspace)?;
    dist::run(workspace)
}

/// The guests' own logic. As components they run in the tests of the host.
fn guests(workspace: &Workspace, arguments: &Arguments) -> Command {
    // What they export is there for WebAssembly only, so that here much is without use.
    let workspace = Workspace { lints: false, ..workspace.clone() };
    let mut command = workspace.cargo(["test", "--release", "--no-fail-fast"]);
    // The engine for generated code is C for WebAssembly and has no logic of its own.
    for package in plugins::packages().filter(|package| *package != "jit-runner") {
        command.args(["--package", package]);
    }
    filter(command, arguments)
}

fn host(workspace: &Workspace, arguments: &Arguments) -> Command {
    let mut command = workspace.cargo(["test", "--release", "--no-fail-fast"]);
    if let Some(package) = &arguments.package {
        command.args(["--package", package]);
    }
    filter(command, arguments)
}

fn filter(mut command: Command, arguments: &Arguments) -> Command {
    if let Some(filter) = &arguments.filter {
        command.args(["--", filter]);
    }
    command
}

/// Runs the tests, passes their output on as it comes, and counts.
pub(crate) fn stream(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo cannot be started")?;
    let output = child.stdout.take().context("the output of cargo is not there")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("the output of the tests cannot be read")?;
        if let Some(more) = Tally::parse(&line) {
            tally += more;
        }
        out::line(line);
    }
    let status = child.wait().context("cargo was lost")?;
    if !status.success() && tally.failed == 0 {
        out::fault(format!("a test program did not build or broke off ({status}); see above"));
        tally.failed = 1;
    }
    Ok(tally)
}

/// How many tests did what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Reads the line with which a test program ends; `None` for any other line.
    fn parse(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let mut tally = Self::default();
        for part in counts.split(';') {
            let (number, what) = part.trim().split_once(' ')?;
            match what {
                "passed" => tally.passed = number.parse().ok()?,
                "failed" => tally.failed = number.parse().ok()?,
                "ignored" => tally.skipped = number.parse().ok()?,
                _ => {}
            }
        }
        Some(tally)
    }

    /// Whether any test failed.
    pub(crate) fn has_failed(self) -> bool {
        self.failed > 0
    }

    /// Prints the count and says how the program ends.
    pub(crate) fn conclude(self) -> ExitCode {
        out::line(self);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_last_line_of_a_test_program_is_read() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.52s";
        assert_eq!(Tally::parse(line), Some(Tally { passed: 12, failed: 1, skipped: 2 }));
        assert_eq!(Tally::parse("test story::begins ... ok"), None);
    }

    #[test]
    fn the_count_names_skipped_tests_only_where_there_are_any() {
        let mut tally = Tally { passed: 12, failed: 0, skipped: 0 };
        assert_eq!(tally.to_string(), "12 passed, 0 failed");
        tally += Tally { passed: 1, failed: 2, skipped: 3 };
        assert_eq!(tally.to_string(), "13 passed, 2 failed, 3 skipped");
    }
}
