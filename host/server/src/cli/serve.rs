//! `nexus serve`: settings, start, wait, drain.

use std::{io::IsTerminal, sync::Arc};

use nexus_signals::{HostMetrics, LogGuard, LogQueue, LoggingService, LoggingSettings, Redactor, Telemetry};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    args::{Format, Serve},
    failure::Failure,
    output::Output,
};
use crate::{
    AdminKey, Running, Server, Surroundings,
    data_dir::ADMIN_KEY_FILE,
    environment::Environment,
    secrets::AllSecrets,
    settings::{LogSettings, Override, Settings, Sources},
};

pub(super) fn run(serve: &Serve, output: Output, environment: Environment, redactor: Redactor) -> Result<(), Failure> {
    let (settings, warnings) = sources(serve).load(&environment)?;
    if serve.print_config {
        let text =
            if output.json { serde_json::to_string(&settings).ok() } else { serde_saphyr::to_string(&settings).ok() };
        output.piece(&format!("{}\n", text.unwrap_or_default().trim_end()));
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    let exported = settings.telemetry.exported(&environment);
    let metrics: Arc<HostMetrics> = Arc::default();
    let telemetry = exported
        .map(|exported| Telemetry::new(exported, runtime.handle().clone(), &metrics, redactor.clone()))
        .transpose()?;
    let show_admin_key = output.is_for_people();
    let mut surroundings =
        Surroundings { environment, show_admin_key, log: None, telemetry: telemetry.clone(), metrics, redactor };
    let _flushed_at_the_end = start_log(&settings, output, &mut surroundings)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let ended = runtime.block_on(async {
        let ended = live(settings, output, surroundings).await;
        if let Some(telemetry) = telemetry {
            telemetry.stop().await;
        }
        ended
    });
    // What still runs after the drain is not waited for.
    runtime.shutdown_background();
    ended
}

fn sources(serve: &Serve) -> Sources {
    let named = [("--data-dir", "data_dir", &serve.data_dir), ("--listen", "listen", &serve.listen)];
    let more =
        [("--store", "store", &serve.store), ("--apps", "apps", &serve.apps), ("--log", "log.level", &serve.log)];
    let texts = named.into_iter().chain(more);
    let mut flags: Vec<Override> =
        texts.filter_map(|(flag, path, value)| Some(Override::new(flag, path, value.clone()?))).collect();
    let switches = [
        ("--insecure-local", "insecure_local", serve.insecure_local),
        ("--metrics-open", "metrics_open", serve.metrics_open),
    ];
    flags.extend(switches.iter().filter(|(_, _, on)| *on).map(|(flag, path, _)| Override::new(*flag, path, "true")));
    if let Some(format) = serve.log_format {
        let value = match format {
            Format::Human => "human",
            Format::Json => "json",
        };
        flags.push(Override::new("--log-format", "log.format", value));
    }
    flags.extend(serve.set.iter().map(|(path, value)| Override::new(format!("--set {path}"), path, value.clone())));
    Sources { file: serve.config.clone(), flags }
}

async fn live(settings: Settings, output: Output, surroundings: Surroundings) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
    let data_dir = settings.data_dir.clone();
    let keys = !settings.insecure_local;
    let running = tokio::select! {
        running = Server::start_in(settings, surroundings) => running?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let key_file = data_dir.join(ADMIN_KEY_FILE);
    let key_file = (keys && key_file.is_file()).then(|| key_file.canonicalize().unwrap_or(key_file));
    if output.json {
        output.value(&json!({ "listening": running.url(), "admin_key_file": key_file }));
    } else {
        greet(&running, output, keys, key_file.as_deref());
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; a second signal ends this at once");
    tokio::select! {
        finished = running.stop() => tracing::info!(finished, "stopped"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn greet(running: &Running, output: Output, keys: bool, key_file: Option<&std::path::Path>) {
    let url = running.url();
    output.line(&format!("Nexus listens on {url}"));
    match (&running.admin_key, key_file) {
        (AdminKey::Shown(key), _) => {
            output.line(&format!("\nAdmin key, shown this once:\n  {}", key.expose_secret()));
            output.line("\nNext:\n  export NEXUS_KEY=<the key above>");
        }
        (_, Some(file)) => {
            output.line(&format!("\nAdmin key: {}", file.display()));
            output.line(&format!("\nNext:\n  export NEXUS_KEY=$(cat {})", file.display()));
        }
        _ if !keys => output.line("Nobody is asked for a key (--insecure-local)\n\nNext:"),
        _ => output.line("\nNext:"),
    }
    output.line(&format!("  nexus apps list --url {url}"));
    output.line(&format!("  curl {url}/openapi.json"));
    if !std::io::stderr().is_terminal() {
        tracing::info!(url, "listening");
    }
}

/// Logs to standard error and to the data directory, with secrets masked wherever they might turn up.
fn start_log(settings: &Settings, output: Output, surroundings: &mut Surroundings) -> Result<LogGuard, Failure> {
    learn(settings, &surroundings.environment, &surroundings.redactor);
    let (queue, records) = LogQueue::new();
    surroundings.log = Some(records);
    let LogSettings { level, format, .. } = settings.log.clone();
    let logging = LoggingSettings {
        filter: level,
        format,
        colour: output.colours(),
        redactor: surroundings.redactor.clone(),
        queue: Some(queue),
        telemetry: surroundings.telemetry.clone(),
        metrics: Arc::clone(&surroundings.metrics),
    };
    Ok(LoggingService::new(logging)?.install()?)
}

/// What the settings name is masked whether or not it is ever opened: keys of models, passwords, secrets of applications,
/// the collector's fields. Everything else is learnt when it is opened.
fn learn(settings: &Settings, environment: &Environment, redactor: &Redactor) {
    let known = AllSecrets::of_operator(&settings.secrets_dir, environment, redactor);
    let remote = settings.definitions.remote.iter().filter_map(|remote| remote.password.as_ref());
    let models = settings.models.values().filter_map(|model| model.key.as_ref());
    let apps = settings.secrets.values().flat_map(|named| named.values());
    for reference in models.chain(&settings.redis.password).chain(remote).chain(apps) {
        known.resolve(reference);
    }
    let collector = settings.telemetry.exported(environment).map(|exported| exported.headers).unwrap_or_default();
    for value in collector.values() {
        redactor.learn(value);
    }
}
