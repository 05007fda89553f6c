//! `cargo xtask soak workflows`.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use nexus_tests::{DockerEngine, WalkerDriver, WorkflowReport, WorkflowSoak};

use crate::{out, setup, workspace::Workspace};

/// Time between two lines about how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// How many of what.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask soak workflows
  cargo xtask soak workflows --redis     two servers on one Redis, of which one is killed at a time
  cargo xtask soak workflows --docker    the programs in containers
  cargo xtask soak workflows --kills 20 --rate 50 --json")]
pub(super) struct Arguments {
    /// Kills: every third of the programs in sandboxes, the others of a server.
    #[arg(long, default_value_t = 1_000, value_name = "NUMBER")]
    kills: usize,
    /// Executions that are begun in a second.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    rate: u32,
    /// Keep the state in a Redis that two servers share.
    #[arg(long)]
    redis: bool,
    /// Have the programs in containers instead of plain processes.
    #[arg(long)]
    docker: bool,
    /// What chance goes by.
    #[arg(long, default_value_t = 7, value_name = "NUMBER")]
    seed: u64,
    /// The folder of built programs to be taken instead of the workspace's.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// One JSON object instead of lines for people.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Whether the workspace's own programs are needed.
    pub(super) fn is_of_workspace(&self) -> bool {
        self.programs.is_none()
    }
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { kills, rate, redis, seed, .. } = *arguments;
    if redis {
        setup::redis()?;
    }
    let folder = workspace.target.join("soak-workflows");
    let engine = arguments.docker.then(|| DockerEngine::find_or_start(&workspace.target.join("engine"))).transpose()?;
    let driver = match &engine {
        Some(engine) => WalkerDriver::Docker(engine.address()?),
        None => WalkerDriver::Process,
    };
    let on = if redis { "two servers on one Redis" } else { "one server" };
    out::step("soak", &format!("{kills} kills under {rate} executions a second, {on}, seed {seed}"));
    let programs = arguments.programs.clone().unwrap_or_else(|| workspace.programs());
    let soak = WorkflowSoak { programs, driver, kills, rate, redis, seed };
    let told = Mutex::new(Instant::now());
    let say = |text: &str| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() > TOLD_EVERY {
            *told = Instant::now();
            out::step("soak", text);
        }
    };
    let report = soak.run(&folder, &say)?;
    if arguments.json {
        out::line(report.json());
    } else {
        show(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &WorkflowReport) {
    let WorkflowReport { acknowledged, completed, effects, requests, interrupted, servers, programs, .. } = report;
    out::line(format!(
        "{servers} servers and {programs} programs killed in {}: {completed} executions began, {acknowledged} of them \
         acknowledged, and all completed",
        out::duration(report.elapsed)
    ));
    out::line(format!(
        "{effects} effects by key, {requests} requests; in {interrupted} executions a call was not made again"
    ));
    if let (Some(first), Some(last)) = (report.taken_over.first(), report.taken_over.last()) {
        let times = report.taken_over.len();
        out::line(format!("taken over {times} times, after {} to {}", out::duration(*first), out::duration(*last)));
    }
}
