//! The proof that a server stands the loss of its Redis.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use nexus_tests::{Fixture, House, HouseOptions, Loss, OutageReport, RedisServer, Taste, outage};

use crate::{out, setup, workspace::Workspace};

/// How to take it away.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long it is away each time.
    #[arg(long, default_value_t = 60, value_name = "NUMBER")]
    seconds: u32,
}

const APP: &str = "scale-room";
/// The longest that the store may take to serve again.
const RECOVERY: Duration = Duration::from_secs(5);
/// How fast nearly every refusal has to be.
const REFUSAL: Duration = Duration::from_millis(50);

/// Stops Redis, then kills it, each for so many seconds, under a server with callers. Prints what they saw; fails when code
/// stops answering, when refusals are slow or when the return takes longer than five seconds.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    setup::redis()?;
    let seconds = arguments.seconds;
    let folder = workspace.target.join("redis-outage");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let mut redis = RedisServer::start(&folder.join("redis"))?;
    let house = start(workspace, &folder, &redis)?;
    out::step("soak", "having code written for scale-room/convert, which goes on answering without Redis");
    ensure!(house.teach(APP, "convert")? == "active", "the code is not active");
    let mut held = true;
    for loss in [Loss::Stopped, Loss::Killed] {
        out::step("soak", &format!("Redis {} for {seconds} s", word(loss)));
        let report = outage(&house, APP, &mut redis, loss, Duration::from_secs(u64::from(seconds)))?;
        show(loss, &report);
        held &= report.recovery <= RECOVERY && report.refusal(0.99) <= REFUSAL;
    }
    house.stop()?;
    out::line(if held { "redis-outage: held" } else { "redis-outage: NOT held" });
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(workspace: &Workspace, folder: &std::path::Path, redis: &RedisServer) -> Result<House> {
    let (apps, recordings, data) = (folder.join("apps"), folder.join("recordings"), folder.join("data"));
    for made in [&apps, &recordings, &data] {
        std::fs::create_dir_all(made)?;
    }
    Fixture::new(APP, Taste::Opinion)?.write(&apps, &recordings)?;
    let settings = format!("oracle: {{ tick_ms: 100, audit_share: 0 }}\nstore: {}\n", redis.url());
    House::start(HouseOptions::new(workspace.programs(), apps, recordings, settings), &data)
}

fn show(loss: Loss, report: &OutageReport) {
    let rate = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / report.away.as_secs_f64().max(1e-9);
    out::line(format!(
        "Redis {}: away for {}; code answered {:.0} calls/s (slowest {}); {} calls that need the store were refused \
         (503), p50 {}, p99 {}, slowest {}; served again {} after its return",
        word(loss),
        out::duration(report.away),
        rate(report.component_answers),
        out::duration(report.slowest_component),
        report.refusals.len(),
        out::duration(report.refusal(0.5)),
        out::duration(report.refusal(0.99)),
        out::duration(report.refusal(1.0)),
        out::duration(report.recovery),
    ));
}

fn word(loss: Loss) -> &'static str {
    match loss {
        Loss::Stopped => "stopped (SIGSTOP)",
        Loss::Killed => "killed (SIGKILL)",
    }
}
