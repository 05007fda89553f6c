//! How a server is started that speaks over its standard streams.

use std::fmt;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// Starts a server. Each start is another process.
#[async_trait]
pub trait Launcher: fmt::Debug + Send + Sync {
    /// Starts it, and waits until it can be written to; that it understands is not waited for.
    async fn launch(&self) -> Result<Launched, LaunchError>;
}

/// Why a server was not started, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LaunchError(pub String);

/// A server that was started.
pub struct Launched {
    /// Its standard input; closed when it is dropped.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// What it runs in.
    pub process: Box<dyn Process>,
}

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched").finish_non_exhaustive()
    }
}

/// What a server runs in. It ends, with all that it has started, soon after this is dropped.
pub trait Process: Send + Sync {
    /// The last lines of its standard error, for the message of an error; a few KiB at most.
    fn last_words(&self) -> String;
}
