//! Counting, on the path of each call.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use nexus_model::{FallbackReason, NanoUsd, ServedBy, Usage};
use serde::{Deserialize, Serialize};

use crate::{
    gen_ai::ModelRequests,
    histogram::{Counts, Histogram},
    refusals::{Counters, DeliveryRefusal, Refusal},
    snapshot::{ByPath, HostSnapshot},
    tools::{ToolCalls, ToolMetrics},
};

/// Error codes counted apart; more are counted as `other`.
const MAX_CODES: usize = 64;

/// The counters of one operation. Recording takes no lock, but for an error's code.
#[derive(Debug, Default)]
pub struct OperationMetrics {
    latency: ByPath<Histogram>,
    fallbacks: [AtomicU64; FallbackReason::ALL.len()],
    errors: ByPath<RwLock<BTreeMap<String, AtomicU64>>>,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    cost: AtomicU64,
    agreed: AtomicU64,
    disagreed: AtomicU64,
    component_faults: AtomicU64,
    model_repairs: AtomicU64,
    model_fallbacks: AtomicU64,
    unpriced: AtomicU64,
    fuel: AtomicU64,
}

impl OperationMetrics {
    /// A call ended, well or not, on this path, so many microseconds after its arrival.
    pub fn record_call(&self, path: ServedBy, duration_us: u64) {
        self.latency.of(path).record(duration_us);
    }

    /// A call ended with this error on this path. The code is a stable word; beyond 64 different ones on a path, all
    /// others count as `other`.
    pub fn record_error(&self, path: ServedBy, code: &str) {
        if let Some(count) = self.errors.of(path).read().unwrap_or_else(PoisonError::into_inner).get(code) {
            count.fetch_add(1, Relaxed);
            return;
        }
        self.add_errors(path, code, 1);
    }

    fn add_errors(&self, path: ServedBy, code: &str, count: u64) {
        let mut errors = self.errors.of(path).write().unwrap_or_else(PoisonError::into_inner);
        let code = if errors.contains_key(code) || errors.len() < MAX_CODES { code } else { "other" };
        errors.entry(code.to_owned()).or_default().fetch_add(count, Relaxed);
    }

    /// The component was asked and the model answered instead.
    pub fn record_fallback(&self, reason: FallbackReason) {
        self.fallbacks[position(reason)].fetch_add(1, Relaxed);
    }

    /// The model was used, for a call or an audit. What it cost may not be known; then that is counted.
    pub fn record_usage(&self, usage: &Usage) {
        self.input_tokens.fetch_add(usage.input_tokens, Relaxed);
        self.output_tokens.fetch_add(usage.output_tokens, Relaxed);
        match usage.cost {
            Some(cost) => self.cost.fetch_add(cost.0, Relaxed),
            None => self.unpriced.fetch_add(1, Relaxed),
        };
    }

    /// The model was asked again about a component's answer, and agreed or not.
    pub fn record_audit(&self, agreed: bool) {
        let counter = if agreed { &self.agreed } else { &self.disagreed };
        counter.fetch_add(1, Relaxed);
    }

    /// The component trapped or ran into its deadline or a limit.
    pub fn record_component_fault(&self) {
        self.component_faults.fetch_add(1, Relaxed);
    }

    /// The model's first answer failed the schema and was repaired.
    pub fn record_model_repair(&self) {
        self.model_repairs.fetch_add(1, Relaxed);
    }

    /// Another model answered than the one that the operation names.
    pub fn record_model_fallback(&self) {
        self.model_fallbacks.fetch_add(1, Relaxed);
    }

