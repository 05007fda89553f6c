//! What other hosts on the same store decide, and what this one has to tell them.

use std::sync::Arc;

use nexus_model::{Agreement, JitRecord};

use super::{OptimizationOracle, OracleError, named, not_compilable};
use crate::registry::OperationEntry;

impl OptimizationOracle {
    /// Lets answer what the records say: after a start the code that was active before, later what another host decided.
    pub(crate) async fn adopt_all(&self) {
        for entry in self.parts.registry.operations() {
            if let Err(error) = self.adopt(&entry).await {
                tracing::error!(operation = %entry.reference, %error, "what answers may not be what was decided");
            }
        }
    }

    /// Takes over at once what other hosts on the same store decide, until the host stops.
    pub(crate) async fn listen(self: Arc<Self>) {
        let mut others = self.parts.told.listen();
        while others.heard(&self.parts.cancel).await {
            self.adopt_all().await;
        }
    }

    /// Puts the code that the record names in front of the model, and takes out what it does not name.
    pub(super) async fn adopt(&self, entry: &OperationEntry) -> Result<(), OracleError> {
        if not_compilable(entry).is_some() || answers(entry, &self.record(entry).await?.record) {
            return Ok(());
        }
        let _one = self.changes.lock().await;
        // This host may have decided meanwhile.
        let record = self.record(entry).await?.record;
        if answers(entry, &record) {
            return Ok(());
        }
        let active = match named(&record) {
            Some(digest) => Some(self.ready(entry, record.code, digest).await?),
            None => None,
        };
        entry.code.swap(active);
        tracing::info!(operation = %entry.reference, state = record.state.as_str(), "what the record says holds here");
        Ok(())
    }

    /// Adds the audits of this host to the record, which has those of all hosts.
    pub(super) async fn keep_live(&self, entry: &OperationEntry) -> Result<(), OracleError> {
        let _one = self.changes.lock().await;
        let more = entry.code.live().take();
        if more.n == 0 {
            return Ok(());
        }
        let added = async {
            let mut kept = self.record(entry).await?;
            if kept.record.component.is_none() {
                // They were of another version's code.
                return Ok(());
            }
            kept.record.live = plus(kept.record.live, more);
            self.keep(entry, &mut kept).await
        };
        match added.await {
            Ok(()) => Ok(()),
            Err(error) => {
                entry.code.live().give_back(more);
                if matches!(error, OracleError::Raced(_)) { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// Whether what answers here is what the record names.
fn answers(entry: &OperationEntry, record: &JitRecord) -> bool {
    entry.code.active().as_deref().map(|active| active.component.digest()) == named(record)
}

/// Both together.
pub(super) fn plus(one: Agreement, more: Agreement) -> Agreement {
    Agreement { n: one.n + more.n, handled: one.handled + more.handled, agreed: one.agreed + more.agreed, ..one }
}
