//! Counts calls of tools. Not kept over a restart, as Prometheus and collectors expect of counters.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    families::{Buckets, Family, Labels, Number, Samples, Unit},
    histogram::Histogram,
};

/// Tools that are counted apart; all others count as one.
const MAX_TOOLS: usize = 10_000;

/// The counters of one tool of one application. Recording takes no lock, but for an error's code.
#[derive(Debug, Default)]
pub struct ToolMetrics {
    latency: Histogram,
    errors: RwLock<BTreeMap<&'static str, AtomicU64>>,
}

impl ToolMetrics {
    /// A call ended after so many microseconds, and with this error if it had no result. The code is a stable word.
    pub fn record(&self, duration_us: u64, error: Option<&'static str>) {
        self.latency.record(duration_us);
        let Some(code) = error else { return };
        if let Some(count) = self.errors.read().unwrap_or_else(PoisonError::into_inner).get(code) {
            count.fetch_add(1, Relaxed);
            return;
        }
        let mut errors = self.errors.write().unwrap_or_else(PoisonError::into_inner);
        errors.entry(code).or_default().fetch_add(1, Relaxed);
    }
}

type ByName = BTreeMap<String, Arc<ToolMetrics>>;

/// All tools that were called.
#[derive(Debug, Default)]
pub(crate) struct ToolCalls {
    apps: RwLock<BTreeMap<String, ByName>>,
    others: Arc<ToolMetrics>,
}

impl ToolCalls {
    pub(crate) fn of(&self, app: &str, tool: &str) -> Arc<ToolMetrics> {
        let known = |apps: &BTreeMap<String, ByName>| apps.get(app)?.get(tool).cloned();
        if let Some(metrics) = known(&self.apps.read().unwrap_or_else(PoisonError::into_inner)) {
            return metrics;
        }
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = known(&apps) {
            return metrics;
        }
        if apps.values().map(BTreeMap::len).sum::<usize>() >= MAX_TOOLS {
            return Arc::clone(&self.others);
        }
        Arc::clone(apps.entry(app.to_owned()).or_default().entry(tool.to_owned()).or_default())
    }

    pub(crate) fn families(&self) -> [Family; 3] {
        let (mut calls, mut durations, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let mut tell = |app: &str, tool: &str, metrics: &ToolMetrics| {
            let labels: Labels = vec![("app", app.into()), ("tool", tool.into())];
            let counts = metrics.latency.counts();
            for (code, count) in metrics.errors.read().unwrap_or_else(PoisonError::into_inner).iter() {
                let labels = labels.iter().cloned().chain([("code", (*code).into())]).collect();
                errors.push((labels, Number::Whole(count.load(Relaxed))));
            }
            calls.push((labels.clone(), Number::Whole(counts.total())));
            durations.push((labels, Buckets::of(&counts)));
        };
        for (app, tools) in self.apps.read().unwrap_or_else(PoisonError::into_inner).iter() {
            for (tool, metrics) in tools {
                tell(app, tool, metrics);
            }
        }
        if self.others.latency.counts().total() > 0 {
            tell("other", "other", &self.others);
        }
        let family = |name, help, unit, samples| Family { name, help, unit, samples };
        [
            family("nexus.tool.calls", "Calls of a tool", None, Samples::Counter(calls)),
            family(
                "nexus.tool.duration",
                "Time from a tool's call to its end",
                Some(Unit::Seconds),
                Samples::Histogram(durations),
            ),
            family("nexus.tool.errors", "Calls of a tool without a result, by code", None, Samples::Counter(errors)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_TOOLS, ToolCalls};
    use crate::prometheus;

    #[test]
    fn each_tool_is_counted_and_no_more_than_there_is_room_for() {
        let calls = ToolCalls::default();
        for tool in 0..MAX_TOOLS + 2 {
            calls.of("shop", &format!("orders.t{tool}")).record(1_500, None);
        }
        calls.of("shop", "orders.t7").record(3, Some("tool_error"));
        let text = prometheus::text(calls.families().into());
        assert!(text.contains("nexus_tool_calls_total{app=\"shop\",tool=\"orders.t7\"} 2"), "{}", &text[..500]);
        assert!(text.contains("nexus_tool_errors_total{app=\"shop\",tool=\"orders.t7\",code=\"tool_error\"} 1"));
        assert!(text.contains("nexus_tool_calls_total{app=\"other\",tool=\"other\"} 2"));
        assert!(text.contains("nexus_tool_duration_seconds_count{app=\"shop\",tool=\"orders.t1\"} 1"));
    }
}
