//! `nexus call`.

use std::io::{IsTerminal, Read};

use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    args::Call,
    client::{Client, segment},
    failure::Failure,
    output::Output,
    sse::{Event, Events},
};
use crate::BegunView;

pub(super) async fn run(call: &Call, output: Output) -> Result<(), Failure> {
    let input = input(&call.input)?;
    let client = Client::new(&call.connection)?;
    let path = format!("/v1/apps/{}/operations/{}", segment(&call.app), segment(&call.operation));
    let mut request = client.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/json").body(input);
    if call.stream {
        request = request.header(header::ACCEPT, "text/event-stream");
    }
    let begun = std::time::Instant::now();
    if call.begin {
        request = request.header("prefer", "respond-async");
    }
    let response = client.send(request).await?;
    if response.status() == StatusCode::ACCEPTED {
        let begun: BegunView = client.read(response).await?;
        if output.json {
            output.value(&begun);
        } else {
            output.line(&begun.execution);
        }
        return Ok(());
    }
    if call.stream {
        return stream(&client, response, output).await;
    }
    let said = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (execution, path, fallback) = (said("x-nexus-execution"), said("x-nexus-path"), said("x-nexus-fallback"));
    let answer: Value = client.read(response).await?;
    if output.json {
        output.value(&json!({ "execution": execution, "path": path, "fallback": fallback, "output": answer }));
    } else {
        output.value(&answer);
        let elapsed = micros(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        note(output, path.as_deref(), fallback.as_deref(), execution.as_deref(), Some(&elapsed));
    }
    Ok(())
}

fn note(output: Output, path: Option<&str>, fallback: Option<&str>, execution: Option<&str>, elapsed: Option<&str>) {
    let after = fallback.map(|reason| format!("after {reason}"));
    let parts = [path, after.as_deref(), elapsed, execution];
    output.note(&parts.into_iter().flatten().collect::<Vec<_>>().join(" · "));
}

/// A duration in the unit that reads best.
pub(super) fn micros(micros: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// A text itself, a file's after `@`, or standard input for `-`.
pub(super) fn input(text: &str) -> Result<Vec<u8>, Failure> {
    if text == "-" {
        let mut stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(Failure::usage("there is no input", "give it with --input, or on standard input"));
        }
        let mut bytes = Vec::new();
        let read = stdin.read_to_end(&mut bytes);
        return read.map(|_| bytes).map_err(|source| Failure::Unreadable { path: "standard input".into(), source });
    }
    match text.strip_prefix('@') {
        Some(path) => std::fs::read(path).map_err(|source| Failure::Unreadable { path: path.into(), source }),
        None => Ok(text.as_bytes().to_vec()),
    }
}

async fn stream(client: &Client, mut response: Response, output: Output) -> Result<(), Failure> {
    let mut events = Events::default();
    let mut begun = false;
    while let Some(chunk) = response.chunk().await.map_err(|source| client.failed(source))? {
        for event in events.feed(&chunk) {
            if output.json {
                output.value(&json!({ "event": event.name, "data": event.data }));
            }
            if show(client, &event, output, &mut begun)? {
                return Ok(());
            }
        }
    }
    Err(client.foreign("the stream ended before the answer did"))
}

/// Whether this was the last.
fn show(client: &Client, event: &Event, output: Output, begun: &mut bool) -> Result<bool, Failure> {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str);
    match event.name.as_str() {
        "token" if !output.json => {
            *begun = true;
            output.piece(text("text").unwrap_or_default());
        }
        "restart" if !output.json => {
            *begun = false;
            output.line("");
            output.note("the answer did not satisfy the schema; once more:");
        }
        "answer" => {
            if !output.json {
                if *begun {
                    output.line("");
                } else {
                    output.value(&event.data["output"]);
                }
                note(output, text("path"), text("fallback"), text("execution"), None);
            }
            return Ok(true);
        }
        "error" => {
            let problem = serde_json::from_value(event.data.clone());
            return Err(problem
                .map_or_else(|error| client.foreign(error.to_string()), |problem| Failure::Answer(Box::new(problem))));
        }
        _ => {}
    }
    Ok(false)
}
