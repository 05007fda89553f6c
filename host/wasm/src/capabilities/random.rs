//! `wasi:random` that is random. Inert WASI has linked it already; here it gets the host's generator.

use nexus_model::Grants;
use wasmtime_wasi::{Rng as _, WasiCtxBuilder, thread_rng};

use super::Capability;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["wasi:random/insecure@0.2", "wasi:random/insecure-seed@0.2", "wasi:random/random@0.2"],
    granted,
    yaml: |_| "random: true",
    add_to_linker: |_| Ok(()),
};

fn granted(grants: &Grants) -> bool {
    grants.random
}

/// Gives generators that are seeded afresh for each call.
pub(super) fn enliven(wasi: &mut WasiCtxBuilder) {
    let mut random = thread_rng();
    let seed = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    wasi.secure_random(random).insecure_random(thread_rng()).insecure_random_seed(seed);
}
