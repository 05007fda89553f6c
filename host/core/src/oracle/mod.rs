//! When code takes over from the model, and what it has to show first.
//!
//! The oracle looks at each operation on its own clock, has code written when there is enough to go by, checks it on
//! inputs that the coder never saw, commits source, tests and evidence, and swaps the component in through the registry.
//! The whole of what leads to a decision is in values: [`decide`], [`split`], [`compile`].

mod bound;
mod candidate;
mod coder;
mod compare;
mod compile;
mod decide;
mod follow;
mod record;
mod split;
mod writing;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use nexus_model::{
    CloudEvent, ComponentHost, ComponentKind, DefinitionError, DefinitionStore, Implementation, JitRecord, JitState,
    OperationRef, OptimizeMode, RuntimeStore, StoreError,
};
use nexus_signals::EventBus;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    decide::{Step, decide},
    record::Kept,
    writing::Wanted,
};
use crate::{
    budget::Budgets,
    changes::Changes,
    registry::{Active, ApplicationRegistry, OperationEntry},
    traces::TraceBook,
};

/// How the oracle works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OracleConfig {
    /// The alias of the model that writes code.
    pub coder_model: String,
    /// Milliseconds between two looks at the operations.
    pub tick_ms: u64,
    /// The share of component answers that the model is asked again about, 0 to 1.
    pub audit_share: f64,
    /// How often a candidate may be mended.
    pub repairs: u32,
    /// The least inputs of a sealed set.
    pub min_gate: u64,
    /// The least share of inputs that code must handle.
    pub min_coverage: f64,
    /// Examples that the coder is shown at the most.
    pub max_examples: usize,
    /// Milliseconds that code may take for one call before the model is asked instead.
    pub component_deadline_ms: u64,
    /// Compilations that run at one time.
    pub compilations: usize,
}

impl Default for OracleConfig {
    fn default() -> Self {
        Self {
            coder_model: "coder".to_owned(),
            tick_ms: 1_000,
            audit_share: 0.05,
            repairs: 3,
            min_gate: 20,
            min_coverage: 0.5,
            max_examples: 150,
            component_deadline_ms: 50,
            compilations: 4,
        }
    }
}

impl OracleConfig {
    pub(crate) fn component_deadline(&self) -> Duration {
        Duration::from_millis(self.component_deadline_ms)
    }
}

/// Where an operation stands, for people.
#[derive(Debug, Clone, Serialize)]
pub struct JitStatus {
    /// The operation.
    #[serde(flatten)]
    pub operation: OperationRef,
    /// The oracle's record.
    #[serde(flatten)]
    pub record: JitRecord,
    /// Distinct inputs that the model has answered so far.
    pub distinct_inputs: u64,
    /// The share of audited component answers that the model agrees with; `null` before the first audit.
    pub live_agreement: Option<f64>,
}

/// What could not be done by hand.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OracleError {
    /// No such operation.
    #[error("there is no operation {0}")]
    UnknownOperation(OperationRef),
    /// Code is never written for this operation.
    #[error("{operation} is not compiled: {reason}")]
    NotCompilable {
        /// The operation.
        operation: OperationRef,
        /// Why.
        reason: &'static str,
    },
    /// There is no checked code of this version to promote.
    #[error("{0} has no code of its present version that passed the checks")]
    NothingToPromote(OperationRef),
    /// There is nothing to demote.
    #[error("no code answers {0}")]
    NotActive(OperationRef),
    /// One compilation at a time for each operation.
    #[error("code for {0} is being written already")]
    AlreadyCompiling(OperationRef),
    /// The definition changed while code was being written for it.
    #[error("{0} changed while code was being written for it")]
    Outdated(OperationRef),
    /// The coder might have cost more than is left of the application's budget.
    #[error("no code was written: {0}")]
    OverBudget(String),
    /// Another host on the same store decided something about it at the same time; nothing was changed here.
    #[error("another host decided about {0} at the same moment")]
    Raced(OperationRef),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
    /// The runtime store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The definition store failed.
    #[error(transparent)]
    Definitions(#[from] DefinitionError),
    /// The component could not be made ready, through no fault of the code.
    #[error("the component could not be made ready: {0}")]
    Component(String),
}

/// Everything that the oracle works with.
pub(crate) struct OracleParts {
    pub(crate) registry: Arc<ApplicationRegistry>,
    pub(crate) runtime: Arc<dyn RuntimeStore>,
    pub(crate) definitions: Arc<dyn DefinitionStore>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) components: Arc<dyn ComponentHost>,
    pub(crate) traces: Arc<TraceBook>,
    /// Tells hosts on the same store of what this one has decided.
    pub(crate) told: Changes,
    pub(crate) events: EventBus,
    /// This host among others on the same store.
    pub(crate) host: String,
    pub(crate) tracker: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

