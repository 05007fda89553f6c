//! The port to a second repository of definitions, elsewhere.

use async_trait::async_trait;

use crate::DefinitionError;

/// What moving definitions did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The commit that both are at now, or would be: the newest that this host has. `None` before the first.
    pub head: Option<String>,
    /// Whether the side that could move did.
    pub moved: bool,
}

/// Definitions that were not moved; both sides are as they were.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RemoteError {
    /// Each side has commits that the other lacks.
    #[error(
        "this host is at commit {local} and the remote at {remote}, and neither has the other in its history: merge \
         them in a clone and push the merge to the remote"
    )]
    Diverged {
        /// This host's commit.
        local: String,
        /// The remote's.
        remote: String,
    },
    /// The remote was moved by somebody else meanwhile, or refused.
    #[error("the remote refused the push: {0}")]
    Refused(String),
    /// The remote could not be reached or used.
    #[error("the remote cannot be used: {0}")]
    Unreachable(String),
    /// This host's own repository failed.
    #[error(transparent)]
    Store(#[from] DefinitionError),
}

/// A repository elsewhere that people's definitions are sent to and taken from, by fast-forward only: nothing that either
/// side has is ever lost. What the machine writes (its own branches) is not part of it.
#[async_trait]
pub trait DefinitionRemote: Send + Sync {
    /// Makes the remote what this host has, if the remote's commit is in this host's history.
    async fn push(&self) -> Result<Moved, RemoteError>;

    /// Makes this host what the remote has, if this host's commit is in the remote's history. That the remote is behind
    /// is no error, and moves nothing.
    async fn fetch(&self) -> Result<Moved, RemoteError>;
}
