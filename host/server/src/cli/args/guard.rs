//! `nexus engine-guard`.

use clap::Args;
use nexus_sandbox::EngineAddress;

use super::Format;

/// Stand before a Docker engine, and let through only what Nexus does with it.
///
/// Whoever may use an engine has its machine. With a guard, a Nexus that somebody took over has sandboxes and nothing else:
/// containers without capabilities, network, files of the machine or root, and volumes and images of its own. Everything else is
/// refused and logged. Give the socket to the guard alone, and `sandbox.docker_host` the guard's address, in a network that only
/// the two share.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus engine-guard --listen tcp://127.0.0.1:2375\n  nexus engine-guard --engine unix:///run/user/1000/docker.sock --listen unix:///run/nexus/engine\n  nexus engine-guard --listen tcp://0.0.0.0:2375 --runtime runsc\n  nexus engine-guard --listen tcp://0.0.0.0:2375 --check"
)]
pub(crate) struct Guard {
    /// Where the engine listens: `unix:///path` or `tcp://host:port`.
    #[arg(long, value_name = "ADDRESS", default_value = "unix:///var/run/docker.sock")]
    pub(crate) engine: EngineAddress,
    /// Where to listen. Whoever reaches it may start sandboxes.
    #[arg(long, value_name = "ADDRESS", default_value = "tcp://127.0.0.1:2375")]
    pub(crate) listen: EngineAddress,
    /// A runtime of the engine that sandboxes may have, as `runsc`; may be repeated. Its own they may have anyway.
    #[arg(long = "runtime", value_name = "NAME")]
    pub(crate) runtimes: Vec<String>,
    /// The most memory of one sandbox, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 16_384)]
    pub(crate) max_memory: u32,
    /// What is logged: a level, or directives as `info,nexus_sandbox=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log: String,
    /// How the log looks.
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<Format>,
    /// Ask the guard that listens at `--listen` whether its engine answers, and end. Exits with 1 when it does not: for health checks.
    #[arg(long)]
    pub(crate) check: bool,
}
