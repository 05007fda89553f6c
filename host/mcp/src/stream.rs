//! A catalogue for one program at the other end of two streams.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::BoxFuture;
use nexus_model::ToolCatalogue;
use rmcp::{RoleServer, ServiceExt, service::RunningService};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    hub::lines::{Ending, Lines},
    rounds::Rounds,
    server::Server,
};

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 4 << 20;
/// How long the program may take to begin a session.
const BEGIN: Duration = Duration::from_secs(30);

/// Why a program cannot be spoken with, or not any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It did not begin a session.
    #[error("it did not begin a session: {0}")]
    Begin(String),
    /// It did not begin a session in time.
    #[error("it did not begin a session within {} s", BEGIN.as_secs())]
    Late,
    /// It wrote what is no message.
    #[error("it wrote a line that is no message")]
    Garbage,
    /// It wrote a message that is too long.
    #[error("it wrote a message of more than {MAX_MESSAGE} bytes")]
    TooLong,
    /// The task that answers was lost.
    #[error("the session broke off: {0}")]
    Lost(String),
}

/// Shows a catalogue to a program. It is not trusted: what it writes is bounded, and the first line that is no message ends
/// the session.
pub struct StreamServer {
    running: RunningService<RoleServer, Server>,
    ending: Arc<OnceLock<Ending>>,
}

impl StreamServer {
    /// Waits until the program has begun a session. Later the session ends with the input, or with the token.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn begin(
        input: Box<dyn AsyncRead + Send + Unpin>,
        output: Box<dyn AsyncWrite + Send + Unpin>,
        catalogue: Arc<dyn ToolCatalogue>,
        key: [u8; 32],
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<Self, StreamError>> {
        Box::pin(Self::begin_plain(input, output, catalogue, key, tasks, cancel))
    }

    async fn begin_plain(
        input: Box<dyn AsyncRead + Send + Unpin>,
        output: Box<dyn AsyncWrite + Send + Unpin>,
        catalogue: Arc<dyn ToolCatalogue>,
        key: [u8; 32],
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, StreamError> {
        let ending = Arc::new(OnceLock::new());
        let input = Lines::strict(input, MAX_MESSAGE, Arc::clone(&ending));
        let server = Server::of(catalogue, Arc::new(Rounds::new(key)), tasks);
        let begun = tokio::time::timeout(BEGIN, server.serve_with_ct((input, output), cancel)).await;
        let running = begun.map_err(|_| StreamError::Late)?;
        let running =
            running.map_err(|error| ended(&ending).unwrap_or_else(|| StreamError::Begin(error.to_string())))?;
        Ok(Self { running, ending })
    }

    /// Waits for the end of the session.
    ///
    /// # Errors
    /// The program did not end it as the protocol says.
    pub fn ended(self) -> BoxFuture<'static, Result<(), StreamError>> {
        Box::pin(self.ended_plain())
    }

    async fn ended_plain(self) -> Result<(), StreamError> {
        let waited = self.running.waiting().await;
        if let Some(why) = ended(&self.ending) {
            return Err(why);
        }
        waited.map(drop).map_err(|error| StreamError::Lost(error.to_string()))
    }
}

fn ended(ending: &OnceLock<Ending>) -> Option<StreamError> {
    ending.get().map(|ending| match ending {
        Ending::TooLong => StreamError::TooLong,
        Ending::Garbage => StreamError::Garbage,
    })
}
