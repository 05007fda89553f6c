//! Which applications there are: immutable snapshots, swapped atomically when a new commit has been checked.

mod diff;
mod entry;
mod history;
mod import;
mod known;
mod lifecycle;
mod load;
mod plugin_views;
mod plugin_write;
mod plugins;
mod remote;
mod served;
mod server_write;
mod views;
mod write;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use nexus_definitions::Fault;
use nexus_model::{
    App, AppName, Budget, ComponentHost, DefinitionError, DefinitionStore, LinkedPlugin, LoadError, ModelProvider,
    OperationName, OperationRef, PluginHost, PluginName, Revision, RuntimeStore, StoreError,
};
use nexus_signals::{EventBus, MetricCollector};
use tokio::sync::{Notify, Semaphore, watch};

use self::{
    known::KnownFacts,
    remote::Attached,
    served::{Applications, Served},
};
use crate::{
    changes::{Changes, Topic},
    rates::Rate,
    start::Parts,
};

pub use diff::{Diff, FileChange, FileDiff, text_diff};
pub(crate) use entry::{Active, Definition, OperationEntry};
pub use history::HISTORY_PAGE;
pub use import::{ImportError, ImportReport};
pub use lifecycle::{Inactive, LifecycleError};
pub use plugin_views::PluginDetail;
pub use plugin_write::{PluginChange, Widening};
pub(crate) use plugins::PluginEntry;
pub use remote::{MoveError, Remote};
pub use views::{AppDetail, AppStatus, AppSummary, OperationDetail};
pub use write::{Condition, Edit, WriteError, Written};

/// One application, ready to be called.
pub(crate) struct Application {
    pub(crate) app: App,
    pub(crate) revision: Revision,
    pub(crate) operations: BTreeMap<OperationName, Arc<OperationEntry>>,
    pub(crate) plugins: BTreeMap<PluginName, Arc<PluginEntry>>,
    /// The application's share of concurrency.
    pub(crate) permits: Arc<Semaphore>,
    /// The application's rate of calls, if it has one; goes on from revision to revision.
    pub(crate) rate: Option<Arc<Rate>>,
}

/// An application as it was in a revision.
pub(crate) struct Earlier {
    app: AppName,
    revision: Revision,
    application: Arc<Application>,
}

impl Application {
    /// The operations that it offers: not those made of steps of its workflows.
    pub(crate) fn offers(&self) -> impl Iterator<Item = &Arc<OperationEntry>> {
        self.operations.values().filter(|entry| entry.operation.step.is_none())
    }

    /// An operation that it offers.
    pub(crate) fn offered(&self, name: &OperationName) -> Option<&Arc<OperationEntry>> {
        self.operations.get(name).filter(|entry| entry.operation.step.is_none())
    }
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
    /// Why it takes no calls, if it takes none.
    pub(crate) inactive: Option<Arc<Inactive>>,
}

type Slots = BTreeMap<AppName, Slot>;

