//! `nexus record`.

use std::path::{Path, PathBuf};

use nexus_llm::LanguageModels;
use nexus_model::{NanoUsd, OperationRef};
use nexus_signals::Redactor;
use serde_json::{Value, json};

use super::{
    args::Record,
    client::{Client, segment},
    failure::Failure,
    model::{load, models},
    output::Output,
};
use crate::{
    ExecutionList,
    asking::Task,
    environment::Environment,
    record::{Book, Progress, Session},
    secrets::AllSecrets,
};

/// How many executions a page holds.
const PAGE: usize = 200;
/// After so many answers the progress is told.
const TOLD_EVERY: usize = 10;

pub(super) async fn run(
    record: &Record,
    output: Output,
    environment: &Environment,
    redactor: &Redactor,
) -> Result<(), Failure> {
    let reference = reference(record)?;
    let settings = load(record.config.as_ref(), environment)?;
    let task = Task::find(&record.apps, &reference, record.model.clone())?;
    let models = models(&settings, AllSecrets::of_operator(&settings.secrets_dir, environment, redactor))?;
    let Some(model) = settings.models.get(task.alias()).map(|settings| settings.model.clone()) else {
        let help = "add it to the settings, name them with --config, or name another model with --model";
        return Err(Failure::usage(format!("there is no model `{}` in the settings", task.alias()), help));
    };
    let inputs = inputs(record, &task).await?;
    let known = inputs.len();
    let file = file(record, &task);
    if record.dry_run {
        let book = Book::read(&file, &task.reference)?;
        let session = Session::new(&task, &models, model, inputs, &book, record.limit);
        return estimate(&session, &book, &models, known, output);
    }
    let mut book = Book::open(&file, &task.reference)?;
    let session = Session::new(&task, &models, model, inputs, &book, record.limit);
    let skipped = known - session.inputs.len();
    output.note(&format!("{} to record, {skipped} left out; to {}", session.inputs.len(), file.display()));
    let all = session.inputs.len();
    let told = |progress: Progress, fault: Option<&str>| {
        if let Some(fault) = fault {
            output.note(&format!("no answer: {fault}"));
        }
        let done = all - progress.left;
        if done.is_multiple_of(TOLD_EVERY) || progress.left == 0 {
            output.note(&format!(
                "{done} of {all}: {} recorded, {} without an answer",
                progress.recorded, progress.failed
            ));
        }
    };
    let progress = session.run(&mut book, record.parallel, told).await?;
    let row = json!({
        "file": file, "recorded": progress.recorded, "failed": progress.failed, "skipped": skipped,
    });
    if output.json {
        output.value(&row);
    } else {
        output.line(&format!(
            "{} recorded, {} without an answer; run it again for those",
            progress.recorded, progress.failed
        ));
    }
    if progress.failed == 0 { Ok(()) } else { Err(Failure::Faults) }
}

fn reference(record: &Record) -> Result<OperationRef, Failure> {
    let name = |what: &str, text: &str| Failure::usage(format!("`{text}` cannot be the name of {what}"), "");
    Ok(OperationRef {
        app: record.app.parse().map_err(|_| name("an application", &record.app))?,
        operation: record.operation.parse().map_err(|_| name("an operation", &record.operation))?,
    })
}

/// The file that `nexus-replay` reads.
fn file(record: &Record, task: &Task) -> PathBuf {
    let folder = record.recordings.clone().unwrap_or_else(|| record.apps.join("recordings"));
    folder.join(task.reference.app.as_str()).join(format!("{}.jsonl", task.reference.operation))
}

async fn inputs(record: &Record, task: &Task) -> Result<Vec<Value>, Failure> {
    match &record.inputs {
        Some(path) => from_file(path, task),
        None => from_server(record, task).await,
    }
}

fn from_file(path: &Path, task: &Task) -> Result<Vec<Value>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|source| Failure::Unreadable { path: path.to_owned(), source })?;
    let mut inputs = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |reason: String| {
            Failure::usage(format!("{}:{number}: {reason}", path.display()), "one input a line, as JSON")
        };
        let input: Value = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        if let Some(fault) = task.fault(&input) {
            return Err(wrong(format!("the input fails the schema {fault}")));
        }
        inputs.push(input);
    }
    Ok(inputs)
}

/// The inputs of a server's executions, newest first. What the operation's schema refuses now is left out.
async fn from_server(record: &Record, task: &Task) -> Result<Vec<Value>, Failure> {
    let client = Client::new(&record.connection)?;
    let (app, operation) = (segment(task.reference.app.as_str()), segment(task.reference.operation.as_str()));
    let mut inputs = Vec::new();
    let mut before = String::new();
    while inputs.len() < record.limit {
        let path = format!("/v1/executions?limit={PAGE}&app={app}&operation={operation}{before}");
        let page: ExecutionList = client.get(&path).await?;
        inputs.extend(page.executions.into_iter().map(|execution| execution.input));
        let Some(next) = page.next else { break };
        before = format!("&before={}", segment(&next));
    }
    inputs.retain(|input| task.fault(input).is_none());
    Ok(inputs)
}

fn estimate(
    session: &Session<'_>,
    book: &Book,
    models: &LanguageModels,
    known: usize,
    output: Output,
) -> Result<(), Failure> {
    let price = models.price(session.task.alias());
    let estimate = session.estimate(book, price).map_err(|message| Failure::usage(message, ""))?;
    let asked = session.inputs.len();
    if output.json {
        output.value(&json!({
            "inputs": known,
            "to_record": asked,
            "skipped": known - asked,
            "estimated_input_tokens": estimate.input_tokens,
            "estimated_output_tokens": estimate.output_tokens,
            "estimated_cost_nano_usd": estimate.cost_nano_usd,
            "price_as_of": price.map(|price| price.as_of.to_string()),
        }));
        return Ok(());
    }
    let cost = estimate
        .cost_nano_usd
        .map_or_else(|| "not known: the model has no price".to_owned(), |cost| NanoUsd(cost).to_string());
    output.line(&format!("{asked} of {known} inputs would be asked of `{}`", session.task.alias()));
    output.line(&format!("about {} tokens in and {} out", estimate.input_tokens, estimate.output_tokens));
    output.line(&format!("estimated cost: {cost}"));
    Ok(())
}
