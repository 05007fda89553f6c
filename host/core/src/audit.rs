//! Asking the model again about what a component answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_model::{Budget, GenerateRequest, Origin, canonical_json};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    budget::{Budgets, Payer},
    registry::OperationEntry,
    router::{keep_trace, request},
    traces::TraceBook,
};

/// Audits that run at one time; what comes on top is not audited.
const AT_ONE_TIME: usize = 4;
/// The longest that the model may take for one.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Compares component answers with the model's, in the background, never in a caller's way.
pub(crate) struct Auditor {
    budgets: Arc<Budgets>,
    traces: Arc<TraceBook>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    permits: Arc<Semaphore>,
}

impl Auditor {
    pub(crate) fn new(
        budgets: Arc<Budgets>,
        traces: Arc<TraceBook>,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        Self { budgets, traces, tracker, cancel, permits: Arc::new(Semaphore::new(AT_ONE_TIME)) }
    }

    /// Asks the model about `input` and counts whether it agrees with `output`.
    pub(crate) fn ask_again(&self, budget: Budget, entry: &Arc<OperationEntry>, input: &Value, output: &Value) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
        let (budgets, traces) = (Arc::clone(&self.budgets), Arc::clone(&self.traces));
        let (entry, input, output) = (Arc::clone(entry), input.clone(), output.clone());
        let cancelled = self.cancel.clone().cancelled_owned();
        self.tracker.spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = cancelled => {}
                () = audit(&budgets, budget, &traces, &entry, &input, &output) => {}
            }
        });
    }
}

async fn audit(
    budgets: &Budgets,
    budget: Budget,
    traces: &TraceBook,
    entry: &OperationEntry,
    input: &Value,
    output: &Value,
) {
    let request = match request(entry, input, TIMEOUT) {
        // Whether another model agrees says nothing about this code.
        Ok(request) => GenerateRequest { fallback: false, ..request },
        Err(error) => return tracing::warn!(operation = %entry.reference, error, "an audit could not be asked"),
    };
    let asked = Instant::now();
    let payer = Payer { app: &entry.reference.app, budget, execution: false, spent: nexus_model::Usage::NONE };
    match budgets.generate(payer, &request, None).await {
        Ok(generation) => {
            let agreed = canonical_json(&generation.value) == canonical_json(output);
            entry.code.live().add(agreed);
            entry.metrics.record_audit(agreed);
            entry.metrics.record_usage(&generation.usage);
            if !agreed {
                tracing::info!(operation = %entry.reference, "code and model disagree");
            }
            keep_trace(traces, entry, input, &generation, Origin::Audit, asked.elapsed()).await;
        }
        Err(error) => tracing::debug!(operation = %entry.reference, %error, "an audit got no answer"),
    }
}
