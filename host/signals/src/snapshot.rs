//! Metrics as they are shown.

use std::collections::BTreeMap;

use nexus_model::{FallbackReason, NanoUsd, OperationRef, ServedBy};
use serde::{Deserialize, Serialize};

use crate::{histogram::Counts, operation::Totals};

/// One value for each path. What is stored without a path has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, bound(deserialize = "T: Default + Deserialize<'de>"))]
pub struct ByPath<T> {
    /// For calls that a component answered.
    pub component: T,
    /// For calls that a model answered.
    pub model: T,
}

impl<T> ByPath<T> {
    /// The value of a path.
    pub fn of(&self, path: ServedBy) -> &T {
        match path {
            ServedBy::Component => &self.component,
            ServedBy::Model => &self.model,
        }
    }

    pub(crate) fn map<U>(&self, change: impl Fn(&T) -> U) -> ByPath<U> {
        ByPath { component: change(&self.component), model: change(&self.model) }
    }
}

/// Quantiles of the time from a call's arrival to its answer, in microseconds, at most 1/16 off; 0 without calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50_us: u64,
    /// 99 of 100 calls take no longer.
    pub p99_us: u64,
}

impl From<&Counts> for Latency {
    fn from(counts: &Counts) -> Self {
        Self { p50_us: counts.quantile(0.5), p99_us: counts.quantile(0.99) }
    }
}

/// Tokens of the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Tokens of prompts.
    pub input: u64,
    /// Tokens of answers.
    pub output: u64,
}

/// How often the model, asked again, agreed with the component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Audits {
    /// It gave the same answer.
    pub agreed: u64,
    /// It gave another.
    pub disagreed: u64,
    /// The share of agreement; `None` before the first audit.
    pub agreement: Option<f64>,
}

impl Audits {
    #[expect(clippy::cast_precision_loss, reason = "counts of audits stay far below 2^52")]
    fn of(agreed: u64, disagreed: u64) -> Self {
        let all = agreed + disagreed;
        Self { agreed, disagreed, agreement: (all > 0).then(|| agreed as f64 / all as f64) }
    }
}

/// An operation's metrics since it was first called.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationSnapshot {
    /// The operation.
    #[serde(flatten)]
    pub operation: OperationRef,
    /// Calls, failed ones included.
    pub calls: ByPath<u64>,
    /// How long they took.
    pub latency: ByPath<Latency>,
    /// Failed calls by code.
    pub errors: ByPath<BTreeMap<String, u64>>,
    /// Calls that the component passed on to the model, by reason.
    pub fallbacks: BTreeMap<FallbackReason, u64>,
    /// Tokens of calls and audits.
    pub tokens: Tokens,
    /// What the model cost, audits included, as far as it is known; `None` where no cost is.
    pub cost: Option<NanoUsd>,
    /// Answers whose cost is not known, and is not in `cost`.
    pub unpriced: u64,
    /// What the component saved: its calls times the model's mean known cost; `None` where no cost is known.
    pub saved: Option<NanoUsd>,
    /// Audits of the component's answers.
    pub audits: Audits,
    /// Traps, deadlines and limits of the component.
    pub component_faults: u64,
    /// Answers of the model that were repaired.
    pub model_repairs: u64,
    /// Answers of another model than the operation names.
    pub model_fallbacks: u64,
    /// Fuel that generated code has used.
    pub fuel: u64,
}

impl OperationSnapshot {
    pub(crate) fn new(operation: OperationRef, totals: Totals) -> Self {
        Self {
            operation,
            calls: totals.calls(),
            latency: totals.latency.map(|counts| Latency::from(counts)),
            tokens: Tokens { input: totals.input_tokens, output: totals.output_tokens },
            cost: totals.known_cost(),
            unpriced: totals.unpriced,
            saved: totals.saved(),
            audits: Audits::of(totals.agreed, totals.disagreed),
            component_faults: totals.component_faults,
            model_repairs: totals.model_repairs,
            model_fallbacks: totals.model_fallbacks,
            fuel: totals.fuel,
            errors: totals.errors,
            fallbacks: totals.fallbacks,
        }
    }
}

/// The host's own counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HostSnapshot {
    /// Requests being worked on.
    pub in_flight: u64,
    /// Requests turned away since the start.
    pub shed: u64,
    /// Executions not recorded since the start, because the queue was full.
    pub executions_dropped: u64,
    /// Events of executions not told of since the start, because the queue was full.
    pub events_dropped: u64,
    /// Requests turned away since the start for what the caller may do or use, in the order of [`crate::Refusal::ALL`].
    pub refused: [u64; crate::Refusal::ALL.len()],
    /// Events not delivered to another application since the start, in the order of [`crate::DeliveryRefusal::ALL`].
    pub deliveries_refused: [u64; crate::DeliveryRefusal::ALL.len()],
    /// Log records not kept on disk since the start, because the queue was full or the disk refused them.
    pub log_lost: u64,
    /// Batches of telemetry that the collector did not take since the start.
    pub telemetry_failed: u64,
    /// Spans, and log records, that were not exported since the start, because too many waited for the collector.
    pub telemetry_dropped: [u64; 2],
    /// Traces that were not kept, since memory was full while the store was out of reach.
    pub traces_dropped: u64,
}
