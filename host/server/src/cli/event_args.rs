//! The command line of `nexus events`.

use clap::{Args, Subcommand};

use super::args::Connection;

#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// Show events as they happen, until interrupted.
    ///
    /// With `--json` one line for each, with the `id` that `--after` takes.
    #[command(
        after_help = "Examples:\n  nexus events follow\n  nexus events follow --app support --type nexus.execution.\n  nexus events follow --app support --after 'support:1772352000000-000007'"
    )]
    Follow {
        /// Only those of this application.
        #[arg(long)]
        app: Option<String>,
        /// Only those whose type begins with this.
        #[arg(long = "type", value_name = "PREFIX")]
        kind: Option<String>,
        /// Only those with this subject.
        #[arg(long)]
        subject: Option<String>,
        /// Go on after the event with this id.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Publish an event of an application.
    #[command(
        after_help = "Examples:\n  nexus events publish support --type mail.received --data '{\"text\": \"hello\"}'\n  nexus events publish support --type mail.received --subject inbox/7 --data @mail.json"
    )]
    Publish {
        /// The application.
        app: String,
        /// What happened.
        #[arg(long = "type", value_name = "TYPE")]
        kind: String,
        /// Where it happened: a URI reference.
        #[arg(long, default_value = "/nexus-cli")]
        source: String,
        /// To what. Events with the same subject keep their order.
        #[arg(long)]
        subject: Option<String>,
        /// Names the event; an event of the same source and id has its effect once. A new one if left out.
        #[arg(long)]
        id: Option<String>,
        /// What it carries: JSON, `@` and a file, or `-` for standard input; nothing if left out.
        #[arg(long, short, value_name = "JSON")]
        data: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List an application's triggers, and how many events wait for each.
    Triggers {
        /// The application.
        app: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// See events that were put aside, send them again, or throw them away.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List dead letters, oldest first.
    #[command(
        after_help = "Examples:\n  nexus events dead-letters list support\n  nexus events dead-letters list support --limit 100 --json"
    )]
    List {
        /// The application.
        app: String,
        /// Only those put aside after this one.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// At most this many, 1 to 100.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show one dead letter.
    Show(DeadLetter),
    /// Send one to its trigger again.
    Redrive(DeadLetter),
    /// Throw one away.
    Discard(DeadLetter),
}

/// One dead letter.
#[derive(Debug, Args)]
pub(crate) struct DeadLetter {
    /// The application.
    pub(crate) app: String,
    /// Its id, as the list shows it.
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
