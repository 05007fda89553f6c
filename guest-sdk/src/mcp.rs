//! What MCP has words for: the interfaces of `wit/mcp` that a plugin imports. [`types`] are what its functions answer with;
//! [`client`] is the MCP client that called, and needs the grant `caller`.
//!
//! A plugin whose own WIT names these types has [`plugin!`](crate::plugin!) take them from here:
//! `with: { "nexus:mcp/types@0.1.0": nexus_guest::mcp::types }`.
//!
//! A question whose answer is not there yet is [`client::Error::Later`]: the function is called again from its beginning when
//! it is. So ask for all that is needed first, and act then.
#![expect(missing_docs, clippy::same_length_and_capacity, reason = "generated")]

wit_bindgen::generate!({ path: "../wit/mcp", world: "mcp" });

pub use nexus::mcp::{client, types};

impl From<String> for types::Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for types::Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
