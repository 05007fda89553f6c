//! Taking over plain folders.

use std::collections::BTreeMap;

use nexus_definitions::Fault;
use nexus_model::{AppName, Author, CommitError, Expected, FileTree, Revision, Snapshot};
use serde::Serialize;

use super::{ApplicationRegistry, RegistryError};

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The applications and the revisions that they are at now.
    pub apps: BTreeMap<AppName, Revision>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The definitions have faults, all of them told.
    #[error("{} faults in {} applications", .0.values().map(Vec::len).sum::<usize>(), .0.len())]
    Faults(BTreeMap<AppName, Vec<Fault>>),
    /// The repository refused a commit. Applications named before this one are imported.
    #[error("`{app}` could not be committed: {source}")]
    Commit {
        /// The application.
        app: AppName,
        /// Why.
        source: CommitError,
    },
    /// The applications are committed, but could not be read back.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl ApplicationRegistry {
    /// Commits folders of applications, one commit for each that changed, and serves them. With a fault in any of them
    /// nothing is committed. Applications that are not named stay.
    pub async fn import(
        &self,
        apps: BTreeMap<AppName, FileTree>,
        author: &Author,
    ) -> Result<ImportReport, ImportError> {
        let mut faults = BTreeMap::new();
        for (name, files) in &apps {
            let snapshot = Snapshot { revision: Revision::from(String::new()), files: files.clone() };
            if let Err(found) = self.check(name, &snapshot).await {
                faults.insert(name.clone(), found);
            }
        }
        if !faults.is_empty() {
            return Err(ImportError::Faults(faults));
        }
        let mut report = ImportReport { apps: BTreeMap::new() };
        for (name, files) in apps {
            let message = format!("Import {name}");
            let revision = self.definitions.replace(&name, files, Expected::Any, author, &message).await;
            let revision = revision.map_err(|source| ImportError::Commit { app: name.clone(), source })?;
            report.apps.insert(name, revision);
        }
        self.refresh().await?;
        self.told.tell().await;
        self.wake_remote();
        Ok(report)
    }
}
