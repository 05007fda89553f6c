//! `cargo xtask soak events`.

use std::{
    process::{Command, ExitCode},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{EventReport, EventSoak, RedisServer};
use serde_json::{Value, json};

use crate::{
    out, setup,
    workspace::{Workspace, run as run_command},
};

/// Time between two lines about how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// How many of what.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask soak events
  cargo xtask soak events --redis
  cargo xtask soak events --redis --events 100000 --kills 10 --redis-kills 10
  cargo xtask soak events --events 50000 --kills 0 --json")]
pub(super) struct Arguments {
    /// Events that are published.
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER")]
    events: usize,
    /// How often the server, which is publisher and consumer, is killed.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    kills: usize,
    /// Keep the state in a Redis, kill that too, and measure a bare loop over a Redis stream beside it.
    #[arg(long)]
    redis: bool,
    /// How often Redis is killed.
    #[arg(long, default_value_t = 100, value_name = "NUMBER", requires = "redis")]
    redis_kills: usize,
    /// Events among them that no operation takes.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    poison: usize,
    /// One JSON object instead of lines for people.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { events, kills, poison, .. } = *arguments;
    if arguments.redis {
        setup::redis()?;
    }
    let redis_kills = arguments.redis.then_some(arguments.redis_kills);
    let of_redis = redis_kills.map(|kills| format!(", {kills} of Redis")).unwrap_or_default();
    out::step("soak", &format!("{events} events, {kills} kills of the server{of_redis}"));
    let soak = EventSoak { programs: workspace.programs(), events, kills, poison, redis_kills };
    let told = Mutex::new(Instant::now());
    let say = |text: &str| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() > TOLD_EVERY {
            *told = Instant::now();
            out::step("soak", text);
        }
    };
    let bare = arguments.redis.then(|| bare(workspace, events)).transpose()?;
    let report = soak.run(&workspace.target.join("soak-events"), &say)?;
    if arguments.json {
        let Value::Object(mut shown) = report.json() else { return Ok(ExitCode::FAILURE) };
        shown.extend(bare.map(|bare| ("bare_redis_stream".to_owned(), bare)));
        shown.insert("kills".to_owned(), json!({ "server": kills, "redis": redis_kills }));
        out::line(Value::Object(shown));
        return Ok(ExitCode::SUCCESS);
    }
    out::line(format!("{events} events, {kills} kills of the server{of_redis}: none lost, each effect once"));
    show(&report);
    if let Some(bare) = bare {
        out::line(format!(
            "a bare loop over a Redis stream, nobody killed: {:.0} events a second, p50 {} ms, p99 {} ms",
            bare["events_per_second"].as_f64().unwrap_or_default(),
            bare["p50_ms"],
            bare["p99_ms"]
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(report: &EventReport) {
    out::line(format!("{} poison events put aside after 5 deliveries each", report.dead));
    out::line(format!("{} effects needed a second delivery", report.redelivered));
    out::line(format!("{:.0} events a second from first publication to last effect", report.per_second));
    out::line(format!("publication to effect: p50 {} ms, p99 {} ms, kills included", report.p50_ms, report.p99_ms));
}

/// The figures of a loop that only appends, reads and acknowledges, on a Redis with the same settings.
fn bare(workspace: &Workspace, events: usize) -> Result<Value> {
    out::step("soak", "the same number of events through a bare Redis stream, for comparison");
    run_command(&mut workspace.cargo(["build", "--release", "--examples"]))?;
    let folder = workspace.target.join("soak-events-bare");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let redis = RedisServer::start(&folder)?;
    let mut command = Command::new(workspace.programs().join("examples/bare-stream"));
    let output = command.args([&redis.url(), &events.to_string()]).output().context("bare-stream cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "bare-stream: {text}");
    serde_json::from_str(&text).with_context(|| format!("bare-stream said `{text}`"))
}
