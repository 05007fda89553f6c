//! `nexus mcp`.

use clap::Subcommand;

use super::Connection;

const SERVE: &str = "\
Examples:
  nexus mcp serve support
  nexus mcp serve support --url https://nexus.example --key nxs_…

A desktop client uses an application with this in its configuration:
  { \"mcpServers\": { \"support\": { \"command\": \"nexus\", \"args\": [\"mcp\", \"serve\", \"support\"] } } }";

#[derive(Debug, Subcommand)]
pub(crate) enum Mcp {
    /// Show an application of a running server to an MCP client on standard input and output.
    ///
    /// What `/mcp/{app}` of the server shows to clients that speak HTTP: operations and functions of plugins as tools, prompts,
    /// schemas and knowledge.
    #[command(after_help = SERVE)]
    Serve {
        /// The application.
        app: String,
        #[command(flatten)]
        connection: Connection,
    },
}
