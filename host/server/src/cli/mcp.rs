//! `nexus mcp`.

use std::io::IsTerminal;

use nexus_mcp::StdioError;
use tokio_util::sync::CancellationToken;

use super::{args::Mcp, client::Client, community, failure::Failure, mcp_servers, output::Output};
use crate::http::AppView;

pub(crate) async fn run(mcp: &Mcp, output: Output) -> Result<(), Failure> {
    match mcp {
        Mcp::Search { words, connection } => community::search(words, &Client::new(connection)?, output).await,
        Mcp::Add(add) => community::add(add, output).await,
        Mcp::Remove(server) => community::remove(server, output).await,
        Mcp::List { app, connection } => mcp_servers::list(app, connection, output).await,
        Mcp::Diff(server) => mcp_servers::diff(server, output).await,
        Mcp::Approve { server, tools, yes } => mcp_servers::approve(server, tools, *yes, output).await,
        Mcp::Login { server, redirect } => mcp_servers::login(server, redirect, output).await,
        Mcp::Serve { app, connection } => {
            if std::io::stdin().is_terminal() {
                let message = "standard input is a terminal, and MCP clients do not type";
                return Err(Failure::usage(
                    message,
                    "name this command in a client's configuration: `nexus mcp serve --help`",
                ));
            }
            let client = Client::new(connection)?;
            // What is wrong with the server, the key or the name is told better here than by the protocol.
            match client.get::<AppView>(&format!("/v1/apps/{app}")).await {
                // A key that may only call may not look there, and uses the application all the same.
                Err(Failure::Answer(problem)) if problem.code == "forbidden" => {}
                seen => drop(seen?),
            }
            let url = client.url_of(&format!("/mcp/{app}"));
            let ended = nexus_mcp::serve_stdio(&url, client.key(), CancellationToken::new());
            ended.await.map_err(|error| match error {
                StdioError::Client(why) => Failure::usage(format!("the client did not begin a session: {why}"), ""),
                other => Failure::usage(other.to_string(), "look at what the server says with `nexus logs`"),
            })
        }
    }
}
