//! `wasi:filesystem`: a folder of the application's own, open at `/`.
//!
//! Inert WASI has linked the interfaces already, with no folder in them. Here the folder is put in, and the functions that
//! take from the disk, from the process's open files or from its memory get bounds. That no path leads out of the folder,
//! by whatever link, is the library's work; a test looks at it.

mod functions;
mod listing;
mod room;
mod stream;

use std::{fs::File, path::Path};

use nexus_model::{Access, Grants};
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    FsPerms, OpenMode,
    filesystem::{Descriptor, Dir},
    runtime::spawn_blocking,
};

use super::Capability;
use crate::{config::FolderLimits, wasi::GuestState};

pub(super) use room::Room;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["wasi:filesystem/preopens@0.2", "wasi:filesystem/types@0.2"],
    granted,
    yaml: |_| "folder: read   # or `read-write`",
    add_to_linker,
};

/// The interfaces, with the version that the library links.
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";
const TYPES: &str = "wasi:filesystem/types@0.2.12";

fn granted(grants: &Grants) -> bool {
    grants.folder.is_some()
}

fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker
        .instance(PREOPENS)?
        .func_wrap_async("get-directories", |store, ()| Box::new(async move { Ok((open(store).await?,)) }))?;
    let mut types = linker.instance(TYPES)?;
    listing::add_to_linker(&mut types)?;
    functions::add_to_linker(&mut types)
}

/// Opens the folder, which the host makes where it is not there, when the component first asks what is open.
async fn open(mut store: StoreContextMut<'_, GuestState>) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
    let state = store.data_mut();
    let access = state.plugin().granted().grants.folder;
    let path = state.services()?.folder().await.map_err(|error| wasmtime::Error::msg(error.to_string()))?;
    let (perms, mode) = match access {
        Some(Access::ReadWrite) => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        Some(Access::Read) | None => (FsPerms::ReadOnly, OpenMode::READ),
    };
    let most = state.plugin().granted().folder;
    let (folder, room) = spawn_blocking(move || look(&path, most, perms)).await?;
    let plugin = state.plugin();
    if let Some(room) = room {
        plugin.room.begin(room);
    }
    plugin.room.open_descriptor()?;
    let folder = Descriptor::Dir(Dir::new(folder, perms, mode, false));
    Ok(vec![(state.table.push(folder)?, "/".to_owned())])
}

/// The folder, and how much room is in it for a component that may write.
fn look(path: &Path, most: FolderLimits, perms: FsPerms) -> std::io::Result<(File, Option<room::Left>)> {
    let folder = File::open(path)?;
    let room = if perms == FsPerms::ReadWrite { Some(room::Left::of(path, most)?) } else { None };
    Ok((folder, room))
}
