//! Executions of workflows, which survive the hosts and sandboxes that have them.
//!
//! What an execution is follows from what it began with and from its journal: the outcomes of its effects, and its decisions. The
//! program in the sandbox walks the workflow and asks for effects; [`perform`] has them and writes them down. Whoever has an
//! execution writes under a fence (`RuntimeStore::write_if`): a host that another took it from writes nothing any more. An
//! execution that only waits is [parked](parked): it is in no sandbox, and comes back when its time, event or execution does.

mod agent;
mod calls;
mod claim;
mod drive;
mod news;
mod outside;
mod parked;
mod perform;
mod record;
mod replay;
mod run;
mod shown;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nexus_model::{
    AppName, Cause, Durability, ExecutionId, Implementation, Parent, RuntimeStore, StoreError, Usage,
    WorkflowDefinition, Write,
};
use nexus_workflow::{Moment, WorkflowError};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

pub(crate) use self::{
    drive::code,
    perform::{Asked, Performed},
    run::Run,
};
use self::{
    news::News,
    parked::Parked,
    record::{Open, begun_key, history_key, open_key},
    run::Made,
};
pub use self::{
    news::{NewsId, NewsItem, Told},
    record::{Begun, History, Record, ReplayEffects, ReplayOf},
    replay::{Comparison, ReplayError, StepDifference},
};
use crate::{
    executions::Executions,
    registry::{Application, ApplicationRegistry, OperationEntry},
    router::spans,
};

/// Executions of one application that have not ended, at one host.
const MAX_OPEN: usize = 20_000;
/// Executions that wait for the task that starts them.
const QUEUE: usize = 1_024;
/// How long an execution whose operation is not there any more, or whose sandbox is lost again and again, is tried.
const MAX_LOST: u32 = 5;
/// The bytes of a journal.
const MAX_JOURNAL: usize = 6 << 20;
/// How long the store may be out of reach before an execution is let go.
const STORE_PATIENCE: Duration = Duration::from_mins(1);

/// How an execution stands.
#[derive(Debug, Clone)]
pub enum Status {
    /// Something is done for it, or it waits for a sandbox.
    Active,
    /// It waits, in no sandbox, until then at the latest.
    Parked(Option<Moment>),
    /// It has ended.
    Ended(Arc<Ended>),
    /// Another host has it.
    Elsewhere,
}

impl Status {
    /// The word used in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Active | Self::Elsewhere => "running",
            Self::Parked(_) => "waiting",
            Self::Ended(ended) if ended.result.is_ok() => "completed",
            Self::Ended(ended) if ended.result.as_ref().is_err_and(|error| error.status == CANCELLED) => "cancelled",
            Self::Ended(_) => "failed",
        }
    }
}

/// The status in the error of an execution that was cancelled.
pub(crate) const CANCELLED: u16 = 499;

/// How an execution ended.
#[derive(Debug)]
pub struct Ended {
    /// Its output, or the error that nothing caught.
    pub result: Result<Value, WorkflowError>,
    /// What models used.
    pub usage: Usage,
}

/// Why an execution did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error("the application has {MAX_OPEN} executions that have not ended")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An execution that is to begin.
pub(crate) struct New {
    pub(crate) id: ExecutionId,
    pub(crate) application: Arc<Application>,
    pub(crate) entry: Arc<OperationEntry>,
    pub(crate) input: Value,
    pub(crate) cause: Option<Cause>,
    pub(crate) parent: Option<Parent>,
    pub(crate) replay: Option<ReplayOf>,
}

/// An execution that this host knows of.
#[derive(Clone)]
struct Live {
    app: AppName,
    status: watch::Sender<Status>,
    news: Arc<News>,
    /// What it is called in traces, from its beginning here to its end.
    span: Span,
    /// The journal, while it is in memory.
    run: Option<Arc<Run>>,
}

/// Begins executions, and has them go on.
pub(crate) struct Durable {
    runtime: Arc<dyn RuntimeStore>,
    registry: Arc<ApplicationRegistry>,
    executions: Arc<Executions>,
    /// This host among others on the store.
    host: String,
    live: Mutex<HashMap<ExecutionId, Live>>,
    /// Those of them that have ended, and are kept for a while for those who watch.
    lingering: AtomicUsize,
    /// Those that are being written down for the first time.
    beginning: Mutex<HashSet<ExecutionId>>,
    parked: Parked,
    /// Executions to be driven, and whoever drives them.
    begun: mpsc::Sender<Arc<Run>>,
    to_drive: Mutex<Option<mpsc::Receiver<Arc<Run>>>>,
    cancel: CancellationToken,
}

