//! Why a server did not start.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use nexus_definitions::Fault;
use nexus_model::{AppName, FileTree};

use crate::data_dir::DataDirError;

/// Why a server did not start. Nothing listens then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings that cannot be.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Secrets could not be read.
    #[error("the secrets could not be read")]
    Secrets(#[from] nexus_model::StoreError),
    /// The log.
    #[error(transparent)]
    Log(#[from] nexus_signals::LogBookError),
    /// A store.
    #[error(transparent)]
    Store(#[from] nexus_state::OpenError),
    /// The remote of the definitions cannot be one.
    #[error("`definitions.remote`: {0}")]
    Remote(#[from] nexus_state::RemoteUrlError),
    /// The remote's password is not there.
    #[error("`definitions.remote.password`: there is nothing in {0}")]
    RemotePassword(String),
    /// The password of the store.
    #[error("the store's password is not there: `redis.password` names {0}")]
    StorePassword(String),
    /// A file for TLS with the store.
    #[error("`{}`, which the settings of `redis` name, cannot be read", .path.display())]
    StoreFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The models.
    #[error(transparent)]
    Models(#[from] nexus_llm::LlmError),
    /// The Wasm tier.
    #[error("the Wasm tier did not start")]
    Wasm(#[from] nexus_wasm::HostError),
    /// The program that compiles was to be this one, and the system does not say which it is.
    #[error("the path of this program is unknown; name one in `wasm.compiler`")]
    Program(#[source] std::io::Error),
    /// What everything is for.
    #[error(transparent)]
    Core(#[from] nexus_core::StartError),
    /// The first key could not be made.
    #[error("the first key could not be made")]
    Key(#[from] nexus_core::KeyError),
    /// That the first key was made could not be written down.
    #[error(transparent)]
    AuditLog(#[from] nexus_core::AuditLogError),
    /// The folder of applications.
    #[error(transparent)]
    Apps(#[from] AppsError),
    /// The address.
    #[error("`{addr}` cannot be listened on")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Why a folder of applications was not imported. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
    /// It cannot be read.
    #[error(transparent)]
    Folder(#[from] nexus_state::folder::FolderError),
    /// There is nothing in it.
    #[error("`{}` holds no application: neither it nor a folder in it has an `app.yaml`", .0.display())]
    Empty(PathBuf),
    /// The definitions have faults.
    #[error("{}", counted(.faults))]
    Faults {
        /// The folder.
        folder: PathBuf,
        /// All of them.
        faults: BTreeMap<AppName, Vec<Fault>>,
        /// What the faults are in.
        files: BTreeMap<AppName, FileTree>,
    },
    /// The repository.
    #[error(transparent)]
    Import(nexus_core::ImportError),
}

/// An error and all its reasons on one line. One that only repeats what is above it is left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let reasons = std::iter::successors(error.source(), |reason| reason.source());
    let mut texts = vec![error.to_string()];
    for reason in reasons.map(ToString::to_string) {
        if texts.last() != Some(&reason) {
            texts.push(reason);
        }
    }
    texts.join(": ")
}

fn counted(faults: &BTreeMap<AppName, Vec<Fault>>) -> String {
    let count: usize = faults.values().map(Vec::len).sum();
    let names: Vec<_> = faults.keys().map(|name| format!("`{name}`")).collect();
    format!("{count} fault{} in {}; nothing was imported", if count == 1 { "" } else { "s" }, names.join(", "))
}
