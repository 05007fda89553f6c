//! The last day, minute by minute.

use std::collections::{BTreeMap, VecDeque};

use nexus_model::{FallbackReason, NanoUsd, ServedBy};
use serde::{Deserialize, Serialize};

use crate::{
    histogram::Durations,
    operation::Totals,
    snapshot::{ByPath, Tokens},
};

/// Minutes that are kept.
pub(crate) const MINUTES: u64 = 24 * 60;

/// What happened to an operation within one minute. A count belongs to the minute in which it was first flushed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// The minute, counted from 1970-01-01 00:00 UTC.
    pub minute: u64,
    /// Calls.
    pub calls: ByPath<u64>,
    /// How long they took.
    pub durations: ByPath<Durations>,
    /// Failed calls by code.
    pub errors: ByPath<BTreeMap<String, u64>>,
    /// Calls that the component passed on to the model, by reason.
    pub fallbacks: BTreeMap<FallbackReason, u64>,
    /// Tokens of the model.
    pub tokens: Tokens,
    /// What the model cost.
    pub cost: NanoUsd,
    /// Fuel that generated code has used.
    pub fuel: u64,
    /// Audits that agreed.
    pub agreed: u64,
    /// Audits that disagreed.
    pub disagreed: u64,
}

impl Window {
    fn between(minute: u64, from: &Totals, to: &Totals) -> Self {
        let component = to.latency.component.since(&from.latency.component);
        let model = to.latency.model.since(&from.latency.model);
        let latency = ByPath { component, model };
        let grown = |count: fn(&Totals) -> u64| count(to).saturating_sub(count(from));
        let errors = |path| more(to.errors.of(path), from.errors.of(path));
        Self {
            minute,
            calls: latency.map(crate::histogram::Counts::total),
            durations: latency.map(|counts| Durations::from(counts)),
            errors: ByPath { component: errors(ServedBy::Component), model: errors(ServedBy::Model) },
            fallbacks: more(&to.fallbacks, &from.fallbacks),
            tokens: Tokens { input: grown(|totals| totals.input_tokens), output: grown(|totals| totals.output_tokens) },
            cost: NanoUsd(grown(|totals| totals.cost.0)),
            fuel: grown(|totals| totals.fuel),
            agreed: grown(|totals| totals.agreed),
            disagreed: grown(|totals| totals.disagreed),
        }
    }

    /// Both together, of this one's minute.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let calls = |path| self.calls.of(path) + other.calls.of(path);
        let durations = |path| self.durations.of(path).plus(other.durations.of(path));
        let errors = |path| sum(self.errors.of(path), other.errors.of(path));
        let (component, model) = (ServedBy::Component, ServedBy::Model);
        Self {
            minute: self.minute,
            calls: ByPath { component: calls(component), model: calls(model) },
            durations: ByPath { component: durations(component), model: durations(model) },
            errors: ByPath { component: errors(component), model: errors(model) },
            fallbacks: sum(&self.fallbacks, &other.fallbacks),
            tokens: Tokens {
                input: self.tokens.input + other.tokens.input,
                output: self.tokens.output + other.tokens.output,
            },
            cost: self.cost + other.cost,
            fuel: self.fuel + other.fuel,
            agreed: self.agreed + other.agreed,
            disagreed: self.disagreed + other.disagreed,
        }
    }
}

/// What came on top of `from`, without zeros.
fn more<K: Ord + Clone>(to: &BTreeMap<K, u64>, from: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let grown = to.iter().map(|(key, count)| (key.clone(), count.saturating_sub(from.get(key).copied().unwrap_or(0))));
    grown.filter(|(_, count)| *count > 0).collect()
}

fn sum<K: Ord + Clone>(first: &BTreeMap<K, u64>, second: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let mut both = first.clone();
    for (key, count) in second {
        *both.entry(key.clone()).or_default() += count;
    }
    both
}

/// The windows of one operation, and where the present one began.
#[derive(Debug, Default)]
pub(crate) struct History {
    windows: VecDeque<Window>,
    minute: u64,
    /// The totals at the beginning of `minute`.
    begun: Totals,
    /// The totals at the last roll.
    rolled: Totals,
    /// What `minute` had before a restart.
    carried: Option<Window>,
    /// Windows before this minute are in the store.
    saved_until: u64,
    /// Whether the store lacks something.
    unsaved: bool,
}

