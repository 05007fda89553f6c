//! `nexus engine-guard`: listen, wait, end.

use std::time::Duration;

use nexus_sandbox::{EngineGuard, GuardSettings};
use nexus_signals::{LogFormat, LogGuard, LoggingService, LoggingSettings, Redactor};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

use super::{
    args::{Format, Guard},
    failure::Failure,
    output::Output,
};

/// How long connections may take to end.
const LAST: Duration = Duration::from_secs(5);

pub(super) fn run(guard: &Guard, output: Output, redactor: Redactor) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    if guard.check {
        runtime.block_on(EngineGuard::ask(&guard.listen)).map_err(Failure::NoEngine)?;
        if output.json {
            output.value(&json!({ "status": "ready" }));
        } else {
            output.line("ready");
        }
        return Ok(());
    }
    let _flushed_at_the_end = start_log(guard, output, redactor)?;
    let ended = runtime.block_on(live(guard));
    runtime.shutdown_background();
    ended
}

async fn live(guard: &Guard) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
    let settings = GuardSettings {
        engine: guard.engine.clone(),
        listen: guard.listen.clone(),
        runtimes: guard.runtimes.clone(),
        memory: u64::from(guard.max_memory) << 20,
        ..GuardSettings::default()
    };
    let tasks = TaskTracker::new();
    let running = EngineGuard::listen(settings, &tasks).await.map_err(Failure::Guard)?;
    tracing::info!(address = %running.address(), engine = %guard.engine, "listening");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(running);
    tasks.close();
    let finished = tokio::time::timeout(LAST, tasks.wait()).await.is_ok();
    tracing::info!(finished, "stopped");
    Ok(())
}

/// On standard error, as a server's.
fn start_log(guard: &Guard, output: Output, redactor: Redactor) -> Result<LogGuard, Failure> {
    let format = match guard.log_format {
        Some(Format::Json) => LogFormat::Json,
        Some(Format::Human) | None => LogFormat::Human,
    };
    let colour = output.colours();
    let logging = LoggingSettings { filter: guard.log.clone(), format, colour, redactor, ..LoggingSettings::default() };
    Ok(LoggingService::new(logging)?.install()?)
}
