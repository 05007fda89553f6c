//! `nexus doctor`.

use std::path::PathBuf;

use clap::Args;

use super::setting;

/// Look for what is wrong with settings, stores, models and this machine, and say how to mend it.
///
/// One line for each check: ok, warn (a server works, but something is not as it should be) or fail, with what was found
/// and the mend. Changes nothing, and can be run beside a server. The exit code is 0 if nothing failed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus doctor\n  nexus doctor --config /etc/nexus.yaml --live\n  nexus doctor --json | jq '.checks[] | select(.outcome == \"fail\")'"
)]
pub(crate) struct Doctor {
    /// The settings; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept [default: nexus-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Any other setting, as for `nexus serve`; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Ask each model one tiny question. It may cost money.
    #[arg(long)]
    pub(crate) live: bool,
    /// How long each look at a network may take; asking a model may take six times as long.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) timeout: String,
}
