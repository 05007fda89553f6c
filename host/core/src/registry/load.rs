//! From a commit to applications that can be called.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, PoisonError},
};

use nexus_definitions::{Fault, FaultCode, PromptTemplate, Surroundings};
use nexus_model::{
    App, AppName, CloudEvent, ComponentKind, DefinitionError, Implementation, Operation, OperationRef, Revision,
    Snapshot,
};
use tokio::sync::Semaphore;

use super::{
    Application, ApplicationRegistry, Earlier, RegistryError, Slot, Slots,
    entry::{CodeSlot, Definition, OperationEntry},
    lifecycle,
};
use crate::rates::Rate;

/// Revisions that are tried when a host starts and the newest has faults.
const TRIED: usize = 20;

/// Applications of earlier revisions that are kept ready.
const EARLIER: usize = 16;

/// Why there is no application of a revision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AtError {
    #[error("there is no such revision")]
    Unknown,
    #[error("the revision has {0} faults")]
    Faulty(usize),
    #[error(transparent)]
    Store(#[from] DefinitionError),
}

impl ApplicationRegistry {
    /// Looks whether there is a new commit, or a new state of an application, and takes over what changed. Cheap when
    /// nothing did.
    pub async fn refresh(&self) -> Result<(), RegistryError> {
        let mut looked_at = self.changes.lock().await;
        let head = self.definitions.head().await?;
        let moved = *looked_at != head;
        let mut slots = self.served.load().slots.clone();
        if moved {
            self.take_over_all(&mut slots).await?;
        }
        // A definition is served also when the states cannot be read: what was inactive stays so.
        let states = self.states().await;
        let turned = states.as_ref().is_ok_and(|states| lifecycle::apply(&mut slots, states));
        if moved || turned {
            self.swap(slots);
            *looked_at = head;
        }
        states.map(drop)
    }

    async fn take_over_all(&self, slots: &mut Slots) -> Result<(), RegistryError> {
        let revisions = self.definitions.apps().await?;
        slots.retain(|name, _| revisions.contains_key(name));
        for (name, revision) in revisions {
            let old = slots.get(&name);
            if old.is_some_and(|slot| slot.seen == revision) {
                continue;
            }
            let Some(snapshot) = self.definitions.read(&name).await? else { continue };
            let (serving, inactive) = old.map_or((None, None), |slot| (slot.serving.clone(), slot.inactive.clone()));
            let slot = Slot { inactive, ..self.take_over(&name, snapshot, serving).await? };
            slots.insert(name, slot);
        }
        Ok(())
    }

