//! `cargo xtask soak`.

mod events;
mod fsync;
mod redis_outage;
mod trace;
mod workflows;

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
  cargo xtask soak events        a million events, a hundred killed servers
  cargo xtask soak events --redis   the same on a Redis that is killed a hundred times too
  cargo xtask soak kills         1,000 kills of the stores and of the server
  cargo xtask soak plugins       100,000 hostile calls of plugins
  cargo xtask soak swap          a minute of 500 calls a second while their component is swapped
  cargo xtask soak writers       16 writers of one file, 200 times each
  cargo xtask soak fsync         that a write is on the disk before it is acknowledged
  cargo xtask soak workflows     executions of workflows through a thousand kills
  cargo xtask soak redis-outage  Redis stopped for a minute, then killed for a minute, under load"
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
    /// Publishes events while the server, and its Redis, are killed again and again: none is lost, each has its effect once.
    Events(events::Arguments),
    /// Kills the stores, and the server under HTTP writes, and looks whether anything acknowledged is lost.
    Kills {
        /// Kills of each.
        #[arg(long, default_value_t = 1000, value_name = "NUMBER")]
        times: u32,
    },
    /// Calls hostile plugins: each call ends as it should, a neighbour is answered, memory stays flat.
    Plugins {
        /// Calls.
        #[arg(long, default_value_t = 100_000, value_name = "NUMBER")]
        runs: u32,
    },
    /// Calls a plugin 500 times a second while it is replaced again and again: no call fails, none has an older answer.
    Swap {
        /// How long.
        #[arg(long, default_value_t = 60, value_name = "NUMBER")]
        seconds: u32,
    },
    /// Lets 16 writers change one file by compare-and-set, and looks whether a change is lost.
    Writers {
        /// How often each writes.
        #[arg(long, default_value_t = 200, value_name = "NUMBER")]
        times: u32,
    },
    /// Watches the system calls of one HTTP write. Needs `strace`.
    Fsync,
    /// Kills servers and the programs in sandboxes under executions of workflows: each ends, each effect is had as often as it may.
    Workflows(workflows::Arguments),
    /// Takes Redis away under load: what callers see, and how soon it is over.
    RedisOutage(redis_outage::Arguments),
}

/// Runs a proof, or the tests with hostile input again and again.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    if !matches!(&arguments.what, Some(What::Workflows(arguments)) if !arguments.is_of_workspace()) {
        build::run(workspace)?;
    }
    match &arguments.what {
        None => hostile(workspace, arguments.rounds),
        Some(What::Events(arguments)) => events::run(workspace, arguments),
        Some(What::Kills { times }) => kills(workspace, *times),
        Some(What::Plugins { runs }) => plugins(workspace, *runs),
        Some(What::Swap { seconds }) => swap(workspace, *seconds),
        Some(What::Writers { times }) => writers(workspace, *times),
        Some(What::Fsync) => fsync::run(workspace),
        Some(What::Workflows(arguments)) => workflows::run(workspace, arguments),
        Some(What::RedisOutage(arguments)) => redis_outage::run(workspace, arguments),
    }
}

/// Stops at the first round that fails.
fn hostile(workspace: &Workspace, rounds: u32) -> Result<ExitCode> {
    let mut tally = test::Tally::default();
    for round in 1..=rounds {
        out::step("soak", &format!("round {round} of {rounds}"));
        tally += test::stream(&mut workspace.cargo(["test", "--release", "--no-fail-fast", "--", "hostile"]))?;
        if tally.has_failed() {
            break;
        }
    }
    Ok(tally.conclude())
}

fn kills(workspace: &Workspace, times: u32) -> Result<ExitCode> {
    out::step("soak", &format!("{times} kills of each store and of the server"));
    let mut command = workspace.cargo(["test", "--release", "--no-fail-fast", "--", "killed", "--nocapture"]);
    Ok(test::stream(command.env("NEXUS_TEST_KILLS", times.to_string()))?.conclude())
}

fn plugins(workspace: &Workspace, runs: u32) -> Result<ExitCode> {
    out::step("soak", &format!("{runs} hostile calls of plugins"));
    let mut command = workspace.cargo(["test", "--release", "--test", "storm", "--", "--nocapture"]);
    Ok(test::stream(command.env("NEXUS_TEST_RUNS", runs.to_string()))?.conclude())
}

fn swap(workspace: &Workspace, seconds: u32) -> Result<ExitCode> {
    out::step("soak", &format!("{seconds} s of calls of a component that is swapped"));
    let mut command = workspace.cargo(["test", "--release", "--", "while_a_component_is_swapped", "--nocapture"]);
    Ok(test::stream(command.env("NEXUS_TEST_SECONDS", seconds.to_string()))?.conclude())
}

fn writers(workspace: &Workspace, times: u32) -> Result<ExitCode> {
    out::step("soak", &format!("16 writers of one file, {times} times each"));
    let mut command = workspace.cargo(["test", "--release", "--", "sixteen_writers", "--nocapture"]);
    Ok(test::stream(command.env("NEXUS_TEST_ROUNDS", times.to_string()))?.conclude())
}
