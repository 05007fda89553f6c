//! Where sandboxes come from.

use std::path::Path;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::{BoxError, BuildSpec, Built, Sandbox, SandboxError, SandboxSpec};

/// Starts sandboxes: the edge to an engine.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Starts a program. It may have ended again when this returns. Dropped halfway, or failed, it leaves nothing behind
    /// that [`reap`](Driver::reap) does not find.
    async fn start(&self, spec: &SandboxSpec) -> Result<Sandbox, SandboxError>;

    /// Builds an image, telling `progress` each line that is said, cut to 4 KiB; lines that there is no room for are left out. An image
    /// of the same content is taken as it is, unless it is to be built anew. Dropped, it ends the build.
    async fn build(&self, spec: BuildSpec, progress: mpsc::Sender<String>) -> Result<Built, SandboxError>;

    /// What starts a program of the host's own, which needs nothing beside itself: a static one.
    async fn own_program(&self, program: &Path) -> Result<SandboxSpec, SandboxError>;

    /// Removes what hosts have left behind that are no more. What belongs to a host that lives, or may live, stays.
    async fn reap(&self, owners: &dyn Owners) -> Result<Reaped, SandboxError>;
}

/// The host that sandboxes belong to. Everything at the engine is labelled with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The host's id, of letters, digits and `-`.
    pub host: String,
    /// The lease that says that this start of it lives. It must be held before the first sandbox is started.
    pub lease: String,
}

/// Knows which hosts live.
#[async_trait]
pub trait Owners: Send + Sync {
    /// Whether the lease is still held. An error means that it is not known, and nothing is removed.
    async fn is_alive(&self, owner: &Owner) -> Result<bool, OwnerError>;
}

/// It is not known whether an owner lives.
#[derive(Debug, thiserror::Error)]
#[error("it is not known whether the owner of a sandbox lives")]
pub struct OwnerError(#[source] pub BoxError);

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Sandboxes, and the relays of outside servers.
    pub sandboxes: usize,
}
