//! What a store carries for one call of a plugin.

use std::sync::Arc;

use nexus_model::{Grants, GuestServices};
use wasmtime_wasi::WasiCtxBuilder;

use super::{clocks, keyvalue::Held, logging::LinesLeft, random};

/// What the capabilities need while a plugin runs.
pub(crate) struct PluginState {
    pub(super) grants: Grants,
    pub(super) services: Arc<dyn GuestServices>,
    pub(super) lines_left: LinesLeft,
    pub(super) held: Held,
}

impl PluginState {
    pub(crate) fn new(grants: &Grants, services: Arc<dyn GuestServices>) -> Self {
        Self { grants: grants.clone(), services, lines_left: LinesLeft::default(), held: Held::default() }
    }

    /// Makes of inert WASI what is granted.
    pub(crate) fn enliven(&self, wasi: &mut WasiCtxBuilder) {
        if (clocks::CAPABILITY.granted)(&self.grants) {
            clocks::enliven(wasi);
        }
        if (random::CAPABILITY.granted)(&self.grants) {
            random::enliven(wasi);
        }
    }
}
