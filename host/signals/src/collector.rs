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

/// The store's kinds of keys: `{app}/{operation}/{replica}` → totals, `{app}/{operation}/{minute}/{replica}` → window.
const TOTALS: &str = "metric-totals";
const WINDOWS: &str = "metric-windows";
/// Entries read or written at one time.
const PAGE: usize = 500;
const DAY: Duration = Duration::from_secs(MINUTES * 60);
/// How long totals are kept that do not change: those of replicas that are gone for good must go, too.
const TOTALS_KEPT: Duration = Duration::from_hours(90 * 24);

/// Counts what happens to operations.
///
/// Recording is done on an [`OperationMetrics`], fetched once per operation. There are as many as operations have been
/// defined; [`MetricCollector::forget`] removes one.
///
/// Each replica on a store counts for itself and writes down its own counts under its name; what is asked for together
/// ([`MetricCollector::windows_of_all`]) is added up when it is read.
#[derive(Debug, Default)]
pub struct MetricCollector {
    replica: String,
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
    /// A collector that has counted nothing, of the only replica on its store.
    pub fn new() -> Self {
        Self::of_replica("0")
    }

    /// A collector that has counted nothing. The replica's name is its own among those on the store, stays over restarts
    /// and has no `/`.
    pub fn of_replica(replica: impl Into<String>) -> Self {
        Self { replica: replica.into(), ..Self::default() }
    }

    /// The same with the host's own counters in `host`, where others count already.
    #[must_use]
    pub fn with_host(self, host: Arc<HostMetrics>) -> Self {
        Self { host, ..self }
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

    /// The same over all replicas on the store, from the minute `from` on. Those of others are as they were written down
    /// last, a second or two ago.
    pub async fn windows_of_all(
        &self,
        store: &dyn RuntimeStore,
        operation: &OperationRef,
        from: u64,
        now: OffsetDateTime,
    ) -> Result<Vec<Window>, StoreError> {
        let mut minutes: BTreeMap<u64, Window> = BTreeMap::new();
        let prefix = format!("{operation}/");
        for (name, stored) in read_all(store, WINDOWS, &prefix, Some(format!("{prefix}{from:010}"))).await? {
            if let Some((_, window)) = parse_window(&name, &stored, |replica| replica != self.replica) {
                add(&mut minutes, window);
            }
        }
        let own = self.windows(operation, now).into_iter().filter(|window| window.minute >= from);
        own.for_each(|window| add(&mut minutes, window));
        Ok(minutes.into_values().collect())
    }

    /// All metrics in the text format of `OpenMetrics` 1.0, which Prometheus reads.
    pub fn prometheus(&self) -> String {
        prometheus::text(self.families())
    }

    pub(crate) fn families(&self) -> Vec<Family> {
        let operations = self.all().into_iter().map(|(operation, tracked)| (operation, tracked.metrics.totals()));
        families(&operations.collect::<Vec<_>>(), &self.host)
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
            let written = store.write(self.changes(&operation, &totals, &windows), Durability::Soon).await;
            tracked.history().saved(newest, written.is_ok());
            written?;
        }
        Ok(())
    }

    /// Adds what an earlier process of this replica has written. To be called once, before the first call is counted.
    pub async fn restore(&self, store: &dyn RuntimeStore) -> Result<(), StoreError> {
        let mut windows = self.read_windows(store).await?;
        for (name, stored) in read_all(store, TOTALS, "", None).await? {
            let Some((name, _)) = name.rsplit_once('/').filter(|(_, replica)| *replica == self.replica) else {
                continue;
            };
            let totals = serde_json::from_slice::<Totals>(&stored).ok();
            let (Some(operation), Some(totals)) = (parse(name), totals) else {
                tracing::warn!(%name, "stored metrics cannot be read and are left out");
                continue;
            };
            let mut operations = self.operations.write().unwrap_or_else(PoisonError::into_inner);
            let tracked = operations.entry(operation).or_default();
            tracked.metrics.add(&totals);
            *tracked.history() = History::restored(totals, windows.remove(name).unwrap_or_default());
        }
        Ok(())
    }

