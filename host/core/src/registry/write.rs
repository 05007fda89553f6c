//! Changing an application through this host: checked before the commit, one commit each, served at once.

use std::sync::Arc;

use nexus_definitions::{EditError, Fault, nearest};
use nexus_model::{
    AppName, Author, CommitError, DefinitionError, Expected, FileTree, LoadError, PluginName, Revision, Snapshot,
};

use super::{ApplicationRegistry, plugin_write::Widening};

/// How often a change that holds for any state is made again because somebody else was faster.
const RETRIES: usize = 5;

/// What the thing must be that is to be changed: an application, or a file of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing was said: enough to make what is not there.
    Unstated,
    /// It must not be there.
    Absent,
    /// It must be there, whatever it is.
    Present,
    /// The application must be at one of these revisions.
    Revisions(Vec<Revision>),
}

/// A change, whoever asked for it.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The application.
    pub app: AppName,
    /// When the change applies.
    pub condition: Condition,
    /// Who makes it.
    pub author: Author,
    /// What the author says about it; a line of ours if `None`.
    pub message: Option<String>,
}

/// A change that was made. It is durable, and this host serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The application's revision now; `None` if it was removed.
    pub revision: Option<Revision>,
    /// Whether it was not there before.
    pub created: bool,
    /// Whether anything changed; if not, there is no commit.
    pub changed: bool,
}

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no such application.
    #[error("there is no application `{0}`")]
    UnknownApp(AppName),
    /// There is no such file.
    #[error("`{app}` has no file `{path}`")]
    UnknownFile {
        /// The application.
        app: AppName,
        /// The file.
        path: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// The application never was at this revision.
    #[error("`{app}` has no revision `{revision}`")]
    UnknownRevision {
        /// The application.
        app: AppName,
        /// The revision.
        revision: Revision,
    },
    /// What is there was to be changed, and nothing was said about its state.
    #[error("it is there already, at revision {}", .actual)]
    Unconditional {
        /// What the application is now.
        actual: Revision,
    },
    /// It is not as it must be.
    #[error("the application is at revision {}, not as expected", .actual.as_ref().map_or("none", |r| &*r.0))]
    Conflict {
        /// What the application is now.
        actual: Option<Revision>,
    },
    /// The definitions of this host come from elsewhere.
    #[error("this host takes its definitions from {0}: changes are made where those come from")]
    Following(String),
    /// The definition would have faults, all of them told.
    #[error("{} faults", .0.len())]
    Faults(Vec<Fault>),
    /// There is no such plugin.
    #[error("`{app}` has no plugin `{plugin}`")]
    UnknownPlugin {
        /// The application.
        app: AppName,
        /// The plugin.
        plugin: PluginName,
    },
    /// The plugin could do more than before, and nobody has said that it may.
    #[error("the plugin `{plugin}` would be granted more: {}", .widening.grants.join("; "))]
    Widened {
        /// The plugin.
        plugin: PluginName,
        /// What it would be.
        widening: Box<Widening>,
    },
    /// The component cannot be a plugin.
    #[error(transparent)]
    Component(#[from] LoadError),
    /// `app.yaml` cannot be changed in place.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A path or a size that no application may have.
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

/// What the folder is to become.
pub(super) struct Planned {
    pub(super) files: FileTree,
    pub(super) message: String,
}

impl ApplicationRegistry {
    /// Makes an application hold exactly these files.
    pub async fn put_app(&self, edit: &Edit, files: &FileTree) -> Result<Written, WriteError> {
        self.change(edit, |current| {
            edit.condition.admit(current.map(|snapshot| &snapshot.revision), current.is_some())?;
            let verb = if current.is_some() { "Change" } else { "Add" };
            Ok(Planned { files: files.clone(), message: format!("{verb} {}", edit.app) })
        })
        .await
    }

    /// Removes an application. Its history stays, and with it the way back.
    pub async fn delete_app(&self, edit: &Edit) -> Result<Written, WriteError> {
        let removed = self
            .change(edit, |current| {
                let current = current.ok_or_else(|| WriteError::UnknownApp(edit.app.clone()))?;
                edit.condition.admit(Some(&current.revision), true)?;
                Ok(Planned { files: FileTree::new(), message: format!("Remove {}", edit.app) })
            })
            .await?;
        if let Err(error) = self.forget_state(&edit.app).await {
            tracing::warn!(app = %edit.app, %error, "removed, but a new application of this name may begin inactive");
        }
        Ok(removed)
    }

    /// Adds or replaces one file of an application. The edit's condition speaks of the file; its revisions are the
    /// application's.
    pub async fn put_file(&self, edit: &Edit, path: &str, content: &Arc<[u8]>) -> Result<Written, WriteError> {
        let created = std::sync::atomic::AtomicBool::new(false);
        let written = self
            .change(edit, |current| {
                let current = current.ok_or_else(|| WriteError::UnknownApp(edit.app.clone()))?;
                let there = current.files.contains_key(path);
                edit.condition.admit(Some(&current.revision), there)?;
                created.store(!there, std::sync::atomic::Ordering::Relaxed);
                let mut files = current.files.clone();
                files.insert(path.to_owned(), Arc::clone(content));
                let verb = if there { "Change" } else { "Add" };
                Ok(Planned { files, message: format!("{verb} {}/{path}", edit.app) })
            })
            .await?;
        Ok(Written { created: created.into_inner(), ..written })
    }

    /// Removes one file of an application.
    pub async fn delete_file(&self, edit: &Edit, path: &str) -> Result<Written, WriteError> {
        self.change(edit, |current| {
            let current = current.ok_or_else(|| WriteError::UnknownApp(edit.app.clone()))?;
            let mut files = current.files.clone();
            if files.remove(path).is_none() {
                return Err(unknown_file(&edit.app, path, &files));
            }
            edit.condition.admit(Some(&current.revision), true)?;
            Ok(Planned { files, message: format!("Remove {}/{path}", edit.app) })
        })
        .await
    }

    /// Makes an application what it was at an earlier revision, also one that was removed since.
    pub async fn restore(&self, edit: &Edit, revision: &Revision) -> Result<Written, WriteError> {
        let earlier = self.definitions.read_at(&edit.app, revision).await?;
        let earlier =
            earlier.ok_or_else(|| WriteError::UnknownRevision { app: edit.app.clone(), revision: revision.clone() })?;
        self.change(edit, |current| {
            edit.condition.admit(current.map(|snapshot| &snapshot.revision), current.is_some())?;
            Ok(Planned { files: earlier.files.clone(), message: format!("Restore {} to {revision}", edit.app) })
        })
        .await
    }

    /// Reads, plans, checks, commits on exactly what was read, and serves. When somebody else was faster, a condition
    /// that names no revision is put to the new state.
    pub(super) async fn change(
        &self,
        edit: &Edit,
        plan: impl Fn(Option<&Snapshot>) -> Result<Planned, WriteError>,
    ) -> Result<Written, WriteError> {
        if let Some(remote) = self.followed() {
            return Err(WriteError::Following(remote.to_owned()));
        }
        let mut actual = None;
        for _ in 0..=RETRIES {
            let current = self.definitions.read(&edit.app).await?;
            let Planned { files, message } = plan(current.as_ref())?;
            let before = current.map(|snapshot| snapshot.revision);
            match self.commit(edit, before.clone(), files, &message).await {
                Ok(after) => {
                    self.serve().await;
                    self.told.tell().await;
                    self.wake_remote();
                    return Ok(Written { created: before.is_none(), changed: before != after, revision: after });
                }
                Err(WriteError::Conflict { actual: now }) => actual = now,
                Err(error) => return Err(error),
            }
        }
        Err(WriteError::Conflict { actual })
    }

    async fn commit(
        &self,
        edit: &Edit,
        before: Option<Revision>,
        files: FileTree,
        message: &str,
    ) -> Result<Option<Revision>, WriteError> {
        let removed = files.is_empty();
        if !removed {
            let snapshot = Snapshot { revision: Revision::from(String::new()), files: files.clone() };
            self.check(&edit.app, &snapshot).await.map_err(WriteError::Faults)?;
        }
        let expected = before.map_or(Expected::Absent, Expected::Revision);
        let message = edit.message.as_deref().unwrap_or(message);
        match self.definitions.replace(&edit.app, files, expected, &edit.author, message).await {
            Ok(revision) => Ok((!removed).then_some(revision)),
            Err(CommitError::Conflict { actual }) => Err(WriteError::Conflict { actual }),
            Err(CommitError::Refused { path, reason }) => Err(WriteError::Refused { path, reason }),
            Err(CommitError::Store(error)) => Err(WriteError::Store(error)),
        }
    }

    /// Takes over what was committed. If that fails it is not lost: the next look takes it over.
    async fn serve(&self) {
        if let Err(error) = self.refresh().await {
            tracing::error!(%error, "a change is committed, but cannot be served yet");
        }
    }
}

pub(super) fn unknown_file(app: &AppName, path: &str, files: &FileTree) -> WriteError {
    let nearest = nearest(path, files.keys().map(String::as_str));
    WriteError::UnknownFile { app: app.clone(), path: path.to_owned(), nearest }
}

impl Condition {
    /// Whether a change applies to an application at revision `actual`; `there` says whether what is to be changed is
    /// there.
    pub(super) fn admit(&self, actual: Option<&Revision>, there: bool) -> Result<(), WriteError> {
        let conflict = || Err(WriteError::Conflict { actual: actual.cloned() });
        match (self, actual) {
            (Self::Unstated, Some(actual)) if there => Err(WriteError::Unconditional { actual: actual.clone() }),
            (Self::Absent, _) if there => conflict(),
            (Self::Present, _) if !there => conflict(),
            (Self::Revisions(wanted), actual) if !actual.is_some_and(|actual| wanted.contains(actual)) => conflict(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use nexus_model::Revision;

    use super::{Condition, WriteError};

    #[test]
    fn what_is_there_is_changed_only_by_whoever_knows_its_state() {
        let (one, two) = (Revision::from("1".to_owned()), Revision::from("2".to_owned()));
        let named = |revision: &Revision| Condition::Revisions(vec![revision.clone()]);
        let admitted = |condition: &Condition, actual: Option<&Revision>, there| condition.admit(actual, there).is_ok();
        assert!(admitted(&Condition::Unstated, None, false));
        assert!(admitted(&Condition::Unstated, Some(&one), false), "a new file");
        assert!(matches!(
            Condition::Unstated.admit(Some(&one), true),
            Err(WriteError::Unconditional { actual }) if actual == one
        ));
        assert!(admitted(&Condition::Absent, Some(&one), false));
        assert!(!admitted(&Condition::Absent, Some(&one), true));
        assert!(admitted(&Condition::Present, Some(&one), true));
        assert!(!admitted(&Condition::Present, None, false));
        assert!(admitted(&named(&one), Some(&one), true));
        assert!(admitted(&named(&one), Some(&one), false), "a new file of a known application");
        assert!(!admitted(&named(&two), Some(&one), true));
        assert!(!admitted(&named(&one), None, false));
    }
}
