//! The port to definitions: applications as files, under version control.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use crate::{AppName, Revision};

/// The files of an application's folder: relative path with `/`, contents.
pub type FileTree = BTreeMap<String, Arc<[u8]>>;

/// An application's folder at one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The id of the folder's tree.
    pub revision: Revision,
    /// Its files.
    pub files: FileTree,
}

/// Who makes a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// For people.
    pub name: String,
    /// `…@nexus.invalid` for the host itself and for keys.
    pub email: String,
}

/// What the folder must be for a change to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Any,
    /// Not there.
    Absent,
    /// At this revision.
    Revision(Revision),
}

/// A change that was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Somebody else changed the folder.
    #[error("the application is at revision {}, not as expected", .actual.as_ref().map_or("none", |r| &*r.0))]
    Conflict {
        /// What the folder is now.
        actual: Option<Revision>,
    },
    /// The repository failed.
    #[error(transparent)]
    Store(#[from] DefinitionError),
}

/// The definition store failed. That something is not there is never an error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct DefinitionError {
    /// What was being done.
    pub step: &'static str,
    /// Why it failed.
    pub reason: String,
}

/// Applications as files, each change one commit.
///
/// People's definitions are one branch; what the machine writes about an application's code is the branch
/// `nexus/jit/{app}`, which no import ever touches.
#[async_trait]
pub trait DefinitionStore: Send + Sync {
    /// The commit that people's branch is at: cheap, to see whether anything changed. `None` before the first.
    async fn head(&self) -> Result<Option<String>, DefinitionError>;

    /// All applications and their revisions.
    async fn apps(&self) -> Result<BTreeMap<AppName, Revision>, DefinitionError>;

    /// An application's folder as it is now.
    async fn read(&self, app: &AppName) -> Result<Option<Snapshot>, DefinitionError>;

    /// Makes the folder hold exactly `files`, as one commit, and returns its revision; no commit when nothing changes.
    /// Durable when it returns.
    async fn replace(
        &self,
        app: &AppName,
        files: FileTree,
        expected: Expected,
        author: &Author,
        message: &str,
    ) -> Result<Revision, CommitError>;

    /// Adds files to the branch `nexus/jit/{app}` as one commit and returns its id. Files that are not named stay.
    async fn commit_code(&self, app: &AppName, files: FileTree, message: &str) -> Result<String, DefinitionError>;

    /// The files below `folder` on the branch `nexus/jit/{app}`, their paths relative to it.
    async fn read_code(&self, app: &AppName, folder: &str) -> Result<FileTree, DefinitionError>;
}
