//! The Wasm tier with real components: made from WebAssembly text, from JavaScript by the engine for generated code, and
//! from Rust.

mod cache;
mod hostile;
mod javascript;
mod loading;
mod memory;
mod neighbours;
mod support;
