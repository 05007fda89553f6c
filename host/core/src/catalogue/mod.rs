//! What MCP clients see: the port [`ToolCatalogue`](nexus_model::ToolCatalogue), as one caller may see it.

mod app;
pub(crate) mod arguments;
pub(crate) mod content;
mod exposed;
pub(crate) mod host;
mod offered;
pub(crate) mod refusal;
mod worker;

pub use app::AppCatalogue;
pub use host::HostCatalogue;
pub(crate) use worker::WorkerCatalogue;
