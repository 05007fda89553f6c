//! `nexus check` and `nexus new`: applications as folders, without a server.

use std::path::PathBuf;

use clap::Args;

use super::setting;

/// Check applications, without a server.
///
/// Shows every fault at once, each with its place and what was expected. `--json` writes an array of faults.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexus check apps\n  nexus check apps/order-desk --json")]
pub(crate) struct Check {
    /// An application's folder, or a folder of them.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Check the aliases of models against these settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Begin an application from a template, without a server.
///
/// Writes its files into a new folder and checks them. `nexus templates NAME` shows what can be set.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus new classify --set name=support\n  nexus new extract --set name=invoices --set model=large --dir apps/invoices\n  nexus new summarise --set 'reader=a board member' --set points=3"
)]
pub(crate) struct New {
    /// The template.
    pub(crate) template: String,
    /// A parameter: YAML, or else text; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// The folder [default: the application's name].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
