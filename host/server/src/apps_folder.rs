//! `--apps DIR`: a plain folder of applications, imported at the start and again on change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use nexus_core::{ApplicationRegistry, ImportError};
use nexus_model::{AppName, Author, FileTree};
use nexus_state::folder::{FolderError, read_apps};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

use crate::start_error::AppsError;

/// Time between two looks at the folder.
const EVERY: Duration = Duration::from_secs(1);

type Apps = BTreeMap<AppName, FileTree>;

/// A folder that was imported once and is looked at again and again.
pub(crate) struct AppsFolder {
    folder: PathBuf,
    registry: Arc<ApplicationRegistry>,
    /// What was looked at last, faulty or not.
    seen: Apps,
    /// What was logged last, so that it is not logged again every second.
    told: String,
}

impl AppsFolder {
    /// Imports the folder: every application or none.
    pub(crate) async fn import(folder: PathBuf, registry: Arc<ApplicationRegistry>) -> Result<Self, AppsError> {
        let apps = read(folder.clone()).await?;
        if apps.is_empty() {
            return Err(AppsError::Empty(folder));
        }
        take(&registry, &folder, apps.clone()).await?;
        Ok(Self { folder, registry, seen: apps, told: String::new() })
    }

    /// Imports the folder again whenever it has changed, until cancelled. What has faults is logged, and what was
    /// imported before goes on serving. An application that is gone from the folder stays where it is.
    pub(crate) async fn watch(mut self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let told = self.look().await.map_or_else(|error| report(&error, &self.told), |()| String::new());
            self.told = told;
        }
    }

    async fn look(&mut self) -> Result<(), AppsError> {
        let apps = read(self.folder.clone()).await?;
        if apps == self.seen {
            return Ok(());
        }
        self.seen.clone_from(&apps);
        take(&self.registry, &self.folder, apps).await?;
        tracing::info!(folder = %self.folder.display(), "imported again");
        Ok(())
    }
}

/// Logs what was not logged last time, and says what that is.
fn report(error: &AppsError, told: &str) -> String {
    let text = error.to_string();
    if text == told {
        return text;
    }
    if let AppsError::Faults { faults, .. } = error {
        for (app, fault) in faults.iter().flat_map(|(app, faults)| faults.iter().map(move |fault| (app, fault))) {
            tracing::error!(%app, "{fault}");
        }
    }
    tracing::error!(%error, "the folder was not imported; what was imported before goes on serving");
    text
}

async fn read(folder: PathBuf) -> Result<Apps, FolderError> {
    let shown = folder.clone();
    tokio::task::spawn_blocking(move || read_apps(&folder)).await.unwrap_or_else(|_| {
        let source = std::io::Error::other("reading was interrupted");
        Err(FolderError::Io { path: shown, source })
    })
}

async fn take(registry: &ApplicationRegistry, folder: &std::path::Path, apps: Apps) -> Result<(), AppsError> {
    let author = Author { name: "nexus import".to_owned(), email: "import@nexus.invalid".to_owned() };
    match registry.import(apps.clone(), &author).await {
        Ok(_) => Ok(()),
        Err(ImportError::Faults(faults)) => Err(AppsError::Faults { folder: folder.to_owned(), faults, files: apps }),
        Err(error) => Err(AppsError::Import(error)),
    }
}
