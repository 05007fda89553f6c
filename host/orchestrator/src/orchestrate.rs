//! Takes executions of workflows, many at one time.

use std::{error::Error, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use rmcp::{RoleClient, ServiceExt, transport::IntoTransport};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use crate::{
    evaluate::Evaluators,
    execution::{Common, execute},
    host::call,
    work::NEXT,
    worker::WorkerError,
    workflows::Workflows,
};

/// The longest that the program asks the host to wait for an execution.
const WAIT_MS: u64 = 25_000;
/// How long it leaves a host alone that had none.
const PAUSE: Duration = Duration::from_millis(10);
/// How many executions it asks for at one time.
const ASKED: usize = 4;

/// How executions are taken.
#[derive(Debug)]
pub struct Settings {
    /// Executions at one time.
    pub parallel: usize,
    /// Who evaluates their expressions.
    pub evaluators: Evaluators,
}

/// Walks workflows until the host closes the input. What is not at its end then comes again, by its journal, elsewhere.
///
/// # Errors
/// [`WorkerError`].
pub async fn orchestrate<T, E, A>(transport: T, settings: Settings) -> Result<(), WorkerError>
where
    T: IntoTransport<RoleClient, E, A>,
    E: Error + Send + Sync + 'static,
{
    let session = ().serve(transport).await.map_err(|error| WorkerError::Begin(error.to_string()))?;
    let common = Arc::new(Common {
        peer: session.peer().clone(),
        workflows: Workflows::default(),
        evaluators: Arc::new(settings.evaluators),
    });
    let places = Arc::new(Semaphore::new(settings.parallel.max(1)));
    let mut takers: FuturesUnordered<_> = (0..ASKED).map(|_| take(&common, &places)).collect();
    // The first that ends says that the host is gone, for all.
    takers.next().await;
    Ok(())
}

/// Takes one execution after another and has it walked, until the host is gone.
async fn take(common: &Arc<Common>, places: &Arc<Semaphore>) {
    // Dropped with what runs in it when the host is gone.
    let mut executions = JoinSet::new();
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        while executions.try_join_next().is_some() {}
        // An error says that the host is gone: so is the program, soon.
        let Ok(given) = call(&common.peer, NEXT, json!({ "wait_ms": WAIT_MS }), None).await else { break };
        let Some(execution) = given.get("execution").and_then(Value::as_str).map(String::from) else {
            sleep(PAUSE).await;
            continue;
        };
        let common = Arc::clone(common);
        executions.spawn(async move {
            execute(&common, execution, given).await;
            drop(place);
        });
    }
}
