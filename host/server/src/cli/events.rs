//! `nexus events`.

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{
    client::{Client, segment},
    event_args::{DeadLetter, DeadLetters, Events},
    failure::Failure,
    output::Output,
    sse,
};
use crate::{DeadLetterList, DeadLetterView, PublishedView, TriggerList};

pub(super) async fn run(command: &Events, output: Output) -> Result<(), Failure> {
    match command {
        Events::Follow { app, kind, subject, after, connection } => {
            let asked = [("app", app), ("type", kind), ("subject", subject), ("after", after)];
            let filters =
                asked.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))));
            follow(&Client::new(connection)?, &filters.collect::<Vec<_>>().join("&"), output).await
        }
        Events::Publish { app, kind, source, subject, id, data, connection } => {
            let mut event = json!({ "specversion": "1.0", "type": kind, "source": source });
            event["id"] = id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string()).into();
            event["subject"] = subject.clone().into();
            if let Some(data) = data {
                event["data"] = serde_json::from_slice(&super::call::input(data)?).map_err(|error| {
                    Failure::usage(format!("the data is not JSON: {error}"), "quote text: '\"hello\"'")
                })?;
            }
            publish(&Client::new(connection)?, app, &event, output).await
        }
        Events::Triggers { app, connection } => {
            let list: TriggerList =
                Client::new(connection)?.get(&format!("/v1/apps/{}/triggers", segment(app))).await?;
            if output.json {
                output.value(&list);
            } else {
                show_triggers(&list, output);
            }
            Ok(())
        }
        Events::DeadLetters(command) => dead_letters(command, output).await,
    }
}

async fn follow(client: &Client, query: &str, output: Output) -> Result<(), Failure> {
    let mut response = client.send(client.request(Method::GET, &format!("/v1/events?{query}"))).await?;
    let mut events = sse::Events::default();
    while let Some(chunk) = response.chunk().await.map_err(|source| client.failed(source))? {
        for event in events.feed(&chunk) {
            if output.json {
                output.value(&json!({ "id": event.id, "kind": event.name, "data": event.data }));
            } else {
                show(&event, output);
            }
        }
    }
    Err(client.foreign("the stream has ended; go on with --after and the last id"))
}

fn show(event: &sse::Event, output: Output) {
    let text = |path: &str| event.data.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
    if event.name == "gap" {
        output.note(&format!("events of {} may have been lost here", text("/app")));
        return;
    }
    let data = event.data.pointer("/event/data").map(ToString::to_string).unwrap_or_default();
    let parts = [text("/event/time"), text("/app"), text("/event/type"), text("/event/subject"), data];
    output.line(&parts.join("  "));
}

async fn publish(client: &Client, app: &str, event: &Value, output: Output) -> Result<(), Failure> {
    let path = format!("/v1/events?app={}", segment(app));
    let request = client.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/cloudevents+json");
    let published: PublishedView = client.read(client.send(request.body(event.to_string())).await?).await?;
    if output.json {
        output.value(&json!({ "id": event["id"], "places": published.places }));
    } else {
        output.line(event["id"].as_str().unwrap_or_default());
    }
    Ok(())
}

fn show_triggers(list: &TriggerList, output: Output) {
    let row = |trigger: &crate::TriggerView| {
        let next = trigger.next.map_or_else(|| "-".to_owned(), |next| next.to_string());
        let on = trigger.app.as_ref().map_or_else(|| trigger.on.clone(), |app| format!("{} of {app}", trigger.on));
        vec![trigger.name.clone(), on, trigger.operation.clone(), trigger.waiting.to_string(), next]
    };
    let rows: Vec<_> = list.triggers.iter().map(row).collect();
    output.table(&["TRIGGER", "ON", "OPERATION", "WAITING", "NEXT"], &rows);
    for trigger in &list.triggers {
        if let Some(refused) = &trigger.refused {
            output.note(&format!("{} gets no events: {refused}", trigger.name));
        }
    }
}

async fn dead_letters(command: &DeadLetters, output: Output) -> Result<(), Failure> {
    match command {
        DeadLetters::List { app, after, limit, connection } => {
            let after = after.as_ref().map(|after| format!("&after={}", segment(after))).unwrap_or_default();
            let path = format!("/v1/apps/{}/dead-letters?limit={limit}{after}", segment(app));
            let list: DeadLetterList = Client::new(connection)?.get(&path).await?;
            if output.json { output.value(&list) } else { show_letters(&list, output) }
        }
        DeadLetters::Show(letter) => {
            let found: DeadLetterView = Client::new(&letter.connection)?.get(&path(letter)).await?;
            output.value(&found);
        }
        DeadLetters::Redrive(letter) => {
            Client::new(&letter.connection)?.order(&format!("{}/redrive", path(letter))).await?;
            output.note("queued again");
        }
        DeadLetters::Discard(letter) => {
            Client::new(&letter.connection)?.delete(&path(letter)).await?;
            output.note("thrown away");
        }
    }
    Ok(())
}

fn path(letter: &DeadLetter) -> String {
    format!("/v1/apps/{}/dead-letters/{}", segment(&letter.app), segment(&letter.id))
}

fn show_letters(list: &DeadLetterList, output: Output) {
    let row = |letter: &DeadLetterView| {
        let kind = letter.event["type"].as_str().unwrap_or_default().to_owned();
        vec![letter.id.clone(), letter.trigger.clone(), kind, letter.code.clone(), letter.message.clone()]
    };
    let rows: Vec<_> = list.dead_letters.iter().map(row).collect();
    output.table(&["ID", "TRIGGER", "EVENT", "CODE", "LAST"], &rows);
    if let Some(next) = &list.next {
        output.note(&format!("more with --after {next}"));
    }
}
