//! What MCP clients see: the port [`ToolCatalogue`](nexus_model::ToolCatalogue), as one caller may see it.

mod app;
mod arguments;
mod content;
mod exposed;
mod host;
mod offered;
mod refusal;

pub use app::AppCatalogue;
pub use host::HostCatalogue;