    /// Generated code ran and used so much fuel.
    pub fn record_fuel(&self, fuel: u64) {
        self.fuel.fetch_add(fuel, Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let fallbacks = FallbackReason::ALL.map(|reason| (reason, self.fallbacks[position(reason)].load(Relaxed)));
        Totals {
            latency: self.latency.map(Histogram::counts),
            fallbacks: fallbacks.into_iter().filter(|(_, count)| *count > 0).collect(),
            errors: self.errors.map(|errors| {
                let errors = errors.read().unwrap_or_else(PoisonError::into_inner);
                errors.iter().map(|(code, count)| (code.clone(), count.load(Relaxed))).collect()
            }),
            input_tokens: self.input_tokens.load(Relaxed),
            output_tokens: self.output_tokens.load(Relaxed),
            cost: NanoUsd(self.cost.load(Relaxed)),
            agreed: self.agreed.load(Relaxed),
            disagreed: self.disagreed.load(Relaxed),
            component_faults: self.component_faults.load(Relaxed),
            model_repairs: self.model_repairs.load(Relaxed),
            model_fallbacks: self.model_fallbacks.load(Relaxed),
            unpriced: self.unpriced.load(Relaxed),
            fuel: self.fuel.load(Relaxed),
        }
    }

    pub(crate) fn add(&self, totals: &Totals) {
        for path in [ServedBy::Component, ServedBy::Model] {
            self.latency.of(path).add(totals.latency.of(path));
            for (code, count) in totals.errors.of(path) {
                self.add_errors(path, code, *count);
            }
        }
        for (reason, count) in &totals.fallbacks {
            self.fallbacks[position(*reason)].fetch_add(*count, Relaxed);
        }
        self.input_tokens.fetch_add(totals.input_tokens, Relaxed);
        self.output_tokens.fetch_add(totals.output_tokens, Relaxed);
        self.cost.fetch_add(totals.cost.0, Relaxed);
        self.agreed.fetch_add(totals.agreed, Relaxed);
        self.disagreed.fetch_add(totals.disagreed, Relaxed);
        self.component_faults.fetch_add(totals.component_faults, Relaxed);
        self.model_repairs.fetch_add(totals.model_repairs, Relaxed);
        self.model_fallbacks.fetch_add(totals.model_fallbacks, Relaxed);
        self.unpriced.fetch_add(totals.unpriced, Relaxed);
        self.fuel.fetch_add(totals.fuel, Relaxed);
    }
}

fn position(reason: FallbackReason) -> usize {
    FallbackReason::ALL.iter().position(|other| *other == reason).unwrap_or(0)
}

/// An operation's counters at one moment, as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    pub(crate) latency: ByPath<Counts>,
    pub(crate) fallbacks: BTreeMap<FallbackReason, u64>,
    pub(crate) errors: ByPath<BTreeMap<String, u64>>,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cost: NanoUsd,
    pub(crate) agreed: u64,
    pub(crate) disagreed: u64,
    pub(crate) component_faults: u64,
    pub(crate) model_repairs: u64,
    pub(crate) model_fallbacks: u64,
    pub(crate) unpriced: u64,
    pub(crate) fuel: u64,
}

impl Totals {
    pub(crate) fn calls(&self) -> ByPath<u64> {
        self.latency.map(Counts::total)
    }

    /// What the model cost, as far as it is known; `None` where no cost is.
    pub(crate) fn known_cost(&self) -> Option<NanoUsd> {
        (self.unpriced == 0 || self.priced() > 0).then_some(self.cost)
    }

    /// What the component's answers would have cost, had the model given them: calls answered by the component times the
    /// mean of the known costs of what the model was asked (calls and audits). 0 while the model has not been asked,
    /// `None` where no cost is known.
    pub(crate) fn saved(&self) -> Option<NanoUsd> {
        self.known_cost()?;
        let saved = u128::from(self.cost.0) * u128::from(self.calls().component);
        let saved = saved.checked_div(self.priced().into()).unwrap_or(0);
        Some(NanoUsd(u64::try_from(saved).unwrap_or(u64::MAX)))
    }

    /// How often the model was asked and the cost is known.
    fn priced(&self) -> u64 {
        let asked = self.calls().model.saturating_add(self.agreed).saturating_add(self.disagreed);
        asked.saturating_sub(self.unpriced)
    }
}

