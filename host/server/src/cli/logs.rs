//! `nexus logs`.

use std::time::Duration;

use nexus_signals::{LogFormat, LogRecord};
use reqwest::{Method, Response, header};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    args::Logs,
    client::{Client, segment},
    failure::Failure,
    output::Output,
    sse::Events,
};
use crate::settings::duration;

/// The most that is asked for at one time.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
struct Page {
    records: Vec<LogRecord>,
    next: Option<u64>,
    newest: u64,
}

pub(super) async fn run(logs: &Logs, output: Output) -> Result<(), Failure> {
    let client = Client::new(&logs.connection)?;
    let asked = [
        ("app", &logs.app),
        ("operation", &logs.operation),
        ("execution", &logs.execution),
        ("level", &logs.level),
        ("q", &logs.grep),
    ];
    let filters: String =
        asked.iter().filter_map(|(name, value)| Some(format!("&{name}={}", segment(value.as_deref()?)))).collect();
    let (records, newest) = newest(&client, logs, &filters).await?;
    for record in records.iter().rev() {
        show(record, output);
    }
    if logs.follow { follow(&client, &filters, newest, output).await } else { Ok(()) }
}

/// The newest records, newest first, and where the log ended.
async fn newest(client: &Client, logs: &Logs, filters: &str) -> Result<(Vec<LogRecord>, u64), Failure> {
    let times = [("since", &logs.since), ("until", &logs.until)];
    let times = times.iter().filter_map(|(name, text)| text.as_deref().map(|text| (name, text)));
    let times: String = times
        .map(|(name, text)| Ok(format!("&{name}={}", segment(&moment(name, text)?))))
        .collect::<Result<_, Failure>>()?;
    let (mut found, mut cursor, mut end) = (Vec::new(), None, None);
    while found.len() < logs.limit {
        let limit = (logs.limit - found.len()).min(PAGE);
        let before = cursor.map(|cursor: u64| format!("&cursor={cursor}")).unwrap_or_default();
        let page: Page = client.get(&format!("/v1/logs?limit={limit}{filters}{times}{before}")).await?;
        found.extend(page.records);
        end.get_or_insert(page.newest);
        let Some(next) = page.next else { break };
        cursor = Some(next);
    }
    Ok((found, end.unwrap_or_default()))
}

/// A time as the server wants it: as it is, or so long ago.
pub(super) fn moment(name: &str, text: &str) -> Result<String, Failure> {
    if OffsetDateTime::parse(text, &Rfc3339).is_ok() {
        return Ok(text.to_owned());
    }
    let ago = duration::parse(text).map_err(|_| {
        let message = format!("--{name}: `{text}` is neither a time nor a duration");
        Failure::usage(message, "write it as 2026-01-02T03:04:05Z, or as 15m, 2h or 7d for so long ago")
    })?;
    let ago: time::Duration = ago.min(Duration::from_hours(24 * 36_500)).try_into().unwrap_or(time::Duration::ZERO);
    let time = OffsetDateTime::now_utc() - ago;
    Ok(time.format(&Rfc3339).unwrap_or_default())
}

async fn follow(client: &Client, filters: &str, after: u64, output: Output) -> Result<(), Failure> {
    let request = client.request(Method::GET, &format!("/v1/logs?{}", filters.trim_start_matches('&')));
    let request = request.header(header::ACCEPT, "text/event-stream").header("last-event-id", after);
    let mut response: Response = client.send(request).await?;
    let mut events = Events::default();
    while let Some(chunk) = response.chunk().await.map_err(|source| client.failed(source))? {
        for event in events.feed(&chunk) {
            match (event.name.as_str(), serde_json::from_value::<LogRecord>(event.data.clone())) {
                ("log", Ok(record)) => show(&record, output),
                ("gap", _) if output.json => output.value(&event.data),
                ("gap", _) => output.note(&format!("{} records are gone", event.data["missing"])),
                _ => return Err(client.foreign("an event that is no record")),
            }
        }
    }
    Err(client.foreign("the stream ended; it ends with the server and with the key"))
}

fn show(record: &LogRecord, output: Output) {
    if output.json {
        output.value(record);
    } else {
        output.piece(&record.line(LogFormat::Human, output.colours_of_stdout()));
    }
}
