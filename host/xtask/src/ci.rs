//! `cargo xtask ci`: what a change must pass.

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    build, out, plugins, test,
    workspace::{Workspace, run as run_command},
};

/// Runs every step and says how long each took. The last line is the count of the tests.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode> {
    let mut times = Times::default();
    times.step("format", || run_command(&mut workspace.cargo(["fmt", "--all", "--check"])))?;
    times.step("set-up and components", || build::components(workspace))?;
    times.step("lint the guests", || lint(guests(workspace)?))?;
    let linted = Workspace { lints: true, ..workspace.clone() };
    times.step("lint and build the host", || build::run(&linted))?;
    times.step("lint and build benchmarks and tests", || {
        let benches = ["build", "--release", "--bench", "calls", "--bench", "sandbox", "--bench", "tools"];
        run_command(&mut linted.cargo(benches))?;
        run_command(&mut linted.cargo(["test", "--release", "--no-run"]))
    })?;
    let tally = times.measure("test", || test::execute(&linted, &test::Arguments::default()));
    times.report();
    Ok(tally?.conclude())
}

fn guests(workspace: &Workspace) -> Result<Command> {
    let mut clippy = plugins::cargo(workspace, "clippy")?;
    for package in plugins::packages() {
        clippy.args(["--package", package]);
    }
    Ok(clippy)
}

fn lint(mut command: Command) -> Result<()> {
    run_command(command.args(["--", "-D", "warnings"]))
}

#[derive(Default)]
struct Times {
    steps: Vec<(&'static str, Duration)>,
}

impl Times {
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        out::step("ci", name);
        self.measure(name, work).with_context(|| format!("step `{name}`"))
    }

    fn measure<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = work();
        self.steps.push((name, begin.elapsed()));
        result
    }

    fn report(&self) {
        for (name, time) in &self.steps {
            out::note(format!("{name:<24} {}", out::duration(*time)));
        }
    }
}