/// What can be dropped on its way to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    Spans,
    Logs,
}

impl Dropped {
    pub(crate) const ALL: [Self; 2] = [Self::Spans, Self::Logs];

    /// The word used in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
        }
    }
}

/// What the host counts over all operations.
#[derive(Debug, Default)]
pub struct HostMetrics {
    in_flight: AtomicU64,
    shed: AtomicU64,
    executions_dropped: AtomicU64,
    events_dropped: AtomicU64,
    refusals: Counters<{ Refusal::ALL.len() }>,
    delivery_refusals: Counters<{ DeliveryRefusal::ALL.len() }>,
    log_lost: AtomicU64,
    telemetry_failed: AtomicU64,
    telemetry_dropped: [AtomicU64; Dropped::ALL.len()],
    traces_dropped: AtomicU64,
    model_requests: ModelRequests,
    tool_calls: ToolCalls,
}

impl HostMetrics {
    /// A request is being worked on, until the value is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// A request was turned away because too much was going on.
    pub fn record_shed(&self) {
        self.shed.fetch_add(1, Relaxed);
    }

    /// A request was turned away, or a model not asked, for what the caller may do or use.
    pub fn record_refused(&self, refusal: Refusal) {
        self.refusals.record(refusal as usize);
    }

    /// An application's event was not delivered to another application.
    pub fn record_delivery_refused(&self, refusal: DeliveryRefusal) {
        self.delivery_refusals.record(refusal as usize);
    }

    /// So many executions were not recorded because the queue was full.
    pub fn record_executions_dropped(&self, count: u64) {
        self.executions_dropped.fetch_add(count, Relaxed);
    }

    /// So many events of executions were not told of because the queue was full.
    pub fn record_events_dropped(&self, count: u64) {
        self.events_dropped.fetch_add(count, Relaxed);
    }

    /// Traces that were not kept: memory was full, or the store refused them.
    pub fn record_traces_dropped(&self, count: u64) {
        self.traces_dropped.fetch_add(count, Relaxed);
    }

    /// So many log records were not kept on disk, because the queue was full or the disk refused them.
    pub fn record_log_lost(&self, count: u64) {
        self.log_lost.fetch_add(count, Relaxed);
    }

    /// A batch of telemetry was not taken by the collector.
    pub(crate) fn record_telemetry_failed(&self) {
        self.telemetry_failed.fetch_add(1, Relaxed);
    }

    /// There was no room to wait for the collector.
    pub(crate) fn record_telemetry_dropped(&self, what: Dropped) {
        self.telemetry_dropped[what as usize].fetch_add(1, Relaxed);
    }

    /// The counters of a tool of an application, from zero if it is new.
    pub fn tool(&self, app: &str, tool: &str) -> Arc<ToolMetrics> {
        self.tool_calls.of(app, tool)
    }

    pub(crate) fn tool_calls(&self) -> &ToolCalls {
        &self.tool_calls
    }

    pub(crate) fn model_requests(&self) -> &ModelRequests {
        &self.model_requests
    }

    /// The counters as they are now.
    pub fn snapshot(&self) -> HostSnapshot {
        HostSnapshot {
            in_flight: self.in_flight.load(Relaxed),
            shed: self.shed.load(Relaxed),
            executions_dropped: self.executions_dropped.load(Relaxed),
            events_dropped: self.events_dropped.load(Relaxed),
            refused: self.refusals.counts(),
            deliveries_refused: self.delivery_refusals.counts(),
            log_lost: self.log_lost.load(Relaxed),
            telemetry_failed: self.telemetry_failed.load(Relaxed),
            telemetry_dropped: Dropped::ALL.map(|what| self.telemetry_dropped[what as usize].load(Relaxed)),
            traces_dropped: self.traces_dropped.load(Relaxed),
        }
    }
}

/// One request that is being worked on.
#[derive(Debug)]
pub struct InFlight(Arc<HostMetrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
