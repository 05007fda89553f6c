//! What MCP clients see: the port [`ToolCatalogue`](nexus_model::ToolCatalogue), as one caller may see it.

mod app;
pub(crate) mod arguments;
mod host;
pub(crate) mod refusal;
mod worker;

pub use app::AppCatalogue;
pub use host::HostCatalogue;
pub(crate) use worker::WorkerCatalogue;
