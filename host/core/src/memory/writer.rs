//! Gathers changes for a moment and commits them together.

use std::{sync::Arc, time::Duration};

use nexus_model::{AppName, Author, DefinitionStore, MemoryAction, MemoryEdit};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::MemoryError;

/// How long the first change of a batch waits for others.
const DELAY: Duration = Duration::from_millis(20);
/// The most changes of a batch.
const MOST: usize = 64;

type Outcome = Result<String, MemoryError>;

/// A change, and who waits for it.
pub(super) struct Request {
    app: AppName,
    edit: MemoryEdit,
    author: Author,
    answer: oneshot::Sender<Outcome>,
}

impl Request {
    pub(super) fn new(app: AppName, edit: MemoryEdit, author: Author) -> (Self, oneshot::Receiver<Outcome>) {
        let (answer, outcome) = oneshot::channel();
        (Self { app, edit, author, answer }, outcome)
    }
}

/// Commits until cancelled; then what was accepted, and no more.
pub(super) async fn run(
    definitions: Arc<dyn DefinitionStore>,
    mut requests: mpsc::Receiver<Request>,
    cancel: CancellationToken,
) {
    loop {
        let first = tokio::select! {
            biased;
            first = requests.recv() => first,
            () = cancel.cancelled() => {
                requests.close();
                requests.recv().await
            }
        };
        let Some(first) = first else { return };
        for batch in groups(gather(first, &mut requests).await) {
            commit(definitions.as_ref(), batch).await;
        }
    }
}

async fn gather(first: Request, requests: &mut mpsc::Receiver<Request>) -> Vec<Request> {
    let deadline = Instant::now() + DELAY;
    let mut batch = vec![first];
    while batch.len() < MOST {
        match timeout_at(deadline, requests.recv()).await {
            Ok(Some(request)) => batch.push(request),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}

/// One group for each application and author, in the order of their first changes; the order within an application and
/// author stays. Of two authors who change one document at the same time either may come first.
fn groups(batch: Vec<Request>) -> Vec<Vec<Request>> {
    let mut groups: Vec<Vec<Request>> = Vec::new();
    for request in batch {
        let same = |group: &&mut Vec<Request>| {
            group.first().is_some_and(|first| first.app == request.app && first.author == request.author)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(request),
            None => groups.push(vec![request]),
        }
    }
    groups
}

/// Commits a group. If it is refused as a whole, each change alone: one that cannot be must not keep others out.
async fn commit(definitions: &dyn DefinitionStore, group: Vec<Request>) {
    let outcome = commit_all(definitions, &group).await;
    if outcome.is_err() && group.len() > 1 {
        for request in group {
            let outcome = commit_all(definitions, std::slice::from_ref(&request)).await;
            tell(request, outcome);
        }
        return;
    }
    for request in group {
        tell(request, outcome.clone());
    }
}

async fn commit_all(definitions: &dyn DefinitionStore, group: &[Request]) -> Outcome {
    let Some(first) = group.first() else { return Ok(String::new()) };
    let edits = group.iter().map(|request| request.edit.clone()).collect();
    let committed = definitions.commit_memory(&first.app, edits, &first.author, &message(group)).await?;
    Ok(committed.unwrap_or_default())
}

fn message(group: &[Request]) -> String {
    let told = |request: &Request| {
        let verb = match request.edit.action {
            MemoryAction::Write(_) => "Write",
            MemoryAction::Append(_) => "Add to",
            MemoryAction::Remove => "Remove",
        };
        format!("{verb} {}", request.edit.path)
    };
    match group {
        [one] => told(one),
        many => {
            let lines: Vec<_> = many.iter().map(told).collect();
            format!("{} changes\n\n{}", many.len(), lines.join("\n"))
        }
    }
}

fn tell(request: Request, outcome: Outcome) {
    // Whoever asked may have gone away; the change is made all the same.
    let _ = request.answer.send(outcome);
}
