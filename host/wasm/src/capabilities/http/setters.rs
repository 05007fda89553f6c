//! Bounds on what a request that is being put together holds.
//!
//! The library bounds the fields. Method, path and authority it takes as long as they come, and a component may hold a
//! thousand requests: so these three are set here.

use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi_http::{
    WasiHttpView as _,
    p2::{
        bindings::http::types::{HostOutgoingRequest as _, Method},
        types::HostOutgoingRequest,
    },
};

use crate::wasi::GuestState;

/// The interface, with the version that the library links.
const TYPES: &str = "wasi:http/types@0.2.12";

const METHOD_BYTES: usize = 64;
const AUTHORITY_BYTES: usize = 512;
const PATH_BYTES: usize = 16 << 10;

/// `false` for what is too long, as for what is not well-formed.
type Set = wasmtime::Result<(Result<(), ()>,)>;

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap("[method]outgoing-request.set-method", method)?;
    types.func_wrap("[method]outgoing-request.set-authority", authority)?;
    types.func_wrap("[method]outgoing-request.set-path-with-query", path)
}

fn method(
    mut store: StoreContextMut<'_, GuestState>,
    (request, method): (Resource<HostOutgoingRequest>, Method),
) -> Set {
    if matches!(&method, Method::Other(name) if name.len() > METHOD_BYTES) {
        return Ok((Err(()),));
    }
    Ok((store.data_mut().http().set_method(request, method)?,))
}

fn authority(
    mut store: StoreContextMut<'_, GuestState>,
    (request, authority): (Resource<HostOutgoingRequest>, Option<String>),
) -> Set {
    if authority.as_ref().is_some_and(|authority| authority.len() > AUTHORITY_BYTES) {
        return Ok((Err(()),));
    }
    Ok((store.data_mut().http().set_authority(request, authority)?,))
}

fn path(
    mut store: StoreContextMut<'_, GuestState>,
    (request, path): (Resource<HostOutgoingRequest>, Option<String>),
) -> Set {
    if path.as_ref().is_some_and(|path| path.len() > PATH_BYTES) {
        return Ok((Err(()),));
    }
    Ok((store.data_mut().http().set_path_with_query(request, path)?,))
}
