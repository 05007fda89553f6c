//! What happened, call by call.

use std::{sync::Arc, time::Duration};

use nexus_model::{
    AppName, Batch, CloudEvent, Durability, Execution, ExecutionId, Key, OperationName, RuntimeStore, ServedBy,
    StoreError, Write,
};
use nexus_signals::{EventBus, MetricCollector};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// Executions that wait for the store at the most; more are counted as dropped.
const QUEUE: usize = 8_192;
/// Executions that are written together at the most.
const BATCH: usize = 512;

/// How long executions are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionsConfig {
    /// Hours that an execution can be read.
    pub keep_hours: u32,
    /// Executions kept of each operation's component in one second. Above that rate a sample is kept; metrics count all.
    /// Executions that a model answered are all kept.
    pub components_per_second: u32,
}

impl Default for ExecutionsConfig {
    fn default() -> Self {
        Self { keep_hours: 24, components_per_second: 20 }
    }
}

/// Which executions to list.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Only of these applications; of all that are asked for where `None`.
    pub app: Option<AppName>,
    /// Only of this operation.
    pub operation: Option<OperationName>,
    /// Only those that this path answered.
    pub path: Option<ServedBy>,
    /// Only those that started before this one.
    pub before: Option<ExecutionId>,
    /// How many, at most 200.
    pub limit: usize,
}

enum Note {
    Keep(Box<Execution>),
    /// Answered once everything before it is written.
    Barrier(oneshot::Sender<()>),
}

/// Records executions through a bounded queue and reads them back. A crash loses at most the last second of them.
pub struct Executions {
    runtime: Arc<dyn RuntimeStore>,
    queue: mpsc::Sender<Note>,
    dropped: Box<dyn Fn() + Send + Sync>,
    pub(crate) config: ExecutionsConfig,
    told: Told,
}

/// Where finished executions are told of.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) events: EventBus,
    pub(crate) metrics: Arc<MetricCollector>,
}

impl Told {
    /// Tells of an execution unless too many are being told of already, which is counted.
    fn tell(&self, execution: &Execution) {
        let app = Some(execution.operation.app.clone());
        if !self.events.offer(app, execution_event(execution)) {
            self.metrics.host().record_events_dropped(1);
        }
    }
}

impl Executions {
    pub(crate) fn start(
        config: ExecutionsConfig,
        runtime: Arc<dyn RuntimeStore>,
        dropped: Box<dyn Fn() + Send + Sync>,
        told: Told,
        tracker: &TaskTracker,
    ) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE);
        let ttl = keep_for(&config);
        // Ends when the last sender is gone.
        tracker.spawn(write_all(notes, Arc::clone(&runtime), ttl, told.clone()));
        Self { runtime, queue, dropped, config, told }
    }

    /// Never waits: what does not fit the queue is counted as dropped.
    pub(crate) fn record(&self, execution: Execution) {
        if self.queue.try_send(Note::Keep(Box::new(execution))).is_err() {
            (self.dropped)();
        }
    }

    /// What keeps an execution that somebody else writes down, together with something of his.
    pub(crate) fn write(&self, execution: &Execution) -> Result<Write, StoreError> {
        write(execution, keep_for(&self.config)).map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Tells of an execution that somebody else has written down.
    pub(crate) fn tell(&self, execution: &Execution) {
        self.told.tell(execution);
    }

    /// Waits until everything recorded so far is in the store.
    pub(crate) async fn settle(&self) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(Note::Barrier(done)).await.is_ok() {
            // An error says that the writer is gone, and there is nothing left to wait for.
            let _ = wait.await;
        }
    }

    /// The execution of this id, of one of `apps`.
    pub async fn get(&self, apps: &[AppName], id: ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.settle().await;
        for app in apps {
            if let Some(value) = self.runtime.get(&key(app, &id.to_string())).await? {
                return parse(&value).map(Some);
            }
        }
        Ok(None)
    }

    /// The newest executions of `apps` that pass the filter, newest first. Looks at no more than 10,000.
    pub async fn list(&self, apps: &[AppName], filter: &ExecutionFilter) -> Result<Vec<Execution>, StoreError> {
        self.settle().await;
        let limit = filter.limit.clamp(1, 200);
        let mut found = Vec::new();
        for app in apps.iter().filter(|app| filter.app.as_ref().is_none_or(|wanted| wanted == *app)) {
            self.list_app(app, filter, limit, &mut found).await?;
        }
        found.sort_by_key(|execution| std::cmp::Reverse(execution.id));
        found.truncate(limit);
        Ok(found)
    }

    async fn list_app(
        &self,
        app: &AppName,
        filter: &ExecutionFilter,
        limit: usize,
        found: &mut Vec<Execution>,
    ) -> Result<(), StoreError> {
        const PAGE: usize = 500;
        const PAGES: usize = 20;
        let mut before = filter.before.map(|id| id.to_string());
        let enough = found.len() + limit;
        for _ in 0..PAGES {
            let page = self.runtime.list_newest(&key(app, ""), before.as_deref(), PAGE).await?;
            let last = page.len() < PAGE;
            before = page.last().map(|entry| entry.key.clone());
            for entry in page {
                let execution = parse(&entry.value)?;
                let operation = &execution.operation.operation;
                if filter.operation.as_ref().is_none_or(|wanted| wanted == operation)
                    && filter.path.is_none_or(|wanted| wanted == execution.path)
                {
                    found.push(execution);
                }
            }
            if last || found.len() >= enough {
                break;
            }
        }
        Ok(())
    }
}

