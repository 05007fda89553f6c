//! `nexus executions`.

use std::time::Duration;

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{
    args::{Connection, Executions},
    client::{Client, segment},
    failure::Failure,
    output::Output,
    sse::{Event, Events},
};
use crate::{BegunView, ComparisonView, ExecutionList, ExecutionView, StepView};

/// How wide the line of time is.
const WIDTH: i64 = 32;
/// Characters of a value in a line.
const SHORT: usize = 60;
/// How often it is looked whether a replay has ended.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn run(command: &Executions, output: Output) -> Result<(), Failure> {
    match command {
        Executions::List { app, operation, path, unfinished, before, limit, connection } => {
            let client = Client::new(connection)?;
            let asked = [("app", app), ("operation", operation), ("path", path), ("before", before)];
            let filters =
                asked.iter().filter_map(|(name, value)| Some(format!("&{name}={}", segment(value.as_deref()?))));
            let unfinished = if *unfinished { "&unfinished=true" } else { "" };
            let path = format!("/v1/executions?limit={limit}{unfinished}{}", filters.collect::<String>());
            let list: ExecutionList = client.get(&path).await?;
            if output.json { output.value(&list) } else { show_list(&list, output) }
        }
        Executions::Show { id, connection } => {
            let execution: ExecutionView = Client::new(connection)?.get(&place(id)).await?;
            match (&execution.steps, output.json) {
                (Some(steps), false) => show_workflow(&execution, steps, output),
                _ => output.value(&execution),
            }
        }
        Executions::Watch { id, connection } => watch(&Client::new(connection)?, id, output).await?,
        Executions::Cancel { id, connection } => {
            Client::new(connection)?.order(&format!("{}/cancel", place(id))).await?;
            output.note("cancelled");
        }
        Executions::Replay { id, revision, live, connection } => {
            let effects = if *live { "live" } else { "recorded" };
            let asked = json!({ "revision": revision, "effects": effects });
            replay(connection, id, &asked, output).await?;
        }
    }
    Ok(())
}

fn place(id: &str) -> String {
    format!("/v1/executions/{}", segment(id))
}

fn show_list(list: &ExecutionList, output: Output) {
    let rows: Vec<_> = list.executions.iter().map(row).collect();
    output.table(&["ID", "OPERATION", "PATH", "TIME", "OUTCOME"], &rows);
    if let Some(next) = &list.next {
        output.note(&format!("more with --before {next}"));
    }
}

fn row(execution: &ExecutionView) -> Vec<String> {
    let path = match &execution.fallback {
        Some(reason) => format!("{} (after {reason})", execution.path),
        None => execution.path.clone(),
    };
    let outcome = match execution.status.as_str() {
        "completed" => "ok".to_owned(),
        "failed" | "cancelled" => execution.error.clone().unwrap_or_else(|| execution.status.clone()),
        other => other.to_owned(),
    };
    vec![
        execution.id.clone(),
        format!("{}/{}", execution.app, execution.operation),
        path,
        super::call::micros(execution.duration_us),
        outcome,
    ]
}