impl History {
    pub(crate) fn restored(totals: Totals, windows: impl IntoIterator<Item = Window>) -> Self {
        let windows: VecDeque<Window> = windows.into_iter().collect();
        let saved_until = windows.back().map_or(0, |window| window.minute);
        Self { windows, begun: totals.clone(), rolled: totals, saved_until, ..Self::default() }
    }

    /// Brings the window of `minute` up to date.
    pub(crate) fn roll(&mut self, totals: Totals, minute: u64) {
        let last = self.windows.back().map_or(0, |window| window.minute);
        let minute = minute.max(last).max(self.minute);
        if minute != self.minute {
            self.minute = minute;
            self.begun = self.rolled.clone();
            self.carried = self.windows.back().filter(|window| window.minute == minute).cloned();
        }
        if self.rolled != totals {
            let window = Window::between(minute, &self.begun, &totals);
            let window = if let Some(carried) = &self.carried { window.plus(carried) } else { window };
            if last == minute {
                self.windows.pop_back();
            }
            self.windows.push_back(window);
            self.rolled = totals;
            self.unsaved = true;
        }
        while self.windows.front().is_some_and(|window| window.minute + MINUTES <= minute) {
            self.windows.pop_front();
        }
    }

    /// The windows, oldest first. Minutes without calls have none.
    pub(crate) fn windows(&self) -> Vec<Window> {
        self.windows.iter().cloned().collect()
    }

    /// The totals and windows that the store lacks, if it lacks any. The caller tells [`History::saved`] what became of
    /// them.
    pub(crate) fn take_unsaved(&mut self) -> Option<(Totals, Vec<Window>)> {
        let unsaved = self.windows.iter().filter(|window| window.minute >= self.saved_until);
        std::mem::take(&mut self.unsaved).then(|| (self.rolled.clone(), unsaved.cloned().collect()))
    }

    /// Windows up to `minute` have been written, or could not be.
    pub(crate) fn saved(&mut self, minute: u64, written: bool) {
        if written {
            // The minute may still grow.
            self.saved_until = self.saved_until.max(minute);
        } else {
            self.unsaved = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use nexus_model::ServedBy;

    use super::{History, MINUTES};
    use crate::OperationMetrics;

    #[test]
    fn each_call_is_in_one_window() {
        let (metrics, mut history) = (OperationMetrics::default(), History::default());
        for (minute, calls) in [(10, 3), (10, 2), (11, 4), (9, 1), (13, 0), (14, 5)] {
            (0..calls).for_each(|_| metrics.record_call(ServedBy::Model, 100));
            history.roll(metrics.totals(), minute);
        }
        let windows: Vec<_> = history.windows().iter().map(|window| (window.minute, window.calls.model)).collect();
        assert_eq!(windows, [(10, 5), (11, 5), (14, 5)], "a clock that goes back stays in its minute");
    }

    #[test]
    fn a_day_is_kept() {
        let (metrics, mut history) = (OperationMetrics::default(), History::default());
        for minute in 1..=2 * MINUTES {
            metrics.record_call(ServedBy::Component, 1);
            history.roll(metrics.totals(), minute);
        }
        assert_eq!(history.windows().len() as u64, MINUTES);
        assert_eq!(history.windows()[0].minute, MINUTES + 1);
    }

    #[test]
    fn a_minute_goes_on_after_a_restart() {
        let (metrics, mut history) = (OperationMetrics::default(), History::default());
        metrics.record_call(ServedBy::Model, 100);
        history.roll(metrics.totals(), 7);
        let mut history = History::restored(metrics.totals(), history.windows());
        for _ in 0..2 {
            metrics.record_call(ServedBy::Model, 100);
            history.roll(metrics.totals(), 7);
        }
        let windows: Vec<_> = history.windows().iter().map(|window| (window.minute, window.calls.model)).collect();
        assert_eq!(windows, [(7, 3)]);
    }
}
