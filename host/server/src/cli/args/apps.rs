//! `nexus apps`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;

#[derive(Debug, Subcommand)]
pub(crate) enum Apps {
    /// List applications.
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what an application may spend on models, and what it has spent today.
    #[command(after_help = "Examples:\n  nexus apps budget order-desk\n  nexus apps budget order-desk --json")]
    Budget {
        /// The application.
        app: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show one application and its operations.
    Show(App),
    /// Write an application's files into a folder.
    #[command(
        after_help = "Examples:\n  nexus apps export order-desk ./order-desk\n  nexus apps export order-desk /tmp/before --revision 1f0c…"
    )]
    Export {
        /// The application.
        app: String,
        /// The folder: made if need be, and refused unless it is empty.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// As it was at this revision.
        #[arg(long)]
        revision: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Write applications from a folder to the server: each as one commit, checked first, served at once.
    ///
    /// An application is a folder with an `app.yaml`, or a folder of those. Files whose names begin with a dot are left
    /// out. What the server has of the same name is replaced as a whole.
    #[command(
        after_help = "Examples:\n  nexus apps import ./order-desk --message 'Read amounts in words'\n  nexus apps import ./order-desk --revision 1f0c…   # only if nobody changed it since"
    )]
    Import(Import),
    /// Remove an application. Its history stays.
    Delete(Change),
    /// List the changes of an application, newest first.
    History {
        /// The application.
        app: String,
        /// Only what is older than this commit.
        #[arg(long, value_name = "COMMIT")]
        before: Option<String>,
        /// At most this many, 1 to 200.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what changed between two revisions, as a unified diff.
    #[command(
        after_help = "Examples:\n  nexus apps diff order-desk 1f0c…\n  nexus apps diff order-desk 1f0c… 83d2… --json"
    )]
    Diff {
        /// The application.
        app: String,
        /// The one revision, as `nexus apps history` shows it.
        from: String,
        /// The other; the newest if left out.
        to: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Restore an application to an earlier revision, with a new commit.
    Restore {
        /// The revision, as `nexus apps history` shows it.
        #[arg(long, value_name = "REVISION")]
        to: String,
        #[command(flatten)]
        change: Change,
    },
    /// Put an application back into service.
    Activate(App),
    /// Take an application out of service: its calls get 409.
    #[command(after_help = "Example:\n  nexus apps deactivate order-desk --reason 'moves to another host'")]
    Deactivate {
        /// Why; callers are told it.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        app: App,
    },
    /// Send the server's definitions to its remote, by fast-forward only.
    Push(At),
    /// Let the server take its remote's definitions, by fast-forward only.
    Fetch(At),
}

/// A server.
#[derive(Debug, Args)]
pub(crate) struct At {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// One application.
#[derive(Debug, Args)]
pub(crate) struct App {
    /// The application.
    #[arg(value_name = "APP")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// An application's folder, or a folder of them.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Only if the server's application is at this revision; for one application.
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// What the history says of it.
    #[arg(long)]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// A change of one application.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// The application.
    #[arg(value_name = "APP")]
    pub(crate) name: String,
    /// Only if the application is at this revision; otherwise whatever it is at.
    #[arg(long)]
    pub(crate) revision: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
