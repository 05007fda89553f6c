//! Takes executions and brings them back.

use std::sync::Arc;

use async_trait::async_trait;
use rmcp::{ServiceExt, transport::stdio};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::host::{Host, call};

/// An execution.
#[derive(Debug, Clone, Deserialize)]
pub struct Work {
    /// Its id.
    pub execution: String,
    /// The operation.
    pub operation: String,
    /// What the definition tells the program.
    pub definition: Value,
    /// The input, which satisfies the operation's schema.
    pub input: Value,
    /// When nobody waits for it any more, as a Unix time in milliseconds.
    pub deadline_unix_ms: u64,
}

/// What a program makes of an execution.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Does it. The error is what whoever called the operation is told.
    async fn run(&self, work: Work, host: Host) -> Result<Value, String>;
}

/// Why a program stopped working.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The host did not begin a session.
    #[error("the host did not begin a session: {0}")]
    Begin(String),
}

/// Works until the host closes the input, for `parallel` executions at one time.
///
/// # Errors
/// [`WorkerError`].
pub async fn serve(handler: impl Handler, parallel: usize) -> Result<(), WorkerError> {
    let session = ().serve(stdio()).await.map_err(|error| WorkerError::Begin(error.to_string()))?;
    let peer = session.peer().clone();
    let (handler, tasks) = (Arc::new(handler), TaskTracker::new());
    let places = Arc::new(Semaphore::new(parallel));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        // An error says that the host is gone: so is the program, soon.
        let Ok(next) = call(&peer, "core.work.next", json!({}), None).await else { break };
        let Ok(work) = serde_json::from_value::<Work>(next) else { continue };
        let (handler, peer) = (Arc::clone(&handler), peer.clone());
        tasks.spawn(async move {
            let execution = work.execution.clone();
            let told = match handler.run(work, Host::new(peer.clone(), execution.clone())).await {
                Ok(output) => json!({ "execution": execution, "output": output }),
                Err(error) => json!({ "execution": execution, "error": error }),
            };
            // If the host is gone, so is whoever waits for it.
            let _ = call(&peer, "core.work.finish", told, None).await;
            drop(place);
        });
    }
    Ok(())
}
