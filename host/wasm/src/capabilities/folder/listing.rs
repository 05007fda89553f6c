//! Handles of files and folders, and of folders that are being read: so many, and no more.

use wasmtime::{
    StoreContextMut,
    component::{LinkerInstance, Resource, ResourceType},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemView as _},
    p2::{
        FsResult,
        bindings::filesystem::types::{
            DescriptorFlags, DirectoryEntryStream, ErrorCode, HostDescriptor as _, OpenFlags, PathFlags,
        },
    },
};

use crate::wasi::GuestState;

/// What a function of the interface says: its result, or an error of its own.
pub(super) type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// An error of the interface's own is an answer; anything else is a trap.
pub(super) fn answer<T>(result: FsResult<T>) -> Answer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

pub(super) fn add_to_linker(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap_async("[method]descriptor.open-at", |store, params| Box::new(open_at(store, params)))?;
    types.func_wrap_async("[method]descriptor.read-directory", |store, params| {
        Box::new(read_directory(store, params))
    })?;
    types.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, rep| {
        let state = store.data_mut();
        state.plugin().room.close_descriptor();
        state.table.delete(Resource::<Descriptor>::new_own(rep))?;
        Ok(())
    })?;
    types.resource("directory-entry-stream", ResourceType::host::<DirectoryEntryStream>(), |mut store, rep| {
        let state = store.data_mut();
        state.plugin().room.close_listing();
        state.table.delete(Resource::<DirectoryEntryStream>::new_own(rep))?;
        Ok(())
    })
}

type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

async fn open_at(
    mut store: StoreContextMut<'_, GuestState>,
    (folder, path_flags, path, flags, wanted): OpenAt,
) -> Answer<Resource<Descriptor>> {
    let state = store.data_mut();
    state.plugin().room.open_descriptor()?;
    // Whether the file is there already is not looked at: one that is opened to be made takes an entry.
    let opened = if flags.contains(OpenFlags::CREATE) && !state.plugin().room.take_entry() {
        Err(ErrorCode::InsufficientSpace.into())
    } else {
        state.filesystem().open_at(folder, path_flags, path, flags, wanted).await
    };
    if opened.is_err() {
        state.plugin().room.close_descriptor();
    }
    answer(opened)
}

async fn read_directory(
    mut store: StoreContextMut<'_, GuestState>,
    (folder,): (Resource<Descriptor>,),
) -> Answer<Resource<DirectoryEntryStream>> {
    let state = store.data_mut();
    state.plugin().room.open_listing()?;
    let opened = state.filesystem().read_directory(folder).await;
    if opened.is_err() {
        state.plugin().room.close_listing();
    }
    answer(opened)
}
