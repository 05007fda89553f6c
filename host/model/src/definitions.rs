//! The port to definitions: applications as files, under version control.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use time::OffsetDateTime;

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

/// One commit that changed an application's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The commit's id.
    pub commit: String,
    /// What the folder became; `None` where the commit removed it.
    pub revision: Option<Revision>,
    /// Who made it.
    pub author: Author,
    /// When, in the author's own time zone.
    pub at: OffsetDateTime,
    /// What the author says about it.
    pub message: String,
}

/// A change of one document of an application's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryEdit {
    /// The document's path on the branch.
    pub path: String,
    /// What is done to it.
    pub action: MemoryAction,
}

/// What is done to a document of an application's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryAction {
    /// It holds exactly this.
    Write(Arc<[u8]>),
    /// It holds this in the end as well; made if it is not there.
    Append(Arc<[u8]>),
    /// It is not there any more.
    Remove,
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
    /// A file has a path, a size or a neighbour that no application may have.
    #[error("`{path}`: {reason}")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        reason: String,
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
/// People's definitions are one branch. What the machine writes about an application's code is the branch
/// `nexus/jit/{app}`, and what is to be remembered of it `nexus/memory/{app}`; no import ever touches those.
#[async_trait]
pub trait DefinitionStore: Send + Sync {
    /// The commit that people's branch is at: cheap, to see whether anything changed. `None` before the first.
    async fn head(&self) -> Result<Option<String>, DefinitionError>;

    /// All applications and their revisions.
    async fn apps(&self) -> Result<BTreeMap<AppName, Revision>, DefinitionError>;

    /// An application's folder as it is now.
    async fn read(&self, app: &AppName) -> Result<Option<Snapshot>, DefinitionError>;

    /// The commits that changed an application's folder, newest first, at most `limit`: those that come after the commit
    /// `before` in this order, or the newest. None if there never was such a folder, or no such commit.
    async fn history(&self, app: &AppName, before: Option<&str>, limit: usize) -> Result<Vec<Change>, DefinitionError>;

    /// An application's folder as it was at a revision that its history has. A tree that never was this application's
    /// is not found, whoever else's it may be.
    async fn read_at(&self, app: &AppName, revision: &Revision) -> Result<Option<Snapshot>, DefinitionError>;

    /// One file of an application's folder as it was at a revision that its history has.
    async fn read_file_at(
        &self,
        app: &AppName,
        revision: &Revision,
        path: &str,
    ) -> Result<Option<Arc<[u8]>>, DefinitionError>;

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

    /// The documents on the branch `nexus/memory/{app}`, by path, and the commit they are at. Empty without that branch.
    async fn read_memory(&self, app: &AppName) -> Result<(Option<String>, FileTree), DefinitionError>;

    /// Makes these changes, in this order, to whatever the branch `nexus/memory/{app}` holds, as one commit, and returns
    /// the branch's commit; no commit when nothing changes. Durable when it returns.
    async fn commit_memory(
        &self,
        app: &AppName,
        edits: Vec<MemoryEdit>,
        author: &Author,
        message: &str,
    ) -> Result<Option<String>, CommitError>;
}

/// Makes changes to documents that were read.
pub fn apply_memory(documents: &mut FileTree, edits: &[MemoryEdit]) {
    for MemoryEdit { path, action } in edits {
        match action {
            MemoryAction::Write(content) => {
                documents.insert(path.clone(), Arc::clone(content));
            }
            MemoryAction::Append(more) => {
                let mut content = documents.get(path).map(|content| content.to_vec()).unwrap_or_default();
                content.extend_from_slice(more);
                documents.insert(path.clone(), content.into());
            }
            MemoryAction::Remove => {
                documents.remove(path);
            }
        }
    }
}