fn keep_for(config: &ExecutionsConfig) -> Duration {
    Duration::from_secs(u64::from(config.keep_hours) * 3_600)
}

fn write(execution: &Execution, ttl: Duration) -> Result<Write, serde_json::Error> {
    let key = key(&execution.operation.app, &execution.id.to_string());
    serde_json::to_vec(execution).map(|value| Write::Set { key, value, ttl: Some(ttl) })
}

/// Says which call ended how; what went in and out is in the execution.
fn execution_event(execution: &Execution) -> CloudEvent {
    let kind = if execution.error.is_some() { "nexus.execution.failed" } else { "nexus.execution.finished" };
    let source = format!("/v1/apps/{}/operations/{}", execution.operation.app, execution.operation.operation);
    let data = serde_json::json!({
        "execution": execution.id, "operation": execution.operation.to_string(), "path": execution.path,
        "fallback": execution.fallback, "duration_us": execution.duration_us, "error": execution.error,
        "trigger": execution.cause.as_ref().map(|cause| &cause.trigger),
    });
    CloudEvent::now(kind, source, execution.operation.operation.as_str(), data)
}

async fn write_all(mut notes: mpsc::Receiver<Note>, runtime: Arc<dyn RuntimeStore>, ttl: Duration, told: Told) {
    let mut waiting = Vec::with_capacity(BATCH);
    while notes.recv_many(&mut waiting, BATCH).await > 0 {
        let mut batch = Batch::new();
        let mut barriers = Vec::new();
        for note in waiting.drain(..) {
            match note {
                Note::Keep(execution) => {
                    match write(&execution, ttl) {
                        Ok(write) => batch.push(write),
                        Err(error) => tracing::warn!(%error, "an execution could not be written down"),
                    }
                    told.tell(&execution);
                }
                Note::Barrier(done) => barriers.push(done),
            }
        }
        if !batch.is_empty()
            && let Err(error) = runtime.write(batch, Durability::Soon).await
        {
            tracing::warn!(%error, "executions were lost");
        }
        for done in barriers {
            // Whoever waited may have gone away.
            let _ = done.send(());
        }
    }
}

fn parse(value: &[u8]) -> Result<Execution, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Unavailable(format!("a stored execution: {error}")))
}

fn key(app: &AppName, id: &str) -> Key {
    Key::of_app(app, "execution", id)
}