/// A store failed; what is being served goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The definitions.
    #[error("applications could not be read: {0}")]
    Definitions(#[from] DefinitionError),
    /// The runtime store, which has the state of applications.
    #[error("the states of applications could not be read: {0}")]
    States(#[from] StoreError),
}

/// All applications of this host.
///
/// Reading is lock-free and always sees whole applications. A revision with faults never replaces one that serves.
pub struct ApplicationRegistry {
    served: ArcSwap<Served>,
    /// Told after each swap.
    swaps: watch::Sender<()>,
    /// One change at a time; holds the commit that was looked at last.
    changes: tokio::sync::Mutex<Option<String>>,
    definitions: Arc<dyn DefinitionStore>,
    runtime: Arc<dyn RuntimeStore>,
    models: Arc<dyn ModelProvider>,
    components: Arc<dyn ComponentHost>,
    plugin_host: Arc<dyn PluginHost>,
    facts: KnownFacts,
    metrics: Arc<MetricCollector>,
    events: EventBus,
    known_models: Vec<String>,
    remote: Option<Attached>,
    /// Tells hosts on the same store of what this one has changed.
    told: Changes,
    /// Applications of earlier revisions that executions go by, those asked for last first.
    earlier: Mutex<Vec<Earlier>>,
}

impl ApplicationRegistry {
    pub(crate) fn new(parts: &Parts, known_models: Vec<String>) -> Self {
        Self {
            served: ArcSwap::default(),
            swaps: watch::Sender::new(()),
            changes: tokio::sync::Mutex::default(),
            definitions: Arc::clone(&parts.definitions),
            runtime: Arc::clone(&parts.runtime),
            models: Arc::clone(&parts.models),
            components: Arc::clone(&parts.components),
            plugin_host: Arc::clone(&parts.plugins),
            facts: KnownFacts::default(),
            metrics: Arc::clone(&parts.metrics),
            events: parts.events.clone(),
            known_models,
            remote: parts.remote.clone().map(|remote| Attached { remote, written: Notify::new() }),
            told: Changes::new(Arc::clone(&parts.runtime), Topic::Definitions),
            earlier: Mutex::default(),
        }
    }

    /// The application that serves under this name.
    pub(crate) fn application(&self, name: &str) -> Option<Arc<Application>> {
        let name: AppName = name.parse().ok()?;
        self.served.load().slots.get(&name).and_then(|slot| slot.serving.clone())
    }

    /// The application that serves under this name and those others that have a trigger on its events, at one moment.
    pub(crate) fn emitter(&self, name: &AppName) -> Option<(Arc<Application>, Applications)> {
        let served = self.served.load();
        let application = served.slots.get(name)?.serving.clone()?;
        Some((application, served.listeners(name)))
    }

    /// The application that takes calls under this name, or why it takes none.
    pub(crate) fn callable(&self, name: &str) -> Option<Result<Arc<Application>, Arc<Inactive>>> {
        let name: AppName = name.parse().ok()?;
        let served = self.served.load();
        let slot = served.slots.get(&name)?;
        let application = slot.serving.clone()?;
        Some(slot.inactive.clone().map_or(Ok(application), Err))
    }

    /// A file of an application as it was in a revision of it.
    pub(crate) async fn file_at(
        &self,
        app: &AppName,
        revision: &Revision,
        path: &str,
    ) -> Result<Option<Vec<u8>>, DefinitionError> {
        Ok(self.definitions.read_file_at(app, revision, path).await?.map(|bytes| bytes.to_vec()))
    }

    /// A plugin, linked.
    pub(crate) async fn linked(&self, plugin: &PluginEntry) -> Result<Arc<dyn LinkedPlugin>, LoadError> {
        plugin.linked(self.definitions.as_ref(), self.plugin_host.as_ref()).await
    }

    /// The operation as it is served now.
    pub(crate) fn operation(&self, operation: &OperationRef) -> Option<Arc<OperationEntry>> {
        self.application(operation.app.as_str())?.operations.get(&operation.operation).cloned()
    }

    /// All operations that are served now; those of inactive applications are not.
    pub(crate) fn operations(&self) -> Vec<Arc<OperationEntry>> {
        let served = self.served.load();
        served
            .slots
            .values()
            .filter(|slot| slot.inactive.is_none())
            .filter_map(|slot| slot.serving.as_ref())
            .flat_map(|app| app.operations.values().cloned())
            .collect()
    }

    /// What an application may spend on models.
    pub(crate) fn budget(&self, app: &AppName) -> Budget {
        self.application(app.as_str()).map(|application| application.app.limits.budget).unwrap_or_default()
    }

    /// Applications as they are from now on.
    fn swap(&self, slots: Slots) {
        self.served.store(Arc::new(Served::of(slots)));
        self.swaps.send_replace(());
    }

    /// Hears of every change of what is served.
    pub(crate) fn swaps(&self) -> watch::Receiver<()> {
        self.swaps.subscribe()
    }

    /// The names of all applications.
    pub fn names(&self) -> Vec<AppName> {
        self.served.load().slots.keys().cloned().collect()
    }
}
