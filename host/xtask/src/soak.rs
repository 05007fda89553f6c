//! `cargo xtask soak`.

mod events;

use std::process::ExitCode;

use anyhow::Result;

use crate::{build, out, test, workspace::Workspace};

/// How long to soak.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  cargo xtask soak               20 rounds
  cargo xtask soak --rounds 200  over night
  cargo xtask soak events        a million events, a hundred killed servers"
)]
pub(crate) struct Arguments {
    /// Rounds of all tests with hostile input.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    rounds: u32,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Publishes events while the server is killed again and again: none is lost, and each has its effect once.
    Events(events::Arguments),
}

/// Runs the tests with hostile input again and again, and stops at the first round that fails.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    build::run(workspace)?;
    if let Some(What::Events(arguments)) = &arguments.what {
        return events::run(workspace, arguments);
    }
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
