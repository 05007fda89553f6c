//! `nexus call`, `nexus jit` and `nexus executions`: operations, what answers them, and what happened.

use clap::{Args, Subcommand};

use super::Connection;

/// Run an operation.
///
/// The answer goes to standard output; which path gave it, and how long it took, to standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus call order-desk parse-date --input '{\"text\": \"next Friday\"}'\n  nexus call order-desk line-items --input @order.json\n  echo '{\"text\": \"3 March\"}' | nexus call order-desk parse-date --stream\n  nexus call support-desk handle --input @mail.json --begin"
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
    #[arg(long, conflicts_with = "begin")]
    pub(crate) stream: bool,
    /// Begin it and do not wait; for operations that have a workflow. The execution's id goes to standard output.
    #[arg(long)]
    pub(crate) begin: bool,
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
        after_help = "Examples:\n  nexus executions list --app order-desk --path model\n  nexus executions list --unfinished\n  nexus executions list --before 0197a1b2-0000-7000-8000-000000000000"
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
        /// Only those that have not ended.
        #[arg(long)]
        unfinished: bool,
        /// Only those older than this one.
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// At most this many, 1 to 200.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show one execution, with its steps if it is of a workflow.
    #[command(
        after_help = "Examples:\n  nexus executions show 0197a1b2-0000-7000-8000-000000000000\n  nexus executions show 0197a1b2-0000-7000-8000-000000000000 --json"
    )]
    Show {
        /// Its id, from the header `x-nexus-execution`.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Follow an execution of a workflow until it has ended.
    #[command(after_help = "Examples:\n  nexus executions watch 0197a1b2-0000-7000-8000-000000000000")]
    Watch {
        /// Its id.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Cancel an execution that has not ended.
    Cancel {
        /// Its id.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Do an execution of a workflow again, and show what comes out otherwise.
    ///
    /// Models are asked again; results of tools and whatever else came from outside are those that were recorded.
    #[command(
        after_help = "Examples:\n  nexus executions replay 0197a1b2-0000-7000-8000-000000000000\n  nexus executions replay 0197a1b2-0000-7000-8000-000000000000 --revision 4b825dc6 --live"
    )]
    Replay {
        /// Its id.
        id: String,
        /// The revision of the application to go by; the one that serves if left out.
        #[arg(long)]
        revision: Option<String>,
        /// Have all effects again, of tools too.
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        connection: Connection,
    },
}
