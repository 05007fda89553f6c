//! `cargo xtask soak events`.

use std::process::ExitCode;

use anyhow::Result;
use nexus_tests::EventSoak;

use crate::{out, workspace::Workspace};

/// How many of what.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask soak events
  cargo xtask soak events --events 50000 --kills 10
  cargo xtask soak events --events 50000 --kills 0 --json")]
pub(super) struct Arguments {
    /// Events that are published.
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER")]
    events: usize,
    /// How often the server, which is publisher and consumer, is killed.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    kills: usize,
    /// Events among them that no operation takes.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    poison: usize,
    /// One JSON object instead of lines for people.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { events, kills, poison, json } = *arguments;
    out::step("soak", &format!("{events} events, {kills} kills"));
    let soak = EventSoak { programs: workspace.programs(), events, kills, poison };
    let report = soak.run(&workspace.target.join("soak-events"))?;
    if json {
        out::line(report.json());
        return Ok(ExitCode::SUCCESS);
    }
    out::line(format!("{events} events, {kills} kills of the server: none lost, each effect once"));
    out::line(format!("{} poison events put aside after 5 deliveries each", report.dead));
    out::line(format!("{:.0} events a second from first publication to last effect", report.per_second));
    out::line(format!("publication to effect: p50 {} ms, p99 {} ms, kills included", report.p50_ms, report.p99_ms));
    Ok(ExitCode::SUCCESS)
}
