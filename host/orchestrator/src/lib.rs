//! What a program in a sandbox is made of: it takes executions from the host and brings them back, over MCP on its standard
//! streams. Everything that has an effect is a tool call to the host; the program itself has no network and keeps nothing.

mod host;
mod worker;

pub use host::{Host, ToolError};
pub use worker::{Handler, Work, WorkerError, serve};
