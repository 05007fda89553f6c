//! `cargo xtask soak`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{build, out, test, workspace::Workspace};

/// How long to soak.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask soak               20 rounds
  cargo xtask soak --rounds 200  over night")]
pub(crate) struct Arguments {
    /// Rounds of all tests with hostile input.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    rounds: u32,
}

/// Runs the tests with hostile input again and again, and stops at the first round that fails.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    build::run(workspace)?;
    let mut tally = test::Tally::default();
    for round in 1..=arguments.rounds {
        out::step("soak", &format!("round {round} of {}", arguments.rounds));
        tally += test::stream(&mut workspace.cargo(["test", "--release", "--no-fail-fast", "--", "hostile"]))?;
        if tally.has_failed() {
            break;
        }
    }
    Ok(tally.conclude())
}