impl Durable {
    pub(crate) fn new(
        runtime: Arc<dyn RuntimeStore>,
        registry: Arc<ApplicationRegistry>,
        executions: Arc<Executions>,
        host: String,
        cancel: CancellationToken,
    ) -> Self {
        let (begun, to_drive) = mpsc::channel(QUEUE);
        Self {
            runtime,
            registry,
            executions,
            host,
            live: Mutex::default(),
            lingering: AtomicUsize::new(0),
            beginning: Mutex::default(),
            parked: Parked::default(),
            begun,
            to_drive: Mutex::new(Some(to_drive)),
            cancel,
        }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<ExecutionId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an execution. It is written down when this returns, and ends some time, whatever dies. One of this id that
    /// there is already is left as it is.
    pub(crate) async fn begin(self: &Arc<Self>, new: New) -> Result<watch::Receiver<Status>, BeginError> {
        let New { id, application, entry, input, cause, parent, replay } = new;
        let Some(workflow) = workflow_of(&entry) else { return Ok(watch::channel(Status::Elsewhere).1) };
        let app = &application.app.name;
        if let Some(live) = self.live().get(&id) {
            return Ok(live.status.subscribe());
        }
        let open = Open { holder: Some(self.host.clone()), epoch: 1, parked: None };
        let fence = bytes(&open);
        // What a caller thinks up has an id of its own: only an id that something else determines may be there already.
        let (cause_known, key) = (cause.is_some() || parent.is_some(), open_key(app, &id.to_string()));
        if cause_known && let Some(known) = self.known(app, id).await? {
            return Ok(watch::channel(known).1);
        }
        if self.live().len().saturating_sub(self.lingering.load(Ordering::Relaxed)) >= MAX_OPEN {
            return Err(BeginError::TooMany);
        }
        let events_after = if workflow.listens { self.newest_event(app).await? } else { None };
        let begun = Begun {
            operation: entry.reference.operation.clone(),
            revision: application.revision.clone(),
            version: entry.version.clone(),
            started_at: OffsetDateTime::now_utc(),
            input,
            cause,
            parent,
            events_after,
            replay,
        };
        let writes = vec![
            Write::Set { key: begun_key(app, id), value: bytes(&begun), ttl: None },
            Write::Set { key, value: fence.clone(), ttl: None },
        ];
        let beginning = Beginning::of(&self.beginning, id);
        self.runtime.write(writes, Durability::Synced).await?;
        let made = Made {
            id,
            span: spans::execution(&entry.reference, id),
            workflow,
            begun,
            fence,
            epoch: 1,
            over: self.cancel.child_token(),
            application,
            entry,
        };
        let news = Arc::new(News::default());
        let run = Arc::new(Run::new(made, Arc::clone(&news), Vec::new()));
        let (status, changes) = watch::channel(Status::Active);
        let live = Live {
            app: run.application.app.name.clone(),
            status,
            news,
            span: run.span.clone(),
            run: Some(Arc::clone(&run)),
        };
        self.live().insert(id, live);
        drop(beginning);
        // The host stops if nobody drives: then the execution goes on at the next.
        let _ = self.begun.send(run).await;
        Ok(changes)
    }

    /// How an execution stands that is not among those of this host.
    async fn known(&self, app: &AppName, id: ExecutionId) -> Result<Option<Status>, StoreError> {
        if let Some(history) = self.history(app, id).await? {
            return Ok(Some(Status::Ended(Arc::new(Ended { result: history.result, usage: history.usage }))));
        }
        Ok(self
            .open(app, id)
            .await?
            .map(|open| open.parked.map_or(Status::Elsewhere, |parked| Status::Parked(parked.until))))
    }

    async fn open(&self, app: &AppName, id: ExecutionId) -> Result<Option<Open>, StoreError> {
        Ok(self.runtime.get(&open_key(app, &id.to_string())).await?.and_then(|bytes| read(&bytes)))
    }

    /// All of an execution that has ended.
    pub(crate) async fn history(&self, app: &AppName, id: ExecutionId) -> Result<Option<History>, StoreError> {
        Ok(self.runtime.get(&history_key(app, id)).await?.and_then(|bytes| read(&bytes)))
    }

    /// How an execution of an application stands, what it began with and what is written down of it.
    pub(crate) async fn show(&self, app: &AppName, id: ExecutionId) -> Result<Option<Shown>, StoreError> {
        if let Some(history) = self.history(app, id).await? {
            let ended = Ended { result: history.result, usage: history.usage };
            let status = Status::Ended(Arc::new(ended));
            return Ok(Some(Shown {
                begun: history.begun,
                status,
                records: history.records,
                ended: Some(history.ended),
            }));
        }
        let live = self.live().get(&id).filter(|live| live.app == *app).cloned();
        if let Some(live) = &live
            && let Some(run) = &live.run
        {
            let status = live.status.borrow().clone();
            return Ok(Some(Shown { begun: run.begun.clone(), status, records: run.records(), ended: None }));
        }
        let Some(open) = self.open(app, id).await? else { return Ok(None) };
        let Some(begun) = self.begun(app, id).await? else { return Ok(None) };
        let status = match (live, open.parked) {
            (Some(live), _) => live.status.borrow().clone(),
            (None, Some(parked)) => Status::Parked(parked.until),
            (None, None) => Status::Elsewhere,
        };
        Ok(Some(Shown { begun, status, records: self.journal(app, id).await?, ended: None }))
    }

    async fn begun(&self, app: &AppName, id: ExecutionId) -> Result<Option<Begun>, StoreError> {
        Ok(self.runtime.get(&begun_key(app, id)).await?.and_then(|bytes| read(&bytes)))
    }

    /// The ids of executions of an application that have not ended, newest first, at most `limit`.
    pub(crate) async fn unfinished(
        &self,
        app: &AppName,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<ExecutionId>, StoreError> {
        let before = before.map(|id| id.to_string());
        let page = self.runtime.list_newest(&open_key(app, ""), before.as_deref(), limit).await?;
        Ok(page.into_iter().filter_map(|entry| entry.key.parse().ok()).collect())
    }

    /// What those who watch an execution at this host are told, and how it stands.
    pub(crate) fn watch(&self, app: &AppName, id: ExecutionId) -> Option<Watching> {
        let live = self.live().get(&id).filter(|live| live.app == *app)?.clone();
        Some(Watching { news: live.news, status: live.status.subscribe() })
    }

    /// Those that something is done for at this host.
    pub(crate) fn active(&self) -> Vec<(AppName, ExecutionId)> {
        let live = self.live();
        live.iter().filter(|(_, live)| live.run.is_some()).map(|(id, live)| (live.app.clone(), *id)).collect()
    }

    /// How many executions of this host wait in no sandbox.
    pub(crate) fn parked(&self) -> usize {
        self.live().values().filter(|live| matches!(*live.status.borrow(), Status::Parked(_))).count()
    }
}

/// An execution that is being written down for the first time.
struct Beginning<'a> {
    all: &'a Mutex<HashSet<ExecutionId>>,
    id: ExecutionId,
}

impl<'a> Beginning<'a> {
    fn of(all: &'a Mutex<HashSet<ExecutionId>>, id: ExecutionId) -> Self {
        all.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Self { all, id }
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What there is to see of an execution.
pub struct Shown {
    /// How it began.
    pub begun: Begun,
    /// How it stands.
    pub status: Status,
    /// Its steps, in the order in which they were begun first.
    pub records: Vec<Record>,
    /// When it ended.
    pub ended: Option<Moment>,
}

/// An execution that somebody watches.
pub struct Watching {
    news: Arc<News>,
    status: watch::Receiver<Status>,
}

impl Watching {
    /// What came after `seen`, once there is something; an empty list once there is nothing more to come.
    pub async fn next(&mut self, seen: Option<NewsId>) -> Vec<NewsItem> {
        let mut told = self.news.changes();
        loop {
            let items = self.news.after(seen);
            if !items.is_empty() {
                return items;
            }
            if matches!(*self.status.borrow(), Status::Ended(_) | Status::Elsewhere) {
                return self.news.after(seen);
            }
            tokio::select! {
                more = told.changed() => if more.is_err() { return Vec::new() },
                other = self.status.changed() => if other.is_err() { return self.news.after(seen) },
            }
        }
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }
}

/// The workflow of an operation that has one.
fn workflow_of(entry: &OperationEntry) -> Option<Arc<WorkflowDefinition>> {
    match &entry.operation.implementation {
        Implementation::Workflow(workflow) => Some(Arc::clone(workflow)),
        _ => None,
    }
}

fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).inspect_err(|error| tracing::error!(%error, "what is stored of an execution")).ok()
}

fn now() -> Moment {
    Moment(i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}

/// The execution that a step of another begins: the same in every replay of the step.
fn child_id(parent: ExecutionId, begun: Moment, step: &str) -> ExecutionId {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(format!("{parent}\n{step}"));
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(begun.0).unwrap_or(0);
    ExecutionId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}
