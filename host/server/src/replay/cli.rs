//! The command line of `nexus-replay`.

use std::{ffi::OsString, io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use clap::Parser;
use secrecy::SecretString;
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{Faults, Latency, Options, Replay, Summary, WHAT, router};
use crate::{cli::output::Output, environment::Environment};

/// How long open answers have to end.
const DRAIN: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  Replay the recordings of the sample applications, as fast as they were:
    nexus-replay --apps apps --listen 127.0.0.1:4010

  At once, and write down what has no recording:
    nexus-replay --apps apps --latency none --missing /tmp/missing

  A provider on a bad day, the same one each time:
    nexus-replay --apps apps --seed 7 --faults 429=0.05,500=0.02,truncate=0.01,stall=0.01

  A server's settings for it (nexus.yaml):
    models:
      small: { endpoint: \"http://127.0.0.1:4010/v1\", model: small }
  or, in the protocols of Anthropic and Ollama:
      small: { provider: anthropic, endpoint: \"http://127.0.0.1:4010/v1\", model: small }
      small: { provider: ollama, endpoint: \"http://127.0.0.1:4010\", model: small }";

/// A stand-in for a language model that replays recorded answers.
///
/// It speaks `OpenAI`'s chat completions, Anthropic's messages and Ollama's chat, but it is no model: it finds the recorded answer by the rendered messages, an agent's turn by the question and the
/// number of results of tools since, and whatever was not recorded is an error (HTTP 404, `no_recording`). A changed prompt has no recordings.
#[derive(Debug, Parser)]
#[command(name = "nexus-replay", version, after_help = EXAMPLES)]
struct Arguments {
    /// The folder of applications, whose prompts the recordings are rendered with.
    #[arg(long, value_name = "DIR")]
    apps: PathBuf,
    /// The folder of recordings [default: `recordings` in the folder of applications].
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one. The address is printed as one line of JSON.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The key that requests must have, each where its protocol puts it; any or none if left out.
    #[arg(long)]
    key: Option<String>,
    /// How long answers take: `recorded`, `none`, milliseconds, or `scale:` and a factor.
    #[arg(long, default_value = "recorded")]
    latency: Latency,
    /// Faults on purpose and their shares: 429, 500, truncate, stall, `not_json`, `bad_schema`.
    #[arg(long, value_name = "KIND=SHARE,…", default_value = "")]
    faults: Faults,
    /// Decides about chance: the same requests in the same order meet the same faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder to write requests without a recording to, for whoever records them.
    #[arg(long, value_name = "DIR")]
    missing: Option<PathBuf>,
    /// Refuse a coder's request whose prompt is not the one that was recorded.
    #[arg(long)]
    strict_coder: bool,
}

/// Replays until it is told to stop (SIGTERM or Ctrl-C). Exit codes: 0 stopped; 2 wrong usage, faults in the recordings,
/// or no socket.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Whoever reads may have gone away.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(true, environment);
    match start(arguments, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.note(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn start(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(output.colours()).with_target(false).init();
    let recordings = arguments.recordings.unwrap_or_else(|| arguments.apps.join("recordings"));
    let replay = Replay::load(&arguments.apps, &recordings)?;
    output.note(&told(replay.summary()));
    let options = Options {
        seed: arguments.seed,
        latency: arguments.latency,
        faults: arguments.faults,
        key: arguments.key.map(SecretString::from),
        strict_coder: arguments.strict_coder,
        missing: arguments.missing,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(serve(arguments.listen, replay, options, output))
}

async fn serve(address: SocketAddr, replay: Replay, options: Options, output: Output) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr().context("no address")?;
    output.value(&json!({ "listening": format!("http://{address}"), "what": WHAT }));

    let stop = CancellationToken::new();
    let routes = router(Arc::new(replay), options, stop.clone());
    // A streamed answer is many small writes; that they go out late is no reason to end.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    let stopping = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stop.cancel();
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = serving => ended.context("serving failed"),
        () = stopping => Ok(()),
    }
}

fn told(summary: &Summary) -> String {
    let mut lines = vec![format!("nexus-replay: {WHAT}")];
    for (operation, counts) in &summary.operations {
        lines.push(format!(
            "  {operation}: {} recorded, {} written; code: {} recorded, {} written; turns of agents: {} recorded, {} written",
            counts.recorded,
            counts.written,
            counts.coder_recorded,
            counts.coder_written,
            counts.agent_recorded,
            counts.agent_written
        ));
    }
    lines.join("\n")
}
