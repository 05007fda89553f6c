//! What a loop over a Redis stream costs that does nothing else: the yardstick of `cargo xtask soak events --redis`.
//!
//! `bare-stream URL EVENTS`: four publishers append batches of a hundred events (XADD), one consumer of a group reads them
//! (XREADGROUP), acknowledges and removes them (XACK, XDEL), all pipelined. Nobody works on an event and nothing is
//! written down of it. Prints events a second, and the time from the first try to publish an event to its
//! acknowledgement.

use std::{
    io::Write,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use redis::{Client, aio::MultiplexedConnection, cmd, pipe};
use serde_json::{Value, json};

/// What is read of a stream: for each entry its id, and its two fields with their values.
type Told = Vec<(String, Vec<(String, (String, u64, String, String))>)>;

const STREAM: &str = "bare";
const GROUP: &str = "group";
/// Events that are published in one go: as in the soak.
const BATCH: usize = 100;
/// Events that the consumer takes at one time.
const READ: usize = 256;
/// How long the consumer waits for events, in milliseconds.
const WAIT: usize = 1_000;
/// How long an answer of Redis is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// As long as an event of the soak.
const PADDING: usize = 250;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot be built")
        .and_then(|runtime| runtime.block_on(measure(&arguments)));
    let (text, code) = match measured {
        Ok(figures) => (figures.to_string(), ExitCode::SUCCESS),
        Err(error) => (format!("{error:#}"), ExitCode::FAILURE),
    };
    let _ = writeln!(std::io::stdout(), "{text}");
    code
}

async fn measure(arguments: &[String]) -> Result<Value> {
    let [url, events] = arguments else { bail!("usage: bare-stream URL EVENTS") };
    let events: usize = events.parse().context("EVENTS is a number")?;
    let client = Client::open(url.as_str())?;
    let mut connection = connect(&client).await?;
    let mut create = cmd("XGROUP");
    let () = create.arg("CREATE").arg(STREAM).arg(GROUP).arg("0").arg("MKSTREAM").query_async(&mut connection).await?;
    let (begin, next) = (Instant::now(), AtomicUsize::new(0));
    let publish = || publish(&client, &next, events);
    let (.., mut took) = tokio::try_join!(publish(), publish(), publish(), publish(), consume(&client, events))?;
    let elapsed = begin.elapsed();
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
    let per_second = events as f64 / elapsed.as_secs_f64();
    Ok(json!({ "events_per_second": per_second, "p50_ms": at(50), "p99_ms": at(99) }))
}

/// A busy machine may be slow to answer; that is in the figures, and no failure.
async fn connect(client: &Client) -> Result<MultiplexedConnection> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    connection.set_response_timeout(PATIENCE);
    Ok(connection)
}

async fn publish(client: &Client, next: &AtomicUsize, events: usize) -> Result<()> {
    let mut connection = connect(client).await?;
    let padding = "x".repeat(PADDING);
    loop {
        let first = next.fetch_add(BATCH, Relaxed);
        if first >= events {
            return Ok(());
        }
        let (now, mut batch) = (millis(), pipe());
        for _ in first..(first + BATCH).min(events) {
            batch.cmd("XADD").arg(STREAM).arg("*").arg("at").arg(now).arg("v").arg(&padding).ignore();
        }
        let () = batch.query_async(&mut connection).await?;
    }
}

/// How long each event took, in milliseconds.
async fn consume(client: &Client, events: usize) -> Result<Vec<u64>> {
    let mut connection = connect(client).await?;
    let mut took = Vec::with_capacity(events);
    while took.len() < events {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("one").arg("COUNT").arg(READ).arg("BLOCK").arg(WAIT);
        let told: Option<Told> = read.arg("STREAMS").arg(STREAM).arg(">").query_async(&mut connection).await?;
        let entries: Vec<_> = told.into_iter().flatten().flat_map(|(_, entries)| entries).collect();
        if entries.is_empty() {
            continue;
        }
        let ids: Vec<_> = entries.iter().map(|(id, _)| id).collect();
        let mut done = pipe();
        done.cmd("XACK").arg(STREAM).arg(GROUP).arg(&ids).ignore().cmd("XDEL").arg(STREAM).arg(&ids).ignore();
        let () = done.query_async(&mut connection).await?;
        let now = millis();
        took.extend(entries.iter().map(|(_, (_, at, ..))| now.saturating_sub(*at)));
    }
    Ok(took)
}

fn millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}
