//! `nexus call`, `nexus jit` and `nexus executions`: operations, what answers them, and what happened.

use clap::{Args, Subcommand};

use super::Connection;

/// Run an operation.
///
/// The answer goes to standard output; which path gave it, and how long it took, to standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus call order-desk parse-date --input '{\"text\": \"next Friday\"}'\n  nexus call order-desk line-items --input @order.json\n  echo '{\"text\": \"3 March\"}' | nexus call order-desk parse-date --stream"
)]
pub(crate) struct Call {
    /// The application.
    pub(crate) app: String,
    /// The operation.
    pub(crate) operation: String,
    /// The input: JSON, `@` and a file, or `-` for standard input.
    #[arg(long, short, value_name = "JSON", default_value = "-")]
    pub(crate) input: String,
    /// Show the answer as it comes.
    #[arg(long)]
    pub(crate) stream: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// One operation.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The application.
    pub(crate) app: String,
    /// The operation.
    pub(crate) operation: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Jit {
    /// Show how far code has come.
    #[command(after_help = "Examples:\n  nexus jit status order-desk\n  nexus jit status order-desk parse-date")]
    Status {
        /// The application.
        app: String,
        /// The operation; all of them if left out.
        operation: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have code written now. Skips the rules of when, never the checks.
    Compile(Target),
    /// Put checked code in front of the model.
    Promote(Target),
    /// Let the model answer again.
    Demote(Target),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Executions {
    /// List executions, newest first.
    #[command(
        after_help = "Examples:\n  nexus executions list --app order-desk --path model\n  nexus executions list --before 0197a1b2-0000-7000-8000-000000000000"
    )]
    List {
        /// Only those of this application.
        #[arg(long)]
        app: Option<String>,
        /// Only those of this operation.
        #[arg(long)]
        operation: Option<String>,
        /// Only those that this path answered: `component` or `model`.
        #[arg(long)]
        path: Option<String>,
        /// Only those older than this one.
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// At most this many, 1 to 200.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show one execution.
    Show {
        /// Its id, from the header `x-nexus-execution`.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}
