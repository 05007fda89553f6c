//! nexus-wasm
