//! Requests that were turned away: all counted, a bounded sample written down.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{AuditLog, record::Entry};

/// Denials that are written down one by one in each window; the others are one summary.
pub(super) const SAMPLES: usize = 3;
/// How long a window is.
const WINDOW: Duration = Duration::from_mins(1);

/// A request that was turned away with 401 or 403.
#[derive(Debug, Clone)]
pub struct Denial {
    /// The status.
    pub status: u16,
    /// The id of the key that was presented, good or not; never the key.
    pub key_id: Option<String>,
    /// What was asked for: method and path, without a query.
    pub request: String,
}

#[derive(Debug, Default)]
struct Window {
    waiting: Vec<Denial>,
    /// How many of this window were taken as samples.
    sampled: usize,
    /// The others, by status.
    counted: BTreeMap<u16, u64>,
}

/// What this replica turned away in the running minute.
#[derive(Debug, Default)]
pub(super) struct Denials {
    window: Mutex<Window>,
    wake: Notify,
}

impl Denials {
    pub(super) fn note(&self, denial: Denial) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.sampled < SAMPLES {
            window.sampled += 1;
            window.waiting.push(denial);
            self.wake.notify_one();
        } else {
            *window.counted.entry(denial.status).or_default() += 1;
        }
    }

    fn take_samples(&self) -> Vec<Denial> {
        std::mem::take(&mut self.window.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }

    /// Ends the window: what was only counted, and a new one begins.
    fn turn(&self) -> BTreeMap<u16, u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.sampled = window.waiting.len();
        std::mem::take(&mut window.counted)
    }
}

/// Writes samples as they come and a summary at the end of each window, until the host stops.
pub(super) async fn write_all(log: &AuditLog, cancel: CancellationToken) {
    let mut turn = tokio::time::interval_at(tokio::time::Instant::now() + WINDOW, WINDOW);
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            () = log.denials.wake.notified() => write_samples(log).await,
            _ = turn.tick() => write_summary(log).await,
        }
    }
    write_samples(log).await;
    write_summary(log).await;
}

async fn write_samples(log: &AuditLog) {
    for denial in log.denials.take_samples() {
        let detail = json!({ "status": denial.status, "request": denial.request });
        write(log, "denied", denial.key_id.unwrap_or_else(|| "-".to_owned()), denial.request, detail).await;
    }
}

async fn write_summary(log: &AuditLog) {
    let counted = log.denials.turn();
    if !counted.is_empty() {
        let detail = json!({ "more": counted, "within_seconds": WINDOW.as_secs() });
        write(log, "denied.more", "-".to_owned(), String::new(), detail).await;
    }
}

async fn write(log: &AuditLog, action: &str, key_id: String, target: String, detail: serde_json::Value) {
    let entry = Entry { key_id, key_name: String::new(), action: action.to_owned(), target, detail };
    if let Err(error) = log.append(entry).await {
        tracing::warn!(%error, "a denial could not be written to the audit log; it is counted in the metrics");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nexus_state::memory::MemoryRuntime;

    use super::*;
    use crate::{AuditFilter, MasterKey};

    #[tokio::test]
    async fn a_flood_is_counted_and_writes_a_few_records() {
        let log = Arc::new(AuditLog::new(Arc::new(MemoryRuntime::default()), &MasterKey::from_bytes([1; 32])));
        for _ in 0..10_000 {
            log.deny(Denial { status: 401, key_id: None, request: "GET /v1/keys".to_owned() });
        }
        write_samples(&log).await;
        write_summary(&log).await;
        log.deny(Denial { status: 403, key_id: Some("k".to_owned()), request: "GET /v1/keys".to_owned() });
        // What is left is written when the host stops.
        let cancel = CancellationToken::new();
        cancel.cancel();
        write_all(&log, cancel).await;
        let records = log.list(&AuditFilter { limit: 100, ..AuditFilter::default() }).await.unwrap();
        let actions: Vec<_> = records.iter().map(|record| record.action.as_str()).collect();
        assert_eq!(actions, ["denied", "denied.more", "denied", "denied", "denied"]);
        assert_eq!(records[1].detail["more"]["401"], 10_000 - SAMPLES as u64);
        assert_eq!(records[0].key_id, "k");
    }
}
