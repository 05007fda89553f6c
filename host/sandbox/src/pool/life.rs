//! The life of one sandbox of a pool.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{members::Serves, work::Shared};
use crate::{BoxError, SandboxHandle, SandboxHandler};

/// From its start until nothing of it is left.
pub(super) async fn live<H: SandboxHandler>(shared: Arc<Shared<H>>, id: u64, ending: CancellationToken) {
    let failed = match start(&shared, id, &ending).await {
        Ok(Some(handle)) => serve(&handle, &ending, shared.settings.grace, shared.settings.pause).await,
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(error, "a sandbox of a pool could not be started");
            true
        }
    };
    shared.gone(id, failed);
}

/// Starts it and has the handler make something of it; `None` if it was told to end meanwhile.
async fn start<H: SandboxHandler>(
    shared: &Shared<H>,
    id: u64,
    ending: &CancellationToken,
) -> Result<Option<SandboxHandle>, BoxError> {
    let sandbox = shared.driver.start(&shared.spec).await?;
    let handle = sandbox.handle.clone();
    let attached = timeout(shared.settings.start, shared.handler.attach(sandbox));
    let error: BoxError = match ending.run_until_cancelled(attached).await {
        Some(Ok(Ok(session))) => {
            shared.serves(id, Serves { session: Arc::new(session), handle: handle.clone() });
            return Ok(Some(handle));
        }
        Some(Ok(Err(error))) => error,
        Some(Err(late)) => late.into(),
        None => {
            handle.kill().await;
            return Ok(None);
        }
    };
    handle.kill().await;
    let complaints = handle.complaints();
    tracing::warn!(sandbox = handle.id(), complaints, "a sandbox did not come to serve");
    Err(error)
}

/// Until it ends, or has to. Whether it ended by itself too soon for another to be started at once.
async fn serve(handle: &SandboxHandle, ending: &CancellationToken, grace: Duration, too_soon: Duration) -> bool {
    let began = Instant::now();
    let Some(exit) = ending.run_until_cancelled(handle.wait()).await else {
        handle.wait_or_kill(grace).await;
        return false;
    };
    let complaints = handle.complaints();
    tracing::warn!(sandbox = handle.id(), code = exit.code, complaints, "a sandbox ended by itself");
    began.elapsed() < too_soon
}
