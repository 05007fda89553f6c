//! What a store carries for one call of a plugin.

use std::sync::Arc;

use nexus_egress::Egress;
use nexus_model::{Grants, GuestServices, LoadError};
use tokio::sync::Semaphore;
use wasmtime_wasi::WasiCtxBuilder;

use crate::config::FolderLimits;

use super::{
    clocks,
    folder::Room,
    http::{self, AllowedOrigin, Outgoing},
    keyvalue::Held,
    logging::LinesLeft,
    mcp, random,
};

/// What a plugin is granted, read once for all its calls.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(super) grants: Grants,
    pub(super) http: Vec<AllowedOrigin>,
    pub(super) egress: Egress,
    /// Places for requests of all its calls together.
    pub(super) places: Arc<Semaphore>,
    pub(super) folder: FolderLimits,
}

impl Granted {
    /// Reads the grants; an error if one of them is not well-formed.
    pub(crate) fn new(grants: &Grants, egress: Egress, folder: FolderLimits) -> Result<Arc<Self>, LoadError> {
        let places = Arc::new(Semaphore::new(http::PLACES));
        Ok(Arc::new(Self { grants: grants.clone(), http: http::read(&grants.http)?, egress, places, folder }))
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    fn nothing() -> Arc<Self> {
        Arc::new(Self {
            grants: Grants::default(),
            http: Vec::new(),
            egress: Egress::default(),
            places: Arc::new(Semaphore::new(0)),
            folder: FolderLimits::default(),
        })
    }
}

/// What the capabilities keep for one call.
pub(crate) struct PluginState {
    granted: Arc<Granted>,
    /// `None` where the call is not that of a plugin.
    services: Option<Arc<dyn GuestServices>>,
    pub(super) lines_left: LinesLeft,
    pub(super) mcp_left: mcp::Left,
    pub(super) held: Held,
    /// Made on first use.
    http: Option<Outgoing>,
    pub(super) room: Room,
}

impl PluginState {
    pub(crate) fn new(granted: Arc<Granted>, services: Option<Arc<dyn GuestServices>>) -> Self {
        Self {
            granted,
            services,
            http: None,
            lines_left: LinesLeft::default(),
            mcp_left: mcp::Left::default(),
            held: Held::default(),
            room: Room::default(),
        }
    }

    pub(super) fn granted(&self) -> &Granted {
        &self.granted
    }

    /// What the host does for the call.
    pub(crate) fn services(&self) -> Option<Arc<dyn GuestServices>> {
        self.services.clone()
    }

    pub(super) fn http(&mut self) -> &mut Outgoing {
        let Self { granted, services, http, .. } = self;
        http.get_or_insert_with(|| Outgoing::new(granted.clone(), services.clone()))
    }

    /// Makes of inert WASI what is granted.
    pub(crate) fn enliven(&self, wasi: &mut WasiCtxBuilder) {
        if self.granted.grants.clocks {
            clocks::enliven(wasi);
        }
        if self.granted.grants.random {
            random::enliven(wasi);
        }
    }
}

impl Default for PluginState {
    /// For a call that was granted nothing.
    fn default() -> Self {
        Self::new(Granted::nothing(), None)
    }
}
