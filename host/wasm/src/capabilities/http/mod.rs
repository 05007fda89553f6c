//! `wasi:http/outgoing-handler`: requests to the origins that the grant names.
//!
//! The interfaces are the library's; what is sent, and where, is decided in [`outgoing`]. Nothing is followed: a component
//! sees a redirection and asks again, and that request is looked at like any other.

mod granted;
mod outgoing;
mod setters;
mod upload;

use nexus_model::Grants;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    WasiHttp, WasiHttpCtxView, WasiHttpView,
    p2::bindings::{LinkOptions, http},
};

use super::Capability;
use crate::wasi::GuestState;

pub(super) use granted::{AllowedOrigin, read};
pub(super) use outgoing::{Outgoing, PLACES};

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["wasi:http/types@0.2", "wasi:http/outgoing-handler@0.2"],
    granted,
    yaml: |_| "http: [\"https://api.example.com\"]   # the origins that it may reach",
    add_to_linker,
};

/// How much memory the fields of a request or an answer may take, in bytes.
const FIELD_BYTES: usize = 32 << 10;

fn granted(grants: &Grants) -> bool {
    !grants.http.is_empty()
}

fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    http::types::add_to_linker::<_, WasiHttp>(linker, &LinkOptions::default().into(), GuestState::http)?;
    http::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, GuestState::http)?;
    setters::add_to_linker(linker)
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (plugin, table) = self.plugin_and_table();
        let (ctx, hooks) = plugin.http().parts();
        WasiHttpCtxView { hooks, table, ctx }
    }
}
