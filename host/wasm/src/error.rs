//! Why the Wasm tier could not start.

/// Why [`WasmHost::new`](crate::WasmHost::new) failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// wasmtime refused the settings, or the address space for a pool.
    #[error("the {engine} engine could not be made")]
    Engine {
        /// Which of the two.
        engine: &'static str,
        /// What wasmtime says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cache folder could not be made.
    #[error("the folder for compiled code could not be made")]
    CacheDir(#[source] std::io::Error),
    /// The thread that counts time for the engines did not start.
    #[error("the epoch ticker could not be started")]
    Ticker(#[source] std::io::Error),
}
