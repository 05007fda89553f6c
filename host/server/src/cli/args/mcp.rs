//! `nexus mcp`.

use clap::{Args, Subcommand};

use super::Connection;

const SERVE: &str = "\
Examples:
  nexus mcp serve support
  nexus mcp serve support --url https://nexus.example --key nxs_…

A desktop client uses an application with this in its configuration:
  { \"mcpServers\": { \"support\": { \"command\": \"nexus\", \"args\": [\"mcp\", \"serve\", \"support\"] } } }";

const APPROVE: &str = "\
Examples:
  nexus mcp approve support weather
  nexus mcp approve support weather forecast --yes";

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
    /// List the outside MCP servers of an application.
    #[command(after_help = "Examples:\n  nexus mcp list support")]
    List {
        /// The application.
        app: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Compare what an outside server offers with what was approved. The server is started for it.
    #[command(after_help = "Examples:\n  nexus mcp diff support weather")]
    Diff(McpServer),
    /// Approve tools of an outside server, as it offers them. Only then can they be called.
    ///
    /// What is new or different is shown first. What is approved is written to `mcp/{server}.tools.json` of the application, in
    /// one commit; when a tool changes, it is blocked until it is approved again.
    #[command(after_help = APPROVE)]
    Approve {
        #[command(flatten)]
        server: McpServer,
        /// These tools; all that the server offers, if left out.
        tools: Vec<String>,
        /// Ask nobody.
        #[arg(long)]
        yes: bool,
    },
    /// Log in at an outside server (OAuth 2.1). The host keeps the tokens.
    #[command(after_help = "Examples:\n  nexus mcp login support crm")]
    Login {
        #[command(flatten)]
        server: McpServer,
        /// Where the browser is sent after the login. Nothing need listen there.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8765/callback")]
        redirect: String,
    },
}

/// An outside server of an application.
#[derive(Debug, Clone, Args)]
pub(crate) struct McpServer {
    /// The application.
    pub(crate) app: String,
    /// The server, as `app.yaml` names it.
    pub(crate) server: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}