    /// The new revision if it has no fault, else the one that serves, with the faults told. Where none serves, because
    /// the host has just started, the newest revision without a fault.
    async fn take_over(
        &self,
        name: &AppName,
        snapshot: Snapshot,
        serving: Option<Arc<Application>>,
    ) -> Result<Slot, RegistryError> {
        let seen = snapshot.revision.clone();
        match self.prepare(name, &snapshot, serving.as_deref()).await {
            Ok(application) => {
                tracing::info!(app = %name, revision = %seen, "application loaded");
                self.tell(name, "loaded", serde_json::json!({ "app": name, "revision": seen })).await;
                Ok(Slot { seen, serving: Some(Arc::new(application)), faults: [].into(), inactive: None })
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!(app = %name, revision = %seen, "{fault}");
                }
                let data = serde_json::json!({ "app": name, "revision": seen, "faults": faults.len() });
                self.tell(name, "refused", data).await;
                let serving = match serving {
                    Some(serving) => Some(serving),
                    None => self.last_sound(name).await?.map(Arc::new),
                };
                Ok(Slot { seen, serving, faults: faults.into(), inactive: None })
            }
        }
    }

    async fn tell(&self, name: &AppName, what: &str, data: serde_json::Value) {
        let event =
            CloudEvent::now(format!("nexus.definition.{what}"), format!("/v1/apps/{name}"), name.as_str(), data);
        self.events.emit(Some(name.clone()), event).await;
    }

    /// The newest of an application's earlier revisions that has no fault, if one of the last [`TRIED`] has none.
    async fn last_sound(&self, name: &AppName) -> Result<Option<Application>, RegistryError> {
        for change in self.definitions.history(name, None, TRIED).await?.into_iter().skip(1) {
            let Some(revision) = change.revision else { return Ok(None) };
            let Some(snapshot) = self.definitions.read_at(name, &revision).await? else { continue };
            if let Ok(application) = self.prepare(name, &snapshot, None).await {
                tracing::warn!(app = %name, %revision, "an earlier revision serves: the newest has faults");
                return Ok(Some(application));
            }
        }
        Ok(None)
    }

    async fn prepare(
        &self,
        name: &AppName,
        snapshot: &Snapshot,
        serving: Option<&Application>,
    ) -> Result<Application, Vec<Fault>> {
        // Applications that name each other come one after the other, so names that are not there yet are no fault here.
        // They open nothing until both sides are there.
        let surroundings = Surroundings { folder: Some(name), models: Some(&self.known_models), apps: None };
        let app = nexus_definitions::load_with(&snapshot.files, surroundings)?;
        let (plugins, mut faults) = self.look_at_plugins(&app, snapshot, serving).await;
        let mut operations = BTreeMap::new();
        for (operation_name, operation) in &app.operations {
            let reference = OperationRef { app: app.name.clone(), operation: operation_name.clone() };
            match self.entry(reference, operation, snapshot, serving).await {
                Ok(entry) => {
                    operations.insert(operation_name.clone(), Arc::new(entry));
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let permits = Arc::new(Semaphore::new(app.limits.concurrency));
        let rate = rate(app.limits.requests_per_minute, serving);
        Ok(Application { permits, rate, revision: snapshot.revision.clone(), operations, plugins, app })
    }

    async fn entry(
        &self,
        reference: OperationRef,
        operation: &Operation,
        snapshot: &Snapshot,
        serving: Option<&Application>,
    ) -> Result<OperationEntry, Fault> {
        let (definition, model) = match &operation.implementation {
            Implementation::Prompt(prompt) => {
                let template = PromptTemplate::compile(prompt)
                    .map_err(|error| fault(&prompt.path, FaultCode::BadTemplate, error.to_string()))?;
                (Definition::Prompt(Box::new(template)), self.models.resolve(&prompt.model).unwrap_or_default())
            }
            Implementation::Component { path, .. } => {
                let bytes = snapshot.files.get(path).map(AsRef::as_ref).unwrap_or_default();
                let component = self.components.load(ComponentKind::Plugin, bytes).await;
                let component = component.map_err(|error| fault(path, FaultCode::BadComponent, error.to_string()))?;
                (Definition::Component(component), String::new())
            }
            Implementation::Worker(told) => (Definition::Worker(Arc::clone(told)), String::new()),
            Implementation::Workflow(_) => (Definition::Workflow, String::new()),
        };
        let version = operation.version(&model);
        let same_version = serving
            .and_then(|application| application.operations.get(&reference.operation))
            .filter(|entry| entry.version == version);
        Ok(OperationEntry {
            code: same_version.map_or_else(|| Arc::new(CodeSlot::default()), |entry| Arc::clone(&entry.code)),
            metrics: self.metrics.operation(&reference),
            input: validator(&operation.input)?,
            output: validator(&operation.output)?,
            operation: operation.clone(),
            revision: snapshot.revision.clone(),
            reference,
            version,
            definition,
        })
    }

    /// An application as it was in a revision, ready to be called: with the code that answers now where the versions of its
    /// operations are the same.
    pub(crate) async fn application_at(&self, app: &AppName, revision: &Revision) -> Result<Arc<Application>, AtError> {
        let serving = self.application(app.as_str());
        if let Some(serving) = serving.as_ref().filter(|serving| serving.revision == *revision) {
            return Ok(Arc::clone(serving));
        }
        let known = || self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = known().iter().find(|earlier| earlier.app == *app && earlier.revision == *revision) {
            return Ok(Arc::clone(&earlier.application));
        }
        let snapshot = self.definitions.read_at(app, revision).await?.ok_or(AtError::Unknown)?;
        let application = self.prepare(app, &snapshot, serving.as_deref()).await;
        let application = Arc::new(application.map_err(|faults| AtError::Faulty(faults.len()))?);
        let (app, revision) = (app.clone(), revision.clone());
        let mut known = known();
        known.truncate(EARLIER - 1);
        known.insert(0, Earlier { app, revision, application: Arc::clone(&application) });
        Ok(application)
    }

    /// Checks an application's files as [`ApplicationRegistry::refresh`] would, without serving them.
    pub(super) async fn check(&self, name: &AppName, snapshot: &Snapshot) -> Result<App, Vec<Fault>> {
        self.prepare(name, snapshot, None).await.map(|application| application.app)
    }
}

/// The rate that serves already, unless it is another one now.
fn rate(per_minute: Option<NonZeroU32>, serving: Option<&Application>) -> Option<Arc<Rate>> {
    let per_minute = per_minute?;
    let same = serving.and_then(|application| application.rate.clone()).filter(|rate| rate.per_minute() == per_minute);
    Some(same.unwrap_or_else(|| Arc::new(Rate::new("app", per_minute))))
}

fn validator(schema: &serde_json::Value) -> Result<jsonschema::Validator, Fault> {
    nexus_definitions::schema_validator(schema)
        .map_err(|error| fault("app.yaml", FaultCode::BadSchema, error.to_string()))
}

/// A fault of a whole file.
fn fault(file: &str, code: FaultCode, message: String) -> Fault {
    let (expected, path) = (String::new(), String::new());
    Fault {
        file: file.to_owned(),
        line: 1,
        column: 1,
        offset: 0,
        length: 0,
        code,
        path,
        message,
        expected,
        nearest: None,
    }
}
