//! What Nexus itself offers to a plugin: the interfaces of `wit/host`. A component imports those that it calls, and needs a
//! grant for each.
#![expect(missing_docs, clippy::same_length_and_capacity, reason = "generated")]

wit_bindgen::generate!({ path: "../wit/host", world: "host" });

pub use nexus::host::{events, llm, tools};
