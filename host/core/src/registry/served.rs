//! All applications at one moment, and who listens to whom.

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::{AppName, TriggerOn};

use super::{Application, Slots};

/// Applications, ready to be called.
pub(crate) type Applications = Arc<[Arc<Application>]>;

/// All applications at one moment. Immutable: a change makes a new one.
#[derive(Default)]
pub(super) struct Served {
    pub(super) slots: Slots,
    /// For each application those others that have a trigger on its events, by name. Found when the definitions change,
    /// so that an event costs one look-up however many applications there are.
    listeners: BTreeMap<AppName, Applications>,
}

impl Served {
    pub(super) fn of(slots: Slots) -> Self {
        let mut found: BTreeMap<AppName, Vec<Arc<Application>>> = BTreeMap::new();
        for application in slots.values().filter_map(|slot| slot.serving.as_ref()) {
            for trigger in &application.app.triggers {
                let TriggerOn::Event { app: Some(emitter), .. } = &trigger.on else { continue };
                let listeners = found.entry(emitter.clone()).or_default();
                // Its triggers come one after the other, so that it could only be the last.
                if listeners.last().is_none_or(|last| !Arc::ptr_eq(last, application)) {
                    listeners.push(Arc::clone(application));
                }
            }
        }
        let listeners = found.into_iter().map(|(emitter, listeners)| (emitter, listeners.into())).collect();
        Self { slots, listeners }
    }

    /// The others that have a trigger on this application's events, whether or not it is permitted.
    pub(super) fn listeners(&self, emitter: &AppName) -> Applications {
        self.listeners.get(emitter).cloned().unwrap_or_default()
    }
}
