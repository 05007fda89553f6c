//! The remote of the definitions: by hand, on a clock, and after every change.

use std::{sync::Arc, time::Duration};

use nexus_model::{DefinitionRemote, Moved, RemoteError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ApplicationRegistry;

/// The remote, and what this host is to it.
#[derive(Clone)]
pub struct Remote {
    /// Sends and takes.
    pub port: Arc<dyn DefinitionRemote>,
    /// Where it is, for people.
    pub name: String,
    /// Whether this host only takes: it then refuses changes, which belong to the host that sends.
    pub follow: bool,
    /// Time between two looks; none if `None`, and then nothing is sent but by hand.
    pub every: Option<Duration>,
}

/// Why definitions were not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The settings name no remote.
    #[error("no remote is set")]
    None,
    /// This host only takes.
    #[error("this host follows {0}: it takes definitions from there and sends none")]
    Following(String),
    /// The remote.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What was taken could not be read.
    #[error(transparent)]
    Registry(#[from] super::RegistryError),
}

/// A remote, and that something was written which it lacks.
pub(super) struct Attached {
    pub(super) remote: Remote,
    pub(super) written: Notify,
}

impl ApplicationRegistry {
    /// Sends this host's definitions to the remote.
    pub async fn push(&self) -> Result<Moved, MoveError> {
        let Attached { remote, .. } = self.remote.as_ref().ok_or(MoveError::None)?;
        if remote.follow {
            return Err(MoveError::Following(remote.name.clone()));
        }
        let moved = remote.port.push().await?;
        if moved.moved {
            self.told.tell().await;
        }
        Ok(moved)
    }

    /// Takes the remote's definitions and serves them.
    pub async fn fetch(&self) -> Result<Moved, MoveError> {
        let Attached { remote, .. } = self.remote.as_ref().ok_or(MoveError::None)?;
        let moved = remote.port.fetch().await?;
        if moved.moved {
            self.refresh().await?;
        }
        Ok(moved)
    }

    /// Keeps in step with the remote until cancelled, if the settings ask for it. What goes wrong is logged when it
    /// begins, and again when it is another thing.
    pub(crate) async fn keep_in_step(self: Arc<Self>, cancel: CancellationToken) {
        let Some(Attached { remote, written }) = &self.remote else { return };
        let Some(every) = remote.every else { return };
        let mut told = String::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = written.notified() => {}
                () = tokio::time::sleep(every) => {}
            }
            match self.step(remote.follow).await {
                Ok(()) => told.clear(),
                Err(error) if error.to_string() == told => {}
                Err(error) => {
                    tracing::error!(remote = remote.name, %error, "definitions are not in step with the remote");
                    told = error.to_string();
                }
            }
        }
    }

    /// Takes over at once what other hosts on the same store tell of, until cancelled: from the repository, or, on a host
    /// that follows a remote, from there.
    pub(crate) async fn listen(self: Arc<Self>, cancel: CancellationToken) {
        let mut others = self.told.listen();
        while others.heard(&cancel).await {
            if self.followed().is_some() {
                self.wake_remote();
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "what another host has changed is served later");
            }
        }
    }

    async fn step(&self, follow: bool) -> Result<(), MoveError> {
        self.fetch().await?;
        if !follow {
            self.push().await?;
        }
        Ok(())
    }

    /// Says that there is something to send.
    pub(super) fn wake_remote(&self) {
        if let Some(attached) = &self.remote {
            attached.written.notify_one();
        }
    }

    /// Where the definitions of this host come from, if it does not make changes itself.
    pub(super) fn followed(&self) -> Option<&str> {
        self.remote.as_ref().filter(|attached| attached.remote.follow).map(|attached| attached.remote.name.as_str())
    }
}
