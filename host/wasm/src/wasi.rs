//! Inert WASI: every component may import it, and gains nothing by it. What a plugin is granted comes on top.
//!
//! The environment, the arguments and standard input are empty, no folder is open, sockets are denied, clocks stand
//! still, random is a fixed sequence, and what is written to standard output or error goes to the log, cut short.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use nexus_model::GuestServices;
use tokio::io::AsyncWrite;
use wasmtime::{
    Engine,
    component::{Linker, ResourceTable},
};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult, pipe::MemoryInputPipe},
    random::Deterministic,
};

use crate::{
    capabilities::{Granted, PluginState},
    config::GuestLimits,
    limits::StoreLimits,
};

/// The interfaces of WASI 0.2 that are linked, without their version.
pub(crate) const INTERFACES: [&str; 27] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The wall clock stands at 2000-01-01T00:00:00Z.
const WALL_CLOCK: Duration = Duration::from_hours(24 * 10_957);

/// What random gives, over and over: the first digits of π in hexadecimal.
const RANDOM: [u8; 16] =
    [0x24, 0x3f, 0x6a, 0x88, 0x85, 0xa3, 0x08, 0xd3, 0x13, 0x19, 0x8a, 0x2e, 0x03, 0x70, 0x73, 0x44];

/// How much a guest may hand over in one write.
const WRITE_BYTES: usize = 64 << 10;

/// What one store carries.
pub(crate) struct GuestState {
    pub(crate) limits: StoreLimits,
    settings: GuestLimits,
    pub(crate) table: ResourceTable,
    stdin: Bytes,
    /// Made on first use: most calls of most components never look at WASI.
    wasi: Option<(WasiCtx, Captured, Captured)>,
    /// What a plugin was granted. Other components carry no more than this pointer.
    plugin: Option<Box<PluginState>>,
}

impl GuestState {
    pub(crate) fn new(settings: &GuestLimits) -> Self {
        Self::with_stdin(settings, Bytes::new())
    }

    pub(crate) fn with_stdin(settings: &GuestLimits, stdin: Bytes) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(settings.resources);
        Self { limits: StoreLimits::new(settings), settings: *settings, table, stdin, wasi: None, plugin: None }
    }

    /// The state of a call of a plugin, whose linker is that of the same grants.
    pub(crate) fn for_plugin(settings: &GuestLimits, granted: &Arc<Granted>, services: Arc<dyn GuestServices>) -> Self {
        Self { plugin: Some(Box::new(PluginState::new(granted.clone(), Some(services)))), ..Self::new(settings) }
    }

    /// What the call was granted.
    pub(crate) fn plugin(&mut self) -> &mut PluginState {
        self.plugin_and_table().0
    }

    pub(crate) fn plugin_and_table(&mut self) -> (&mut PluginState, &mut ResourceTable) {
        (self.plugin.get_or_insert_default(), &mut self.table)
    }

    /// What the host does for the call.
    pub(crate) fn services(&mut self) -> wasmtime::Result<Arc<dyn GuestServices>> {
        self.plugin().services().ok_or_else(|| wasmtime::Error::msg("the call is not that of a plugin"))
    }

    /// What the guest wrote to standard output and standard error, as far as it was kept.
    pub(crate) fn output(&self) -> Option<(String, String)> {
        self.wasi.as_ref().map(|(_, out, err)| (out.text(), err.text()))
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, ..) =
            self.wasi.get_or_insert_with(|| context(&self.settings, self.stdin.clone(), self.plugin.as_deref()));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// What every component is linked with.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

/// Whether `import` is an interface of WASI 0.2 that is always linked.
pub(crate) fn is_inert(import: &str) -> bool {
    is_of_wasi_0_2(import).is_some_and(|interface| INTERFACES.binary_search(&interface).is_ok())
}

/// The name of an interface of WASI 0.2, without its version.
pub(crate) fn is_of_wasi_0_2(import: &str) -> Option<&str> {
    import.split_once('@').filter(|(_, version)| version.starts_with("0.2.")).map(|(interface, _)| interface)
}

fn context(settings: &GuestLimits, stdin: Bytes, plugin: Option<&PluginState>) -> (WasiCtx, Captured, Captured) {
    let (out, err) = (Captured::new(settings.output_bytes), Captured::new(settings.output_bytes));
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdin(MemoryInputPipe::new(stdin))
        .stdout(out.clone())
        .stderr(err.clone())
        .secure_random(Deterministic::new(RANDOM.to_vec()))
        .insecure_random(Deterministic::new(RANDOM.to_vec()))
        .insecure_random_seed(u128::from_be_bytes(RANDOM))
        .max_random_size(settings.random_bytes)
        .wall_clock(StoppedClock)
        .monotonic_clock(StoppedClock)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(plugin) = plugin {
        plugin.enliven(&mut wasi);
    }
    (wasi.build(), out, err)
}

struct StoppedClock;

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        WALL_CLOCK
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// Keeps the first bytes that are written, and takes the rest for written.
#[derive(Clone)]
struct Captured {
    kept: Arc<Mutex<Vec<u8>>>,
    capacity: usize,
}

impl Captured {
    fn new(capacity: usize) -> Self {
        Self { kept: Arc::default(), capacity }
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.capacity.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl IsTerminal for Captured {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Captured {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Captured {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for Captured {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Captured {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.keep(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wasi_of_the_linked_version_is_inert() {
        assert!(INTERFACES.is_sorted());
        assert!(is_inert("wasi:cli/environment@0.2.6"));
        assert!(!is_inert("wasi:cli/environment@0.3.0"));
        assert!(!is_inert("wasi:cli/environment"));
        assert!(!is_inert("wasi:http/outgoing-handler@0.2.6"));
        assert!(!is_inert("nexus:host/llm@0.1.0"));
    }
}
