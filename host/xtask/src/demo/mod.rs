//! `cargo xtask demo`: the whole story, live.
//!
//! Traffic goes to real programs over HTTP. Only the models are replayed, each answer after the time that it took when
//! it was recorded.

mod curl;
mod progress;
mod report;
mod standing;
mod traffic;
mod view;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{scope, sleep},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nexus_tests::{Counts, House, HouseOptions, Latency, OperationInputs};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::{progress::Shared, traffic::Lane, view::Screen};
use crate::{build, out, workspace::Workspace};

/// How the demo is shown.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask demo                  watch, then try the printed curl lines; Ctrl-C ends it
  cargo xtask demo --once           end by itself
  cargo xtask demo --once --json    one JSON line per operation on standard output")]
pub(crate) struct Arguments {
    /// End after every operation was switched to code or refused, instead of leaving the server up.
    #[arg(long)]
    once: bool,
    /// Print one JSON line per operation at the end; everything else goes to standard error.
    #[arg(long, requires = "once")]
    json: bool,
    /// The seed of the replayed latencies.
    #[arg(long, default_value_t = 7, value_name = "NUMBER")]
    seed: u64,
    /// Replay without the recorded latency.
    #[arg(long)]
    fast: bool,
    /// A folder to write requests to that have no recording, for whoever records them.
    #[arg(long, value_name = "DIR")]
    missing: Option<PathBuf>,
}

/// Time between two looks at the server.
const LOOK: Duration = Duration::from_millis(250);

/// Builds, starts, sends, shows.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    build::run(workspace)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals cannot be caught")?;
    }
    let recordings = workspace.root.join("apps/recordings");
    let operations = nexus_tests::inputs(&recordings)?;
    if operations.is_empty() {
        bail!("there are no inputs in {}", recordings.display());
    }
    introduce(nexus_tests::count(&recordings)?, arguments);
    let data = data_folder(workspace)?;
    let house = House::start(options(workspace, arguments), &data)?;
    let shared = show(&house, operations, arguments, &stop).map_err(|error| with_logs(&error, &house))?;
    conclude(&house, &shared, arguments, &stop)?;
    house.stop()?;
    // What a demo left behind is of no use to anybody.
    let _ = std::fs::remove_dir_all(&data);
    Ok(if shared.iter().all(|lane| lane.read().succeeded()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(workspace: &Workspace, arguments: &Arguments) -> HouseOptions {
    HouseOptions {
        programs: workspace.programs(),
        apps: Some(workspace.root.join("apps")),
        replayed: workspace.root.join("apps"),
        recordings: workspace.root.join("apps/recordings"),
        latency: if arguments.fast { Latency::None } else { Latency::Recorded },
        seed: arguments.seed,
        faults: "",
        strict_coder: true,
        missing: arguments.missing.clone(),
        settings: String::new(),
        cores: None,
    }
}

/// A folder of this run alone.
fn data_folder(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join(format!("demo/{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

fn introduce(counts: Counts, arguments: &Arguments) {
    let Counts { recorded, written } = counts;
    out::note(format!(
        "Answers of models are replayed{}: {recorded} recorded, given by a language model to the prompt that Nexus \
         sends; {written} written by hand. Everything else is real.",
        if arguments.fast { ", without their latency" } else { ", each with its latency" },
    ));
}

/// Sends the traffic and draws, until every operation has been through.
fn show(
    house: &House,
    operations: Vec<OperationInputs>,
    arguments: &Arguments,
    stop: &AtomicBool,
) -> Result<Vec<Shared>> {
    let shared: Vec<Shared> = operations.iter().map(|one| Shared::new(&one.app, &one.operation)).collect();
    let mut screen = Screen::new(arguments.json);
    scope(|threads| {
        for (operation, progress) in operations.into_iter().zip(&shared) {
            let lane = Lane { api: house.api.clone(), operation, progress: progress.clone(), stop };
            threads.spawn(move || lane.run());
        }
        while !shared.iter().all(|lane| lane.read().finished()) && !stop.load(Ordering::Relaxed) {
            for lane in &shared {
                lane.look(&house.api);
            }
            screen.draw(&shared);
            sleep(LOOK);
        }
    });
    for lane in &shared {
        lane.look(&house.api);
    }
    screen.draw(&shared);
    if !stop.load(Ordering::Relaxed)
        && let Some(lane) = shared.iter().find(|lane| !lane.read().settled())
    {
        bail!("{} was neither switched to code nor refused in time", lane.read().name());
    }
    Ok(shared)
}

fn conclude(house: &House, shared: &[Shared], arguments: &Arguments, stop: &AtomicBool) -> Result<()> {
    for lane in shared {
        let progress = lane.read();
        if let Some(failure) = &progress.last_failure {
            out::fault(format!("{}: {} calls failed, the last with {failure}", progress.name(), progress.failures));
        }
        if arguments.json {
            out::line(serde_json::to_string(&report::Line::of(&progress))?);
        }
    }
    if arguments.once || stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    out::line(curl::lines(house, shared));
    while !stop.load(Ordering::Relaxed) {
        sleep(LOOK);
    }
    out::note("stopping");
    Ok(())
}

fn with_logs(error: &anyhow::Error, house: &House) -> anyhow::Error {
    anyhow::anyhow!(
        "{error:#}\n--- the end of the server's log\n{}\n--- the end of the replay's log\n{}",
        house.nexus.tail(25),
        house.replay.tail(10)
    )
}
