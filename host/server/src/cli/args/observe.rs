//! `nexus logs` and `nexus metrics`.

use clap::Args;

use super::Connection;

/// Read what was said, by the host and by components, oldest first.
///
/// With a key that is not an admin's, only what is about the applications that it may read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus logs --app order-desk --level warn --since 1h\n  nexus logs --execution 0197a1b2-0000-7000-8000-000000000000\n  nexus logs --grep 'time-out' --follow --json"
)]
pub(crate) struct Logs {
    /// Only about this application.
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Only about operations of this name.
    #[arg(long)]
    pub(crate) operation: Option<String>,
    /// Only about this execution.
    #[arg(long, value_name = "ID")]
    pub(crate) execution: Option<String>,
    /// Only what matters at least so much: `trace`, `debug`, `info`, `warn` or `error`.
    #[arg(long)]
    pub(crate) level: Option<String>,
    /// Only what holds this text; case does not matter.
    #[arg(long, value_name = "TEXT")]
    pub(crate) grep: Option<String>,
    /// Not before this time, or not longer ago than `15m`, `2h` or `7d`.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Before this time, or longer ago than that.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// At most this many, the newest.
    #[arg(long, default_value_t = 200)]
    pub(crate) limit: usize,
    /// Go on with what is said from now on.
    #[arg(long, short, conflicts_with = "until")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// See what operations did within the last day: calls, errors, times, tokens, cost, fuel, and why code passed calls on.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus metrics\n  nexus metrics --app order-desk --since 24h\n  nexus metrics --app order-desk --metric calls,errors --step 10m --json"
)]
pub(crate) struct Metrics {
    /// Only of this application.
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Only of operations of this name.
    #[arg(long)]
    pub(crate) operation: Option<String>,
    /// Only these, with commas between, point by point; the names are in the README.
    #[arg(long, value_name = "NAMES")]
    pub(crate) metric: Option<String>,
    /// From this time, or from so long ago.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) since: String,
    /// To this time, or to so long ago; now if left out.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// The length of a point, as `1m` or `2h`; one point if left out.
    #[arg(long, value_name = "DURATION")]
    pub(crate) step: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
