//! What happened, call by call.

use std::{sync::Arc, time::Duration};

use nexus_model::{
    AppName, CloudEvent, Execution, ExecutionId, Key, OperationName, RuntimeStore, ServedBy, StoreError, Write,
};
use nexus_signals::{EventBus, MetricCollector};
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use crate::write_behind::WriteBehind;

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

/// Records executions in the background and reads them back. A crash loses at most the last second of them; what is
/// recorded while the store is out of reach waits in memory (see [`WriteBehind`]).
pub struct Executions {
    runtime: Arc<dyn RuntimeStore>,
    behind: WriteBehind,
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
        lost: impl Fn(u64) + Send + Sync + 'static,
        told: Told,
        tracker: &TaskTracker,
    ) -> Self {
        Self { behind: WriteBehind::start(Arc::clone(&runtime), lost, tracker), runtime, config, told }
    }

    /// Never waits: what does not fit into memory is counted as lost.
    pub(crate) fn record(&self, execution: &Execution) {
        match write(execution, keep_for(&self.config)) {
            Ok(write) => {
                self.behind.keep(write);
            }
            Err(error) => tracing::warn!(%error, "an execution could not be written down"),
        }
        self.told.tell(execution);
    }

    /// How long executions are kept.
    pub(crate) fn kept_for(&self) -> Duration {
        keep_for(&self.config)
    }

    /// What keeps an execution that somebody else writes down, together with something of his.
    pub(crate) fn write(&self, execution: &Execution) -> Result<Write, StoreError> {
        write(execution, keep_for(&self.config)).map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Tells of an execution that somebody else has written down.
    pub(crate) fn tell(&self, execution: &Execution) {
        self.told.tell(execution);
    }

    /// Waits until everything recorded so far is in the store; an error when the store is out of reach.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        self.behind.settle().await
    }

    /// The execution of this id, of one of `apps`.
    pub async fn get(&self, apps: &[AppName], id: ExecutionId) -> Result<Option<Execution>, StoreError> {
        self.settle().await?;
        for app in apps {
            if let Some(value) = self.runtime.get(&key(app, &id.to_string())).await? {
                return parse(&value).map(Some);
            }
        }
        Ok(None)
    }

    /// The newest executions of `apps` that pass the filter, newest first. Looks at no more than 10,000.
    pub async fn list(&self, apps: &[AppName], filter: &ExecutionFilter) -> Result<Vec<Execution>, StoreError> {
        self.settle().await?;
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

fn parse(value: &[u8]) -> Result<Execution, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Unavailable(format!("a stored execution: {error}")))
}

fn key(app: &AppName, id: &str) -> Key {
    Key::of_app(app, "execution", id)
}
