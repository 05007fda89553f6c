//! The functions that take from the disk.

use wasmtime::{
    StoreContextMut,
    component::{LinkerInstance, Resource},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemView as _},
    p2::{
        DynOutputStream, FsError,
        bindings::filesystem::types::{ErrorCode, HostDescriptor as _, PathFlags},
    },
};

use super::{
    listing::{Answer, answer},
    stream::Bounded,
};
use crate::wasi::GuestState;

type Store<'a> = StoreContextMut<'a, GuestState>;

pub(super) fn add_to_linker(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap("[method]descriptor.write-via-stream", write_via_stream)?;
    types.func_wrap("[method]descriptor.append-via-stream", append_via_stream)?;
    types.func_wrap_async("[method]descriptor.write", |store, params| Box::new(write(store, params)))?;
    types.func_wrap_async("[method]descriptor.set-size", |store, params| Box::new(set_size(store, params)))?;
    types.func_wrap_async("[method]descriptor.create-directory-at", |store, params| {
        Box::new(create_directory_at(store, params))
    })?;
    types.func_wrap_async("[method]descriptor.symlink-at", |store, params| Box::new(symlink_at(store, params)))?;
    types.func_wrap_async("[method]descriptor.link-at", |store, params| Box::new(link_at(store, params)))
}

/// A file has no more bytes than its folder may, even where they are holes.
fn within(state: &mut GuestState, end: Option<u64>) -> Result<(), FsError> {
    match end {
        Some(end) if end <= state.plugin().granted().folder.bytes => Ok(()),
        _ => Err(ErrorCode::FileTooLarge.into()),
    }
}

fn take_entry(state: &mut GuestState) -> Result<(), FsError> {
    if state.plugin().room.take_entry() { Ok(()) } else { Err(ErrorCode::InsufficientSpace.into()) }
}

fn write_via_stream(
    mut store: Store<'_>,
    (file, offset): (Resource<Descriptor>, u64),
) -> Answer<Resource<DynOutputStream>> {
    let state = store.data_mut();
    if let Err(error) = within(state, Some(offset)) {
        return answer(Err(error));
    }
    let stream = state.filesystem().write_via_stream(file, offset);
    bounded(state, stream)
}

fn append_via_stream(mut store: Store<'_>, (file,): (Resource<Descriptor>,)) -> Answer<Resource<DynOutputStream>> {
    let state = store.data_mut();
    let stream = state.filesystem().append_via_stream(file);
    bounded(state, stream)
}

/// Puts a bound around a stream that was just made.
fn bounded(
    state: &mut GuestState,
    stream: Result<Resource<DynOutputStream>, FsError>,
) -> Answer<Resource<DynOutputStream>> {
    let stream = match stream {
        Ok(stream) => state.table.delete(stream)?,
        Err(error) => return answer(Err(error)),
    };
    let room = state.plugin().room.bytes.clone();
    let bounded: DynOutputStream = Box::new(Bounded::new(stream, room));
    Ok((Ok(state.table.push(bounded)?),))
}

async fn write(mut store: Store<'_>, (file, bytes, offset): (Resource<Descriptor>, Vec<u8>, u64)) -> Answer<u64> {
    let state = store.data_mut();
    let length = bytes.len() as u64;
    if let Err(error) = within(state, offset.checked_add(length)) {
        return answer(Err(error));
    }
    if state.plugin().room.bytes.take(length).is_err() {
        return answer(Err(ErrorCode::InsufficientSpace.into()));
    }
    answer(state.filesystem().write(file, bytes, offset).await)
}

async fn set_size(mut store: Store<'_>, (file, size): (Resource<Descriptor>, u64)) -> Answer<()> {
    let state = store.data_mut();
    if let Err(error) = within(state, Some(size)) {
        return answer(Err(error));
    }
    answer(state.filesystem().set_size(file, size).await)
}

async fn create_directory_at(mut store: Store<'_>, (folder, path): (Resource<Descriptor>, String)) -> Answer<()> {
    let state = store.data_mut();
    if let Err(error) = take_entry(state) {
        return answer(Err(error));
    }
    answer(state.filesystem().create_directory_at(folder, path).await)
}

async fn symlink_at(
    mut store: Store<'_>,
    (folder, target, path): (Resource<Descriptor>, String, String),
) -> Answer<()> {
    let state = store.data_mut();
    if let Err(error) = take_entry(state) {
        return answer(Err(error));
    }
    answer(state.filesystem().symlink_at(folder, target, path).await)
}

type LinkAt = (Resource<Descriptor>, PathFlags, String, Resource<Descriptor>, String);

async fn link_at(mut store: Store<'_>, (from, flags, path, to, new_path): LinkAt) -> Answer<()> {
    let state = store.data_mut();
    if let Err(error) = take_entry(state) {
        return answer(Err(error));
    }
    answer(state.filesystem().link_at(from, flags, path, to, new_path).await)
}
