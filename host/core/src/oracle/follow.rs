//! What other hosts on the same store decide, and what this one has to tell them.

use std::sync::Arc;

use nexus_model::JitRecord;

use super::{OptimizationOracle, OracleError, named, not_compilable, record::Kept};
use crate::registry::OperationEntry;

impl OptimizationOracle {
    /// Lets answer what the records say: after a start the code that was active before, later what another host decided.
    pub(crate) async fn adopt_all(&self) {
        for entry in self.parts.registry.operations() {
            if not_compilable(&entry).is_some() {
                continue;
            }
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

    /// Puts the code that the record names in front of the model, and takes out what it does not name. Returns the record.
    pub(super) async fn adopt(&self, entry: &OperationEntry) -> Result<Kept, OracleError> {
        let kept = self.record(entry).await?;
        if answers(entry, &kept.record) {
            return Ok(kept);
        }
        let _one = self.changes.lock().await;
        // This host may have decided meanwhile.
        let kept = self.record(entry).await?;
        let record = &kept.record;
        if answers(entry, record) {
            return Ok(kept);
        }
        let active = match named(record) {
            Some(digest) => Some(self.ready(entry, record.code, digest).await?),
            None => None,
        };
        entry.code.swap(active);
        tracing::info!(operation = %entry.reference, state = record.state.as_str(), "what the record says holds here");
        Ok(kept)
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
            kept.record.live = kept.record.live + more;
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