/// An execution of a workflow: each step with its place on a line of time.
fn show_workflow(execution: &ExecutionView, steps: &[StepView], output: Output) {
    let cost = execution.usage.as_ref().map(|usage| {
        let cost = usage.cost_nano_usd.map_or_else(|| "cost not known".to_owned(), usd);
        format!("{} tokens, {cost}", usage.input_tokens + usage.output_tokens)
    });
    let parts = [
        Some(format!("{}/{}", execution.app, execution.operation)),
        Some(execution.status.clone()),
        Some(super::call::micros(execution.duration_us)),
        cost,
        execution.replay_of.as_ref().map(|of| format!("replay of {of}")),
        execution.parent.as_ref().map(|parent| format!("begun by {} at {}", parent.execution, parent.step)),
    ];
    output.line(&parts.into_iter().flatten().collect::<Vec<_>>().join(" · "));
    let begun = i64::try_from(execution.started_at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let length = i64::try_from(execution.duration_us / 1_000).unwrap_or(i64::MAX).max(1);
    let rows: Vec<_> = steps.iter().map(|step| step_row(step, begun, length)).collect();
    output.table(&["STEP", "WHAT", "BY", "TIME", "", "OUTCOME"], &rows);
    match (&execution.output, &execution.problem) {
        (Some(value), _) => output.value(value),
        (None, Some(problem)) => output.value(problem),
        (None, None) => {}
    }
    if let Some(comparison) = &execution.comparison {
        show_comparison(comparison, output);
    }
}

fn step_row(step: &StepView, begun: i64, length: i64) -> Vec<String> {
    let what = format!("{} {}", step.kind, step.name);
    let time = step.ended_unix_ms.map(|ended| u64::try_from(ended - step.begun_unix_ms).unwrap_or(0));
    let outcome = match (step.state.as_str(), &step.output, &step.problem) {
        ("begun", ..) if step.begun_times > 1 => format!("begun {} times", step.begun_times),
        ("failed", _, Some(problem)) => {
            short(problem.get("error").and_then(|error| error.get("detail")).unwrap_or(problem))
        }
        (_, Some(value), _) => short(value),
        (state, ..) => state.to_owned(),
    };
    vec![
        step.step.clone(),
        what.trim().to_owned(),
        step.path.clone().unwrap_or_default(),
        time.map_or_else(String::new, |millis| super::call::micros(millis * 1_000)),
        bar(step.begun_unix_ms - begun, step.ended_unix_ms.map_or(length, |ended| ended - begun), length),
        outcome,
    ]
}

/// Where a step lies on the line of time.
fn bar(from: i64, to: i64, length: i64) -> String {
    let place = |at: i64| (at.clamp(0, length) * WIDTH / length).clamp(0, WIDTH - 1);
    let (from, to) = (place(from), place(to));
    (0..WIDTH).map(|at| if (from..=to.max(from)).contains(&at) { '█' } else { '·' }).collect()
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace('\n', " ");
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn usd(nano: u64) -> String {
    nexus_model::NanoUsd(nano).to_string()
}

async fn watch(client: &Client, id: &str, output: Output) -> Result<(), Failure> {
    let request = client.request(Method::GET, &format!("{}/events", place(id)));
    let mut response = client.send(request.header(header::ACCEPT, "text/event-stream")).await?;
    let (mut events, mut said) = (Events::default(), false);
    while let Some(chunk) = response.chunk().await.map_err(|source| client.failed(source))? {
        for event in events.feed(&chunk) {
            if output.json {
                output.value(&json!({ "id": event.id, "event": event.name, "data": event.data }));
            } else {
                show_event(&event, output, &mut said);
            }
            if event.name == "finished" {
                return Ok(());
            }
        }
    }
    Err(client.foreign("the stream ended before the execution did"))
}

fn show_event(event: &Event, output: Output, said: &mut bool) {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str).unwrap_or_default();
    if event.name == "token" {
        *said = true;
        return output.piece(text("text"));
    }
    if std::mem::take(said) {
        output.line("");
    }
    match event.name.as_str() {
        "begun" => output.line(&format!("{} {} {}", text("step"), text("kind"), text("name"))),
        "ended" => {
            let result = event.data.get("output").or_else(|| event.data.get("problem")).map(short);
            output.line(&format!("{} {}: {}", text("step"), text("state"), result.unwrap_or_default()));
        }
        "parked" => output.line("it waits"),
        "resumed" => output.line("it goes on"),
        "finished" => match event.data.get("output") {
            Some(value) => output.value(value),
            None => output.value(&event.data["problem"]),
        },
        _ => {}
    }
}

async fn replay(connection: &Connection, id: &str, asked: &Value, output: Output) -> Result<(), Failure> {
    let client = Client::new(connection)?;
    let begun: BegunView = client.post(&format!("{}/replay", place(id)), asked).await?;
    output.note(&format!("replay {}", begun.execution));
    loop {
        let again: ExecutionView = client.get(&place(&begun.execution)).await?;
        match (&again.comparison, again.status.as_str()) {
            (Some(comparison), _) => {
                if output.json {
                    output.value(comparison);
                } else {
                    show_comparison(comparison, output);
                }
                return Ok(());
            }
            (None, "completed" | "failed" | "cancelled") => {
                return Err(client.foreign("the execution that was done again is not kept any more"));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

fn show_comparison(comparison: &ComparisonView, output: Output) {
    let cost = |usage: &crate::UsageView| usage.cost_nano_usd.map_or_else(|| "not known".to_owned(), usd);
    let tokens = |usage: &crate::UsageView| (usage.input_tokens + usage.output_tokens).to_string();
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), short);
    let row = |what: &str, before: String, after: String| vec![what.to_owned(), before, after];
    let (before, after) = (&comparison.usage_before, &comparison.usage_after);
    let rows = [
        row("output", shown(&comparison.output_before), shown(&comparison.output_after)),
        row("tokens", tokens(before), tokens(after)),
        row("cost", cost(before), cost(after)),
    ];
    output.table(&["", "BEFORE", "AFTER"], &rows);
    output.line(if comparison.same_result { "the result is the same" } else { "the result is another" });
    let steps = comparison.steps.iter().map(|step| {
        let what = format!("{} {}", step.kind, step.name).trim().to_owned();
        vec![step.step.clone(), what, step.change.clone(), shown(&step.before), shown(&step.after)]
    });
    let steps: Vec<_> = steps.collect();
    if !steps.is_empty() {
        output.table(&["STEP", "WHAT", "CHANGE", "BEFORE", "AFTER"], &steps);
    }
}

#[cfg(test)]
mod tests {
    use super::{bar, short};

    #[test]
    fn a_step_lies_where_its_time_is() {
        assert_eq!(bar(0, 10, 10), "█".repeat(32));
        let late = bar(5, 5, 10);
        assert_eq!(late.chars().position(|c| c == '█'), Some(16));
        assert_eq!(late.chars().filter(|c| *c == '█').count(), 1);
        assert_eq!(bar(-5, 900, 10).chars().count(), 32);
    }

    #[test]
    fn values_are_told_in_a_line() {
        assert_eq!(short(&serde_json::json!("a\nb")), "a b");
        assert_eq!(short(&serde_json::json!("ü".repeat(70))).chars().count(), 61);
    }
}
