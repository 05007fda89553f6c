//! `nexus memory`.

use clap::{Args, Subcommand};

use super::Connection;

#[derive(Debug, Subcommand)]
pub(crate) enum Memory {
    /// List the documents of a memory.
    List {
        /// The application.
        app: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a document.
    Read {
        /// The application.
        app: String,
        /// `brief`, `context` or `knowledge/<path>`.
        document: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Write a document.
    #[command(
        after_help = "Examples:\n  nexus memory write support brief --text @brief.md\n  nexus memory write support knowledge/returns < returns.md"
    )]
    Write(Remember),
    /// Add to a document's end.
    #[command(
        after_help = "Example:\n  echo 'The shop is closed on 24 December.' | nexus memory append support context"
    )]
    Append(Remember),
    /// Remove a document.
    Remove {
        /// The application.
        app: String,
        /// `brief`, `context` or `knowledge/<path>`.
        document: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Search all documents.
    #[command(after_help = "Example:\n  nexus memory search support how long can goods be returned")]
    Search {
        /// The application.
        app: String,
        /// What is looked for.
        #[arg(required = true)]
        query: Vec<String>,
        /// At most this many passages, 1 to 50.
        #[arg(long, default_value_t = 10)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
}

/// A text to be remembered.
#[derive(Debug, Args)]
pub(crate) struct Remember {
    /// The application.
    pub(crate) app: String,
    /// `brief`, `context` or `knowledge/<path>`.
    pub(crate) document: String,
    /// The text, `@` and a file, or `-` for standard input.
    #[arg(long, short, value_name = "TEXT", default_value = "-")]
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
