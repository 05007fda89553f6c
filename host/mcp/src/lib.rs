//! The Model Context Protocol: the only crate that names rmcp.
//!
//! [`McpService`] shows [`ToolCatalogue`](nexus_model::ToolCatalogue)s to MCP clients over streamable HTTP, [`serve_stdio`]
//! what such a server shows on standard input and output. [`McpHub`](hub::McpHub) is the client of servers outside. All speak
//! every revision of the protocol that rmcp knows.

mod caller;
mod http;
pub mod hub;
mod rounds;
mod server;
mod stdio;
mod stream;
mod watch;
mod words;

pub use self::{
    http::{McpHttpConfig, McpService, SessionError},
    stdio::{StdioError, serve_stdio},
    stream::{StreamError, StreamServer},
};
