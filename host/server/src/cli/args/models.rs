//! `nexus model` and `nexus record`: what models are there, and what they answer.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// List the models: provider, price and its date, whether the key is there.
    #[command(after_help = "Examples:\n  nexus model list\n  nexus model list --config /etc/nexus.yaml --json")]
    List {
        /// The settings; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Ask a model once: can it be reached, is the key accepted, does it keep to a schema, does it stream.
    Test(ModelTest),
}

/// Ask a model once: can it be reached, is the key accepted, does it keep to a schema, does it stream.
///
/// The call is real and costs some hundred tokens. Fall-backs are not asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexus model test small\n  nexus model test coder --json --timeout 2m")]
pub(crate) struct ModelTest {
    /// The model's alias.
    pub(crate) alias: String,
    /// The settings; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How long it may take.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) timeout: String,
}

/// Record what a model answers, for `nexus-replay`.
///
/// Each input is rendered with the operation's prompt and asked of its model, without fall-backs. What comes back is added to
/// `<recordings>/<app>/<operation>.jsonl` with measured tokens and latency. Nothing is written over, and what is recorded
/// already is not asked again: a run that was ended goes on where it was.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus record order-desk parse-date --inputs inputs.jsonl --dry-run\n  nexus record order-desk parse-date --inputs inputs.jsonl --parallel 8\n  nexus record order-desk parse-date --from-server --limit 500"
)]
pub(crate) struct Record {
    /// The application.
    pub(crate) app: String,
    /// The operation.
    pub(crate) operation: String,
    /// Inputs, one a line, as JSON.
    #[arg(long, value_name = "FILE", required_unless_present = "from_server", conflicts_with = "from_server")]
    pub(crate) inputs: Option<PathBuf>,
    /// Take the inputs of a running server's executions.
    #[arg(long)]
    pub(crate) from_server: bool,
    /// The folder of applications.
    #[arg(long, value_name = "DIR", default_value = "apps")]
    pub(crate) apps: PathBuf,
    /// The folder of recordings [default: `recordings` in the folder of applications].
    #[arg(long, value_name = "DIR")]
    pub(crate) recordings: Option<PathBuf>,
    /// The settings with the model; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Ask the model of this alias instead of the one that the prompt names.
    #[arg(long, value_name = "ALIAS")]
    pub(crate) model: Option<String>,
    /// How many are asked at one time, 1 to 64.
    #[arg(long, default_value_t = 4, value_parser = at_one_time)]
    pub(crate) parallel: usize,
    /// Record at most so many.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) limit: usize,
    /// Ask nobody; show what it would cost.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

pub(super) fn at_one_time(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=64).contains(count)).ok_or_else(|| "write a number from 1 to 64".to_owned())
}