/// Watches operations and puts code in front of the model where it has proved itself.
pub struct OptimizationOracle {
    parts: OracleParts,
    config: OracleConfig,
    /// Operations that code is being written for.
    compiling: Mutex<HashSet<OperationRef>>,
    compilations: Arc<Semaphore>,
    /// Changes of records, one at a time.
    changes: tokio::sync::Mutex<()>,
}

impl OptimizationOracle {
    pub(crate) fn new(parts: OracleParts, config: OracleConfig) -> Self {
        let compilations = Arc::new(Semaphore::new(config.compilations.max(1)));
        Self { parts, config, compiling: Mutex::default(), compilations, changes: tokio::sync::Mutex::default() }
    }

    /// Where an operation stands; `None` when there is no such operation.
    pub async fn status(&self, operation: &OperationRef) -> Result<Option<JitStatus>, OracleError> {
        let Some(entry) = self.parts.registry.operation(operation) else { return Ok(None) };
        let mut record = self.record(&entry).await?.record;
        // What this host has not told the others yet is known here.
        record.live = record.live + entry.code.live().peek();
        if not_compilable(&entry).is_some() {
            record.state = JitState::Off;
        } else if self.is_compiling(operation) || self.is_compiled_elsewhere(operation).await? {
            record.state = JitState::Compiling;
        }
        let distinct_inputs = self.parts.traces.count(operation, &entry.version).await?;
        let live_agreement = (record.live.n > 0).then(|| record.live.rate());
        Ok(Some(JitStatus { operation: operation.clone(), record, distinct_inputs, live_agreement }))
    }

    /// Has code written now, whatever the rules of when say; the checks stay. Waits for the end, which comes also when
    /// the caller goes away. In mode `recommend` good code waits for [`OptimizationOracle::promote`].
    pub async fn compile(self: &Arc<Self>, operation: &OperationRef) -> Result<JitStatus, OracleError> {
        let entry = self.compilable(operation)?;
        let claim = self.claim(operation)?;
        let (oracle, task_entry) = (Arc::clone(self), Arc::clone(&entry));
        let task =
            self.parts.tracker.spawn(async move { oracle.compile_claimed(&task_entry, claim, Wanted::Now).await });
        task.await.map_err(|_| OracleError::Stopping)??;
        self.status(operation).await?.ok_or_else(|| OracleError::UnknownOperation(operation.clone()))
    }

    /// Puts the newest checked code of this version in front of the model.
    pub async fn promote(&self, operation: &OperationRef) -> Result<JitStatus, OracleError> {
        let entry = self.compilable(operation)?;
        {
            let _one = self.changes.lock().await;
            let mut kept = self.record(&entry).await?;
            let (JitState::Ready | JitState::Demoted, Some(digest)) = (kept.record.state, &kept.record.component)
            else {
                return Err(OracleError::NothingToPromote(operation.clone()));
            };
            let active = self.ready(&entry, kept.record.code, digest).await?;
            self.change(&entry, &mut kept, JitState::Active).await?;
            entry.code.swap(Some(active));
        }
        self.status(operation).await?.ok_or_else(|| OracleError::UnknownOperation(operation.clone()))
    }

    /// Lets the model answer again. Holds from the moment that this returns; the code can be promoted again.
    pub async fn demote(&self, operation: &OperationRef) -> Result<JitStatus, OracleError> {
        let entry = self.compilable(operation)?;
        {
            let _one = self.changes.lock().await;
            let mut kept = self.record(&entry).await?;
            if kept.record.state != JitState::Active {
                return Err(OracleError::NotActive(operation.clone()));
            }
            entry.code.swap(None);
            self.change(&entry, &mut kept, JitState::Demoted).await?;
        }
        self.status(operation).await?.ok_or_else(|| OracleError::UnknownOperation(operation.clone()))
    }

