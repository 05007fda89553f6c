//! The Wasm tier: the only crate that names wasmtime.
//!
//! [`WasmHost`] builds JavaScript into sealed components, compiles components in limited child processes, keeps the
//! machine code signed on disk, and runs each call in a fresh instance with a deadline and limits. A component gets
//! inert WASI and nothing else.

mod artefact;
mod cache;
mod capabilities;
mod child;
mod config;
mod docs;
mod engine;
mod error;
mod fault;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handler;
mod host;
mod limits;
mod loader;
mod plugin;
mod tier;
mod tools;
mod wasi;

pub use self::{
    child::child_main,
    config::{
        CacheKey, ChildCommand, CompileLimits, FolderLimits, GuestLimits, MAX_MEMORY_BYTES, PoolSize, WasmConfig,
    },
    docs::{DocsError, with_docs},
    engine::pagemap_scan_available,
    error::HostError,
    host::{CacheCounters, WasmHost},
};
