//! `nexus serve`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::setting;

/// Start a server.
///
/// Settings come from `nexus.yaml`, then from variables (`NEXUS_LIMITS__BODY_BYTES` is `limits.body_bytes`), then from
/// flags; the later wins. The first start makes an admin key: shown once on a terminal, otherwise written to the file
/// `admin-key` in the data directory.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus serve --apps apps\n  nexus serve --config /etc/nexus.yaml --listen 0.0.0.0:7070\n  nexus serve --store redis://127.0.0.1:6379\n  nexus serve --set limits.in_flight=256 --print-config"
)]
pub(crate) struct Serve {
    /// The settings; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept [default: nexus-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// The address to listen on [default: 127.0.0.1:7070].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where runtime state is kept: `embedded`, or a Redis as `redis://HOST:PORT` [default: embedded].
    #[arg(long, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// A folder of applications to import, now and on every change.
    #[arg(long, value_name = "DIR")]
    pub(crate) apps: Option<String>,
    /// Ask for no keys. Only on a loopback address.
    #[arg(long)]
    pub(crate) insecure_local: bool,
    /// Show `/metrics` without a key.
    #[arg(long)]
    pub(crate) metrics_open: bool,
    /// What is logged: a level, or directives as `info,nexus_core=debug`.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// How the log looks.
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<Format>,
    /// Any other setting, as `limits.drain=10s`; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Show the settings as they would be in force, and end.
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}