    /// Removes an operation's metrics; its stored minutes go away with their time.
    pub async fn forget(&self, store: &dyn RuntimeStore, operation: &OperationRef) -> Result<(), StoreError> {
        self.operations.write().unwrap_or_else(PoisonError::into_inner).remove(operation);
        let totals = Write::Delete { key: Key::of_host(TOTALS, format!("{operation}/{}", self.replica)) };
        store.write(vec![totals], Durability::Soon).await
    }

    fn tracked(&self, operation: &OperationRef) -> Option<Arc<Tracked>> {
        self.operations.read().unwrap_or_else(PoisonError::into_inner).get(operation).cloned()
    }

    fn all(&self) -> Vec<(OperationRef, Arc<Tracked>)> {
        let operations = self.operations.read().unwrap_or_else(PoisonError::into_inner);
        operations.iter().map(|(operation, tracked)| (operation.clone(), Arc::clone(tracked))).collect()
    }

    /// What a flush writes for one operation.
    fn changes(&self, operation: &OperationRef, totals: &Totals, windows: &[Window]) -> Vec<Write> {
        let set = |kind, name: String, value: serde_json::Result<Vec<u8>>, ttl| {
            let key = Key::of_host(kind, format!("{name}/{}", self.replica));
            value.ok().map(|value| Write::Set { key, value, ttl: Some(ttl) })
        };
        let totals = set(TOTALS, operation.to_string(), serde_json::to_vec(totals), TOTALS_KEPT);
        let windows = windows.iter().filter_map(|window| {
            let name = format!("{operation}/{:010}", window.minute);
            set(WINDOWS, name, serde_json::to_vec(window), DAY)
        });
        windows.chain(totals).collect()
    }

    /// This replica's stored windows by `{app}/{operation}`, each list in order.
    async fn read_windows(&self, store: &dyn RuntimeStore) -> Result<BTreeMap<String, Vec<Window>>, StoreError> {
        let mut windows: BTreeMap<String, Vec<Window>> = BTreeMap::new();
        for (name, stored) in read_all(store, WINDOWS, "", None).await? {
            if let Some((operation, window)) = parse_window(&name, &stored, |replica| replica == self.replica) {
                windows.entry(operation.to_owned()).or_default().push(window);
            }
        }
        Ok(windows)
    }
}

/// All entries below `prefix`, after the key `after`.
async fn read_all(
    store: &dyn RuntimeStore,
    kind: &'static str,
    prefix: &str,
    mut after: Option<String>,
) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let (prefix, mut found) = (Key::of_host(kind, prefix), Vec::new());
    loop {
        let page = store.list(&prefix, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.key.clone());
        found.extend(page.into_iter().map(|entry| (entry.key, entry.value)));
    }
}

/// The operation's name and the window, where it is of a replica that is wanted.
fn parse_window<'a>(name: &'a str, stored: &[u8], wanted: impl Fn(&str) -> bool) -> Option<(&'a str, Window)> {
    let (minute, _) = name.rsplit_once('/').filter(|(_, replica)| wanted(replica))?;
    let (operation, _) = minute.rsplit_once('/')?;
    Some((operation, serde_json::from_slice(stored).ok()?))
}

fn add(minutes: &mut BTreeMap<u64, Window>, window: Window) {
    let sum = minutes.get(&window.minute).map(|sum| sum.plus(&window));
    minutes.insert(window.minute, sum.unwrap_or(window));
}

fn parse(name: &str) -> Option<OperationRef> {
    let (app, operation) = name.split_once('/')?;
    Some(OperationRef { app: app.parse().ok()?, operation: operation.parse().ok()? })
}

fn minute(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp() / 60).unwrap_or(0)
}