    /// Looks at every operation until the host stops.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_millis(self.config.tick_ms.max(10)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.parts.cancel.cancelled() => return,
                _ = tick.tick() => {}
            }
            for entry in self.parts.registry.operations() {
                if let Err(error) = self.look(&entry).await {
                    tracing::warn!(operation = %entry.reference, %error, "the oracle could not look at an operation");
                }
            }
        }
    }

    async fn look(self: &Arc<Self>, entry: &Arc<OperationEntry>) -> Result<(), OracleError> {
        if not_compilable(entry).is_some() || self.is_compiling(&entry.reference) {
            return Ok(());
        }
        self.keep_live(entry).await?;
        // A definition that came back to an older version finds its code again.
        let mut kept = self.adopt(entry).await?;
        let distinct = self.parts.traces.count(&entry.reference, &entry.version).await?;
        match decide(&kept.record, entry.operation.optimize, distinct) {
            Step::Wait => {}
            Step::Recommend => {
                let _one = self.changes.lock().await;
                self.change(entry, &mut kept, JitState::Recommended).await?;
            }
            Step::Compile => self.compile_in_background(entry),
        }
        Ok(())
    }

    /// The component of committed code, made ready: from the store, or built again from its source.
    async fn ready(&self, entry: &OperationEntry, code: u32, digest: &str) -> Result<Active, OracleError> {
        let stored = record::component(self.parts.runtime.as_ref(), &entry.reference, digest).await?;
        let bytes = match stored {
            Some(bytes) => bytes,
            None => self.rebuild(&entry.reference, code).await?,
        };
        let component = self.parts.components.load(ComponentKind::Generated, &bytes).await;
        let component = component.map_err(|error| OracleError::Component(error.to_string()))?;
        Ok(Active { component, code })
    }

    async fn rebuild(&self, operation: &OperationRef, code: u32) -> Result<Vec<u8>, OracleError> {
        let files = self.parts.definitions.read_code(&operation.app, &record::folder(operation, code)).await?;
        let source = files.get("source.js").map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let source = source.ok_or_else(|| OracleError::NothingToPromote(operation.clone()))?;
        self.parts.components.build(&source).await.map_err(|error| OracleError::Component(error.to_string()))
    }

    async fn record(&self, entry: &OperationEntry) -> Result<Kept, OracleError> {
        Ok(record::load(self.parts.runtime.as_ref(), entry).await?)
    }

    async fn keep(&self, entry: &OperationEntry, kept: &mut Kept) -> Result<(), OracleError> {
        let is_kept = record::keep(self.parts.runtime.as_ref(), &entry.reference, kept).await?;
        if is_kept { Ok(()) } else { Err(OracleError::Raced(entry.reference.clone())) }
    }

    /// Keeps the record of a try that was refused. Code that answers already goes on answering.
    async fn refuse(&self, entry: &OperationEntry, kept: &mut Kept) -> Result<(), OracleError> {
        match named(&kept.record) {
            Some(_) => self.keep(entry, kept).await,
            None => self.change(entry, kept, JitState::Refused).await,
        }
    }

    /// Keeps the record in its new state and tells of it.
    async fn change(&self, entry: &OperationEntry, kept: &mut Kept, state: JitState) -> Result<(), OracleError> {
        kept.record.state = state;
        kept.record.changed_at = OffsetDateTime::now_utc();
        self.keep(entry, kept).await?;
        self.parts.told.tell().await;
        self.announce(entry, state, Some(&kept.record)).await;
        Ok(())
    }

    async fn announce(&self, entry: &OperationEntry, state: JitState, record: Option<&JitRecord>) {
        let refused = record.and_then(|record| record.evidence.as_ref()).and_then(|evidence| evidence.refused.as_ref());
        let why = if state == JitState::Refused { refused.map(|refused| refused.detail.as_str()) } else { None };
        tracing::info!(operation = %entry.reference, state = state.as_str(), why, "the oracle has decided");
        let operation = entry.reference.to_string();
        let event = CloudEvent::now(
            format!("nexus.optimization.{}", state.as_str()),
            format!("/v1/apps/{}/operations/{}/optimization", entry.reference.app, entry.reference.operation),
            entry.reference.operation.as_str(),
            serde_json::json!({ "operation": operation, "version": entry.version, "state": state, "why": why }),
        );
        self.parts.events.emit(Some(entry.reference.app.clone()), event).await;
    }

    fn compilable(&self, operation: &OperationRef) -> Result<Arc<OperationEntry>, OracleError> {
        let entry = self.parts.registry.operation(operation);
        let entry = entry.ok_or_else(|| OracleError::UnknownOperation(operation.clone()))?;
        match not_compilable(&entry) {
            Some(reason) => Err(OracleError::NotCompilable { operation: operation.clone(), reason }),
            None => Ok(entry),
        }
    }
}

/// The digest of the component that is to answer, by the record; none where the model is.
fn named(record: &JitRecord) -> Option<&str> {
    record.component.as_deref().filter(|_| record.state == JitState::Active)
}

/// Why code is never written for an operation.
fn not_compilable(entry: &OperationEntry) -> Option<&'static str> {
    match (&entry.operation.implementation, entry.operation.optimize.mode) {
        (Implementation::Component { .. }, _) => Some("it is a component written by hand"),
        (Implementation::Worker(_), _) => Some("a program in a sandbox answers it"),
        (Implementation::Workflow(_), _) => {
            Some("it is a workflow: code takes over from its prompt steps, each for itself")
        }
        (Implementation::Prompt(_), OptimizeMode::Off) => Some("its definition says `optimize: { mode: off }`"),
        (Implementation::Prompt(_), _) => None,
    }
}
