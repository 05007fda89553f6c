//! `wasi:clocks` that go. Inert WASI has linked them already; here they get the host's time.

use nexus_model::Grants;
use wasmtime_wasi::{
    WasiCtxBuilder,
    clocks::{MonotonicClock, WallClock},
};

use super::Capability;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["wasi:clocks/monotonic-clock@0.2", "wasi:clocks/wall-clock@0.2"],
    granted,
    yaml: |_| "clocks: true",
    add_to_linker: |_| Ok(()),
};

fn granted(grants: &Grants) -> bool {
    grants.clocks
}

/// Gives the host's clocks. Who sleeps still waits in the call's own future, which ends at the deadline.
pub(super) fn enliven(wasi: &mut WasiCtxBuilder) {
    wasi.wall_clock(WallClock::new()).monotonic_clock(MonotonicClock::new());
}
