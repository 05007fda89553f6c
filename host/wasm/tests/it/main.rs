//! The Wasm tier with real components: made from WebAssembly text, from JavaScript by the engine for generated code, and
//! from Rust.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends the test")]

mod cache;
mod capabilities;
mod guests;
mod hostile;
mod inert;
mod javascript;
mod loading;
mod neighbours;
mod plugins;
mod services;
mod support;
