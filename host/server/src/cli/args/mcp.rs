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

const ADD: &str = "\
Examples:
  nexus mcp add support time
  nexus mcp add support fetch --grant http=https://en.wikipedia.org
  nexus mcp add shop postgres --name stock --grant tcp=db.example:5432 --secret DSN=stock-db
  nexus mcp add shop postgres --name stock --grant tcp=db2.example:5432 --replace";

#[derive(Debug, Subcommand)]
pub(crate) enum Mcp {
    /// Search the servers that others have written and that `nexus mcp add` sets up.
    #[command(
        after_help = "Examples:\n  nexus mcp search\n  nexus mcp search database\n  nexus mcp search --json files"
    )]
    Search {
        /// Words that a server must answer to; all servers, if left out.
        words: Vec<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Add a server that others have written to an application.
    ///
    /// Its package, of a fixed version and digest, is put into an image at the server's Docker engine, which takes minutes the first
    /// time; nothing is fetched when it is started. Then it is written to app.yaml, in one commit.
    #[command(after_help = ADD)]
    Add(McpAdd),
    /// Take an outside server, and what was approved of it, out of an application.
    #[command(after_help = "Examples:\n  nexus mcp remove support time")]
    Remove(McpServer),
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

/// A community server, and what it may use.
#[derive(Debug, Clone, Args)]
pub(crate) struct McpAdd {
    /// The application.
    pub(crate) app: String,
    /// The server, as `nexus mcp search` names it.
    pub(crate) server: String,
    /// What the application calls it; the same, if left out.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What it may reach: http=ORIGIN or tcp=HOST:PORT; may be repeated.
    #[arg(long = "grant", value_name = "GRANT", value_parser = pair)]
    pub(crate) grants: Vec<(String, String)>,
    /// The secret of the application that a variable of it holds: VARIABLE=SECRET; may be repeated.
    #[arg(long = "secret", value_name = "VARIABLE=SECRET", value_parser = pair)]
    pub(crate) secrets: Vec<(String, String)>,
    /// Replace what the application has below this name.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Make the image anew, with what the package depends on as its index has it today.
    #[arg(long)]
    pub(crate) anew: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("there is no `=` in it")?;
    Ok((name.to_owned(), value.to_owned()))
}
