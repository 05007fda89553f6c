//! The settings of the Wasm tier.

use std::{fmt, path::PathBuf, time::Duration};

use nexus_egress::Egress;

/// The most linear memory one instance can have, in bytes. Compiled code depends on it, so it is not a setting.
pub const MAX_MEMORY_BYTES: usize = 64 << 20;

/// What [`WasmHost`](crate::WasmHost) needs to know.
#[derive(Debug, Clone)]
pub struct WasmConfig {
    /// Folder for compiled code. Made when missing, readable by its owner only.
    pub cache_dir: PathBuf,
    /// Signs compiled code. Never leaves this process.
    pub cache_key: CacheKey,
    /// How much compiled code is kept on disk, in bytes; the oldest goes first.
    pub cache_bytes: u64,
    /// The program that compiles.
    pub child: ChildCommand,
    /// How many of them run at once.
    pub max_children: usize,
    /// How long a build or a load waits for one of them.
    pub child_wait: Duration,
    /// Limits of the child that builds and compiles generated code.
    pub generated_compile: CompileLimits,
    /// Limits of the child that compiles a component written by people.
    pub plugin_compile: CompileLimits,
    /// Where requests of plugins go out.
    pub egress: Egress,
    /// Bounds of the folder that an application's plugins may be granted.
    pub folder: FolderLimits,
    /// Limits of every guest call.
    pub limits: GuestLimits,
    /// Size of each of the two instance pools.
    pub pool: PoolSize,
    /// The longest JavaScript source that is built, in bytes.
    pub max_source_bytes: usize,
    /// The largest component that is loaded, in bytes.
    pub max_component_bytes: usize,
}

impl WasmConfig {
    /// The defaults, with what has none.
    pub fn new(cache_dir: PathBuf, cache_key: CacheKey, child: ChildCommand) -> Self {
        Self {
            cache_dir,
            cache_key,
            cache_bytes: 1 << 30,
            child,
            max_children: 2,
            child_wait: Duration::from_mins(1),
            generated_compile: CompileLimits {
                cpu: Duration::from_secs(10),
                wall: Duration::from_secs(10),
                data_bytes: 512 << 20,
            },
            plugin_compile: CompileLimits {
                cpu: Duration::from_mins(1),
                // The child gives way to others: on a busy machine it has a quarter of a processor.
                wall: Duration::from_mins(4),
                data_bytes: 1 << 30,
            },
            egress: Egress::default(),
            folder: FolderLimits::default(),
            limits: GuestLimits::default(),
            pool: PoolSize::default(),
            max_source_bytes: 256 << 10,
            max_component_bytes: 32 << 20,
        }
    }
}

/// The key that signs compiled code. `Debug` does not show it.
#[derive(Clone)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// Takes the key's bytes, which only this purpose uses.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

/// The program that calls [`child_main`](crate::child_main), and its arguments. It gets an empty environment.
#[derive(Debug, Clone)]
pub struct ChildCommand {
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What a compile child may use.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Processor time, all threads together; whole seconds, rounded up.
    pub cpu: Duration,
    /// Time on the wall, from start to end.
    pub wall: Duration,
    /// Writable memory, in bytes (`RLIMIT_DATA`).
    pub data_bytes: u64,
}

/// What one guest call may use.
#[derive(Debug, Clone, Copy)]
pub struct GuestLimits {
    /// Linear memory, all memories of the instance together, in bytes; at most [`MAX_MEMORY_BYTES`].
    pub memory_bytes: usize,
    /// Elements of one table.
    pub table_elements: usize,
    /// Fuel of a call of a generated component.
    pub fuel: u64,
    /// Bytes that may pass between guest and host in one host call.
    pub hostcall_bytes: usize,
    /// Host resources that a guest may hold at once.
    pub resources: usize,
    /// Bytes of random that one host call gives.
    pub random_bytes: u64,
    /// Bytes of standard output, and of standard error, that are kept for the log; the rest is dropped.
    pub output_bytes: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            memory_bytes: MAX_MEMORY_BYTES,
            table_elements: 20_000,
            fuel: 200_000_000,
            hostcall_bytes: 4 << 20,
            resources: 1_024,
            random_bytes: 64 << 10,
            output_bytes: 4 << 10,
        }
    }
}

/// What a folder may hold. A call may write what is left when it begins, so that calls at one time can together write
/// that much each.
#[derive(Debug, Clone, Copy)]
pub struct FolderLimits {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u32,
}

impl Default for FolderLimits {
    fn default() -> Self {
        Self { bytes: 256 << 20, entries: 10_000 }
    }
}

/// Size of an instance pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolSize {
    /// Component instances, linear memories and stacks that the pool holds.
    pub instances: u32,
    /// How many of them calls may hold at once; the rest is slack for instances that are being torn down.
    pub concurrent: u32,
    /// How many used slots keep their pages for the same component's next call.
    pub warm: u32,
}

impl Default for PoolSize {
    fn default() -> Self {
        Self { instances: 2_000, concurrent: 1_000, warm: 256 }
    }
}
