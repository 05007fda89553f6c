//! What an application was.

use std::sync::Arc;

use nexus_model::{AppName, Change, FileTree, Revision, Snapshot};

use super::{
    ApplicationRegistry,
    diff::{Diff, diff},
    write::{WriteError, unknown_file},
};

/// The most changes on one page.
pub const HISTORY_PAGE: usize = 200;

impl ApplicationRegistry {
    /// The changes of an application, newest first, at most [`HISTORY_PAGE`]; those after the commit `before`. Empty if
    /// there never was such an application.
    pub async fn history(&self, app: &AppName, before: Option<&str>, limit: usize) -> Result<Vec<Change>, WriteError> {
        Ok(self.definitions.history(app, before, limit.min(HISTORY_PAGE)).await?)
    }

    /// An application's files: as they are now in the repository, served or not, or at a revision that it once had.
    pub async fn files(&self, app: &AppName, revision: Option<&Revision>) -> Result<Snapshot, WriteError> {
        match revision {
            None => self.definitions.read(app).await?.ok_or_else(|| WriteError::UnknownApp(app.clone())),
            Some(revision) => self
                .definitions
                .read_at(app, revision)
                .await?
                .ok_or_else(|| WriteError::UnknownRevision { app: app.clone(), revision: revision.clone() }),
        }
    }

    /// One file, and the application's revision.
    pub async fn file(
        &self,
        app: &AppName,
        path: &str,
        revision: Option<&Revision>,
    ) -> Result<(Revision, Arc<[u8]>), WriteError> {
        let snapshot = self.files(app, revision).await?;
        let content = snapshot.files.get(path).cloned();
        Ok((snapshot.revision, content.ok_or_else(|| unknown_file(app, path, &snapshot.files))?))
    }

    /// What changed between two revisions of an application; without `to`, up to now.
    pub async fn diff(&self, app: &AppName, from: &Revision, to: Option<&Revision>) -> Result<Diff, WriteError> {
        let old = self.files(app, Some(from)).await?;
        let new = self.files(app, to).await?;
        let work = move |old: FileTree, new: FileTree| diff(&old, &new);
        let compared = tokio::task::spawn_blocking(move || work(old.files, new.files)).await;
        let files = compared
            .map_err(|error| nexus_model::DefinitionError { step: "compare the files", reason: error.to_string() })?;
        Ok(Diff { from: from.clone(), to: new.revision, files })
    }
}
