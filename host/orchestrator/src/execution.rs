//! One execution, from the host and back.

use std::{
    any::Any,
    io::{Write, stderr},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
};

use futures::FutureExt;
use nexus_workflow::{ErrorType, Finished, Moment, Start, Workflow, WorkflowError, run};
use rmcp::{RoleClient, service::Peer};
use serde_json::{Value, json};

use crate::{
    evaluate::{Evaluators, ProcessEvaluator},
    host::call,
    journal::Journal,
    port::Port,
    work::{DOCUMENT, Definition, Document, FINISH, Given, Left, Page, Told},
    workflows::Workflows,
};

/// What all executions have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) peer: Peer<RoleClient>,
    pub(crate) workflows: Workflows,
    pub(crate) evaluators: Arc<Evaluators>,
}

/// Runs what the host gave to its end, or to where the host is to go on, and brings it back.
pub(crate) async fn execute(common: &Common, execution: String, given: Value) {
    let walked = AssertUnwindSafe(walk(common, given)).catch_unwind().await;
    let finished = match walked {
        Ok(Ok(finished)) => finished,
        Ok(Err(Left::ToHost)) => return,
        Ok(Err(Left::Failed(error))) => failed(error),
        Err(panic) => failed(WorkflowError::new(ErrorType::Runtime, said(panic.as_ref()))),
    };
    // If the host is gone, so is whoever waits for it.
    let _ = call(&common.peer, FINISH, told(&execution, finished), None).await;
}

/// An end.
struct End {
    result: Result<Value, WorkflowError>,
    /// When it was, if that is known.
    at: Option<Moment>,
    /// Steps that are not told yet.
    progress: Vec<Told>,
}

fn failed(mut error: WorkflowError) -> End {
    error.instance.get_or_insert_with(|| "/".to_owned());
    End { result: Err(error), at: None, progress: Vec::new() }
}

fn told(execution: &str, End { result, at, progress }: End) -> Value {
    let mut told = match result {
        Ok(output) => json!({ "execution": execution, "output": output }),
        Err(error) => json!({ "execution": execution, "problem": error }),
    };
    if let Some(at) = at {
        told["at"] = json!(at);
    }
    if !progress.is_empty() {
        told["progress"] = json!(progress);
    }
    told
}

async fn walk(common: &Common, given: Value) -> Result<End, Left> {
    let given: Given = serde_json::from_value(given).map_err(|error| {
        Left::Failed(WorkflowError::new(ErrorType::Configuration, format!("the execution cannot be read: {error}")))
    })?;
    let Given { execution, definition, input, journal, journal_next } = given;
    let workflow = workflow(common, &execution, &definition).await?;
    let journal =
        Journal::read(&common.peer, &execution, Page { journal, journal_next }).await.map_err(Left::Failed)?;
    let mut start = Start::new(execution.clone(), definition.start.at, input);
    start.limits = definition.start.limits;
    if let Some(runtime) = definition.start.runtime {
        start.runtime = runtime;
    }
    let evaluators = Arc::clone(&common.evaluators);
    let evaluator = ProcessEvaluator { evaluators, output_bytes: start.limits.value_bytes };
    let port = Port::new(common.peer.clone(), execution, journal);
    let mut telling = pin!(port.tell());
    let Finished { result, at } = tokio::select! {
        biased;
        left = port.left() => return Err(left),
        () = &mut telling => return Err(Left::ToHost),
        finished = run(&workflow, &start, &port, &evaluator) => finished,
    };
    port.end_telling();
    tokio::select! {
        biased;
        left = port.left() => return Err(left),
        () = telling => (),
    }
    let progress = port.rest();
    if port.untold() > 0 {
        // Nobody is told where nobody listens.
        let _ = writeln!(stderr(), "{}: {} steps were not told of: they came too fast", start.execution, port.untold());
    }
    Ok(End { result, at: Some(at), progress })
}

/// The workflow of an execution. Its document is asked for unless it is known by its digest.
async fn workflow(common: &Common, execution: &str, definition: &Definition) -> Result<Arc<Workflow>, Left> {
    let (digest, grants) = (&definition.workflow.digest, definition.grants);
    if let Some(known) = common.workflows.known(digest, grants) {
        return Ok(known);
    }
    let given = call(&common.peer, DOCUMENT, json!({ "execution": execution }), None).await;
    let given = given.map_err(|error| error.to_string());
    let read = given.and_then(|given| serde_json::from_value::<Document>(given).map_err(|error| error.to_string()));
    let failed = |why| Left::Failed(WorkflowError::new(ErrorType::Runtime, format!("its document: {why}")));
    let document = read.map_err(failed)?.document.ok_or(Left::ToHost)?;
    common.workflows.read(digest, grants, &document).map_err(Left::Failed)
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the orchestrator failed: {}", text.unwrap_or("a panic").chars().take(200).collect::<String>())
}
