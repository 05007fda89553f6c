//! What plugins tell of themselves: that what they offer is another from now on.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use nexus_model::AppName;
use tokio::sync::watch;

/// How often each application has told so, on this host; one number for each that ever did.
#[derive(Debug)]
pub(crate) struct Announced {
    counts: Mutex<BTreeMap<AppName, u64>>,
    told: watch::Sender<()>,
}

impl Announced {
    pub(super) fn new() -> Self {
        Self { counts: Mutex::default(), told: watch::Sender::new(()) }
    }

    pub(super) fn announce(&self, app: &AppName) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(app.clone()).or_default() += 1;
        drop(counts);
        self.told.send_replace(());
    }

    /// How often this application has told so.
    pub(crate) fn count(&self, app: &AppName) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).get(app).copied().unwrap_or_default()
    }

    /// Hears of every time that one has.
    pub(crate) fn told(&self) -> watch::Receiver<()> {
        self.told.subscribe()
    }
}
