//! `cargo xtask`: the one tool of this repository.

mod bench;
mod build;
mod ci;
mod demo;
mod dist;
mod fuzz;
mod out;
mod plugins;
mod sandboxed;
mod setup;
mod soak;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use self::workspace::Workspace;

/// Sets up, builds, shows, tests and measures Nexus.
///
/// Every command does first what it needs: nothing has to be installed by hand but rustup and a C compiler.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                  watch operations move from a model to code
  cargo xtask demo --once --json    the same without the show: one JSON line per operation
  cargo xtask test                  every test there is
  cargo xtask test --filter story   the tests whose name contains `story`
  cargo xtask bench http --json     requests per second beside bare servers";

#[derive(Subcommand)]
enum Task {
    /// Brings what building needs (the wasm32-wasip2 target, a C compiler with WASI headers) and what the tests need (Python,
    /// Redis, Docker, components in other languages).
    Setup,
    /// Builds everything: set-up, components, programs.
    Build,
    /// Builds what a container is made of, into `dist` in the target folder: `nexus` without shared libraries, components, samples.
    Dist,
    /// Shows the whole story, live: a model answers, Nexus writes code, the code takes over.
    Demo(demo::Arguments),
    /// Runs every test; the last line is the count.
    Test(test::Arguments),
    /// Measures, and prints the configuration beside the figures.
    Bench(bench::Arguments),
    /// Runs the proofs that take too long for every change.
    Soak(soak::Arguments),
    /// Feeds what reads bytes from outside with inputs that libFuzzer makes up. Needs a nightly compiler and `cargo-fuzz`.
    Fuzz(fuzz::Arguments),
    /// What a change must pass: format, lints, tests.
    Ci,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            out::fault(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => {
            setup::run(&workspace)?;
            setup::for_tests(&workspace)?;
        }
        Task::Build => build::run(&workspace)?,
        Task::Dist => dist::run(&workspace)?,
        Task::Demo(arguments) => return demo::run(&workspace, &arguments),
        Task::Test(arguments) => return test::run(&workspace, &arguments),
        Task::Bench(arguments) => bench::run(&workspace, &arguments)?,
        Task::Soak(arguments) => return soak::run(&workspace, &arguments),
        Task::Fuzz(arguments) => fuzz::run(&workspace, &arguments)?,
        Task::Ci => return ci::run(&workspace),
    }
    Ok(ExitCode::SUCCESS)
}
