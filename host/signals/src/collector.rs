//! All metrics, and how they survive a restart.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use nexus_model::{Durability, Key, OperationRef, RuntimeStore, StoreError, Write};
use time::OffsetDateTime;

use crate::{
    HostMetrics, OperationMetrics, OperationSnapshot, Window,
    families::{Family, families},
    history::{History, MINUTES},
    operation::Totals,
    prometheus,
};

/// The store's kinds of keys: `{app}/{operation}` → totals, `{app}/{operation}/{minute}` → window.
const TOTALS: &str = "metric-totals";
const WINDOWS: &str = "metric-windows";
/// Entries read or written at one time.
const PAGE: usize = 500;
const DAY: Duration = Duration::from_secs(MINUTES * 60);

/// Counts what happens to operations.
///
/// Recording is done on an [`OperationMetrics`], fetched once per operation. There are as many as operations have been
/// defined; [`MetricCollector::forget`] removes one.
#[derive(Debug, Default)]
pub struct MetricCollector {
    operations: RwLock<BTreeMap<OperationRef, Arc<Tracked>>>,
    host: Arc<HostMetrics>,
}

#[derive(Debug, Default)]
struct Tracked {
    metrics: Arc<OperationMetrics>,
    history: Mutex<History>,
}

impl Tracked {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetricCollector {
    /// A collector that has counted nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters of an operation, from zero if it is new.
    pub fn operation(&self, operation: &OperationRef) -> Arc<OperationMetrics> {
        if let Some(tracked) = self.tracked(operation) {
            return Arc::clone(&tracked.metrics);
        }
        let mut operations = self.operations.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&operations.entry(operation.clone()).or_default().metrics)
    }

    /// The counters of the host itself.
    pub fn host(&self) -> &Arc<HostMetrics> {
        &self.host
    }

    /// The operations that are counted, in the order of their names.
    pub fn operations(&self) -> Vec<OperationRef> {
        self.operations.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// An operation's metrics; `None` for one that was never asked for.
    pub fn snapshot(&self, operation: &OperationRef) -> Option<OperationSnapshot> {
        self.tracked(operation).map(|tracked| OperationSnapshot::new(operation.clone(), tracked.metrics.totals()))
    }

    /// The metrics of all operations, in the order of their names.
    pub fn snapshots(&self) -> Vec<OperationSnapshot> {
        let all = self.all().into_iter();
        all.map(|(operation, tracked)| OperationSnapshot::new(operation, tracked.metrics.totals())).collect()
    }

    /// An operation's minutes of the last day, oldest first, the present one included. Minutes without calls are left
    /// out.
    pub fn windows(&self, operation: &OperationRef, now: OffsetDateTime) -> Vec<Window> {
        let Some(tracked) = self.tracked(operation) else { return Vec::new() };
        let mut history = tracked.history();
        history.roll(tracked.metrics.totals(), minute(now));
        history.windows()
    }

    /// All metrics in the text format of `OpenMetrics` 1.0, which Prometheus reads.
    pub fn prometheus(&self) -> String {
        prometheus::text(self.families())
    }

    pub(crate) fn families(&self) -> Vec<Family> {
        let operations = self.all().into_iter().map(|(operation, tracked)| (operation, tracked.metrics.totals()));
        families(&operations.collect::<Vec<_>>(), self.host.snapshot())
    }

    /// Writes what has changed since the last time. To be called every few seconds and at the end; what happens after the
    /// last call is lost with the process.
    pub async fn flush(&self, store: &dyn RuntimeStore, now: OffsetDateTime) -> Result<(), StoreError> {
        for (operation, tracked) in self.all() {
            let unsaved = {
                let mut history = tracked.history();
                history.roll(tracked.metrics.totals(), minute(now));
                history.take_unsaved()
            };
            let Some((totals, windows)) = unsaved else { continue };
            let newest = windows.last().map_or(0, |window| window.minute);
            let written = store.write(changes(&operation, &totals, &windows), Durability::Soon).await;
            tracked.history().saved(newest, written.is_ok());
            written?;
        }
        Ok(())
    }

    /// Adds what an earlier process has written. To be called once, before the first call is counted.
    pub async fn restore(&self, store: &dyn RuntimeStore) -> Result<(), StoreError> {
        let mut windows = read_windows(store).await?;
        for (name, stored) in read_all(store, TOTALS).await? {
            let totals = serde_json::from_slice::<Totals>(&stored).ok();
            let (Some(operation), Some(totals)) = (parse(&name), totals) else {
                tracing::warn!(%name, "stored metrics cannot be read and are left out");
                continue;
            };
            let mut operations = self.operations.write().unwrap_or_else(PoisonError::into_inner);
            let tracked = operations.entry(operation).or_default();
            tracked.metrics.add(&totals);
            *tracked.history() = History::restored(totals, windows.remove(&name).unwrap_or_default());
        }
        Ok(())
    }

    /// Removes an operation's metrics; its stored minutes go away with their time.
    pub async fn forget(&self, store: &dyn RuntimeStore, operation: &OperationRef) -> Result<(), StoreError> {
        self.operations.write().unwrap_or_else(PoisonError::into_inner).remove(operation);
        let totals = Write::Delete { key: Key::of_host(TOTALS, operation.to_string()) };
        store.write(vec![totals], Durability::Soon).await
    }

    fn tracked(&self, operation: &OperationRef) -> Option<Arc<Tracked>> {
        self.operations.read().unwrap_or_else(PoisonError::into_inner).get(operation).cloned()
    }

    fn all(&self) -> Vec<(OperationRef, Arc<Tracked>)> {
        let operations = self.operations.read().unwrap_or_else(PoisonError::into_inner);
        operations.iter().map(|(operation, tracked)| (operation.clone(), Arc::clone(tracked))).collect()
    }
}

/// What a flush writes for one operation.
fn changes(operation: &OperationRef, totals: &Totals, windows: &[Window]) -> Vec<Write> {
    let set = |kind, name: String, value: serde_json::Result<Vec<u8>>, ttl| {
        value.ok().map(|value| Write::Set { key: Key::of_host(kind, name), value, ttl })
    };
    let totals = set(TOTALS, operation.to_string(), serde_json::to_vec(totals), None);
    let windows = windows.iter().filter_map(|window| {
        let name = format!("{operation}/{:010}", window.minute);
        set(WINDOWS, name, serde_json::to_vec(window), Some(DAY))
    });
    windows.chain(totals).collect()
}

async fn read_all(store: &dyn RuntimeStore, kind: &'static str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let (prefix, mut found) = (Key::of_host(kind, ""), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&prefix, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.key.clone());
        found.extend(page.into_iter().map(|entry| (entry.key, entry.value)));
    }
}

/// The stored windows by `{app}/{operation}`, each list in order.
async fn read_windows(store: &dyn RuntimeStore) -> Result<BTreeMap<String, Vec<Window>>, StoreError> {
    let mut windows: BTreeMap<String, Vec<Window>> = BTreeMap::new();
    for (name, stored) in read_all(store, WINDOWS).await? {
        let operation = name.rsplit_once('/').map(|(operation, _)| operation.to_owned());
        if let (Some(operation), Ok(window)) = (operation, serde_json::from_slice(&stored)) {
            windows.entry(operation).or_default().push(window);
        }
    }
    Ok(windows)
}

fn parse(name: &str) -> Option<OperationRef> {
    let (app, operation) = name.split_once('/')?;
    Some(OperationRef { app: app.parse().ok()?, operation: operation.parse().ok()? })
}

fn minute(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp() / 60).unwrap_or(0)
}
