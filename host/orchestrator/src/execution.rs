//! One execution, from the host and back.

use std::{
    any::Any,
    io::{Write, stderr},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
};

use futures::FutureExt;
use nexus_workflow::{ErrorType, Finished, Start, WorkflowError, run};
use rmcp::{RoleClient, service::Peer};
use serde_json::{Value, json};

use crate::{
    evaluate::{Evaluators, ProcessEvaluator},
    host::call,
    journal::Journal,
    port::Port,
    work::{FINISH, Given, Left, Page},
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

/// An end, and when it was, if that is known.
type End = (Result<Value, WorkflowError>, Option<Value>);

fn failed(mut error: WorkflowError) -> End {
    error.instance.get_or_insert_with(|| "/".to_owned());
    (Err(error), None)
}

fn told(execution: &str, (result, at): End) -> Value {
    let mut told = match result {
        Ok(output) => json!({ "execution": execution, "output": output }),
        Err(error) => json!({ "execution": execution, "problem": error }),
    };
    if let Some(at) = at {
        told["at"] = at;
    }
    told
}

async fn walk(common: &Common, given: Value) -> Result<End, Left> {
    let given: Given = serde_json::from_value(given).map_err(|error| {
        Left::Failed(WorkflowError::new(ErrorType::Configuration, format!("the execution cannot be read: {error}")))
    })?;
    let Given { execution, definition, input, journal, journal_next } = given;
    let workflow = common.workflows.get(&definition.workflow, definition.grants).map_err(Left::Failed)?;
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
    if port.untold() > 0 {
        // Nobody is told where nobody listens.
        let _ = writeln!(stderr(), "{}: {} steps were not told of: they came too fast", start.execution, port.untold());
    }
    Ok((result, Some(json!(at))))
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the orchestrator failed: {}", text.unwrap_or("a panic").chars().take(200).collect::<String>())
}
