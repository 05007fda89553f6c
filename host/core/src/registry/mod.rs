//! Which applications there are: immutable snapshots, swapped atomically when a new commit has been checked.

mod entry;
mod import;
mod load;
mod views;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use nexus_definitions::Fault;
use nexus_model::{
    App, AppName, ComponentHost, DefinitionError, DefinitionStore, ModelProvider, OperationName, OperationRef, Revision,
};
use nexus_signals::{EventBus, MetricCollector};
use tokio::sync::Semaphore;

use crate::start::Parts;

pub(crate) use entry::{Active, Definition, OperationEntry};
pub use import::{ImportError, ImportReport};
pub use views::{AppDetail, AppStatus, AppSummary, OperationDetail};

/// One application, ready to be called.
pub(crate) struct Application {
    pub(crate) app: App,
    pub(crate) revision: Revision,
    pub(crate) operations: BTreeMap<OperationName, Arc<OperationEntry>>,
    /// The application's share of concurrency.
    pub(crate) permits: Arc<Semaphore>,
}

/// What is known of one application's folder.
#[derive(Clone)]
pub(crate) struct Slot {
    /// The revision that was looked at last.
    pub(crate) seen: Revision,
    /// What serves: the newest revision without a fault.
    pub(crate) serving: Option<Arc<Application>>,
    /// What is wrong with the revision that was looked at last.
    pub(crate) faults: Arc<[Fault]>,
}

type Slots = BTreeMap<AppName, Slot>;

/// The definition store failed; what is being served goes on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("applications could not be read: {0}")]
pub struct RegistryError(#[from] pub DefinitionError);

/// All applications of this host.
///
/// Reading is lock-free and always sees whole applications. A revision with faults never replaces one that serves.
pub struct ApplicationRegistry {
    slots: ArcSwap<Slots>,
    /// One change at a time; holds the commit that was looked at last.
    changes: tokio::sync::Mutex<Option<String>>,
    definitions: Arc<dyn DefinitionStore>,
    models: Arc<dyn ModelProvider>,
    components: Arc<dyn ComponentHost>,
    metrics: Arc<MetricCollector>,
    events: EventBus,
    known_models: Vec<String>,
}

impl ApplicationRegistry {
    pub(crate) fn new(parts: &Parts, known_models: Vec<String>) -> Self {
        Self {
            slots: ArcSwap::default(),
            changes: tokio::sync::Mutex::default(),
            definitions: Arc::clone(&parts.definitions),
            models: Arc::clone(&parts.models),
            components: Arc::clone(&parts.components),
            metrics: Arc::clone(&parts.metrics),
            events: parts.events.clone(),
            known_models,
        }
    }

    /// The application that serves under this name.
    pub(crate) fn application(&self, name: &str) -> Option<Arc<Application>> {
        let name: AppName = name.parse().ok()?;
        self.slots.load().get(&name).and_then(|slot| slot.serving.clone())
    }

    /// The operation as it is served now.
    pub(crate) fn operation(&self, operation: &OperationRef) -> Option<Arc<OperationEntry>> {
        self.application(operation.app.as_str())?.operations.get(&operation.operation).cloned()
    }

    /// All operations that are served now.
    pub(crate) fn operations(&self) -> Vec<Arc<OperationEntry>> {
        let slots = self.slots.load();
        slots
            .values()
            .filter_map(|slot| slot.serving.as_ref())
            .flat_map(|app| app.operations.values().cloned())
            .collect()
    }

    /// The names of all applications.
    pub fn names(&self) -> Vec<AppName> {
        self.slots.load().keys().cloned().collect()
    }
}
