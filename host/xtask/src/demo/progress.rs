//! What has been seen of one operation so far.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nexus_tests::{Api, Reply};
use serde_json::Value;

use super::standing::Standing;

/// What the traffic of an operation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Sends inputs that nobody has seen, for the model to answer.
    Learning,
    /// Repeats known inputs while code is written and checked.
    Waiting,
    /// Sends inputs that no split has seen.
    Unseen,
    /// Is over.
    Over,
}

/// The progress of one operation.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    pub(super) app: String,
    pub(super) operation: String,
    pub(super) phase: Phase,
    /// Round trips of calls that a component answered, in microseconds.
    pub(super) component: Vec<u64>,
    /// Round trips of calls that a model answered, in microseconds.
    pub(super) model: Vec<u64>,
    /// Calls on which a component was asked first and the model answered.
    pub(super) fallbacks: u64,
    pub(super) failures: u64,
    pub(super) last_failure: Option<String>,
    pub(super) standing: Standing,
    /// What an answer of the model costs on average, in US dollars by the configured price.
    pub(super) model_cost_usd: Option<f64>,
    /// An input that the component answered; unseen ones come last and stay.
    pub(super) handled: Option<Value>,
    /// An input on which it abstained.
    pub(super) abstained: Option<Value>,
    /// Any input that was answered.
    pub(super) any: Option<Value>,
}

impl Progress {
    /// `app/operation`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.app, self.operation)
    }

    pub(super) fn calls(&self) -> usize {
        self.component.len() + self.model.len()
    }

    pub(super) fn finished(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(super) fn settled(&self) -> bool {
        self.standing.decided()
    }

    /// Whether nothing went wrong.
    pub(super) fn succeeded(&self) -> bool {
        self.failures == 0
    }

    /// What the component's answers would have cost, in US dollars by the configured price.
    pub(super) fn saved_usd(&self) -> Option<f64> {
        let answers = u32::try_from(self.component.len()).unwrap_or(u32::MAX);
        Some(self.model_cost_usd? * f64::from(answers))
    }

    fn take(&mut self, input: &Value, reply: &Reply) {
        if reply.status != 200 {
            return self.fail(format!("HTTP {}: {}", reply.status, reply.text));
        }
        let micros = u64::try_from(reply.elapsed.as_micros()).unwrap_or(u64::MAX);
        self.any = Some(input.clone());
        if reply.path.as_deref() == Some("component") {
            self.component.push(micros);
            self.handled = Some(input.clone());
            return;
        }
        self.model.push(micros);
        if let Some(reason) = &reply.fallback {
            self.fallbacks += 1;
            if reason == "abstain" {
                self.abstained = Some(input.clone());
            }
        }
    }

    fn fail(&mut self, why: String) {
        self.failures += 1;
        self.last_failure = Some(why);
    }
}

/// The median, if there is any value.
pub(super) fn median(values: &[u64]) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).map(|micros| Duration::from_micros(*micros))
}

/// Progress that threads share.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Progress>>);

impl Shared {
    pub(super) fn new(app: &str, operation: &str) -> Self {
        Self(Arc::new(Mutex::new(Progress {
            app: app.to_owned(),
            operation: operation.to_owned(),
            phase: Phase::Learning,
            component: Vec::new(),
            model: Vec::new(),
            fallbacks: 0,
            failures: 0,
            last_failure: None,
            standing: Standing::default(),
            model_cost_usd: None,
            handled: None,
            abstained: None,
            any: None,
        })))
    }

    /// The progress as it is now. Hold it briefly.
    pub(super) fn read(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.read().phase = phase;
    }

    /// Counts a call.
    pub(super) fn take(&self, input: &Value, reply: anyhow::Result<Reply>) {
        let mut progress = self.read();
        match reply {
            Ok(reply) => progress.take(input, &reply),
            Err(error) => progress.fail(format!("{error:#}")),
        }
    }

    /// Asks the server where the operation stands, and once what its model costs.
    pub(super) fn look(&self, api: &Api) {
        let (app, operation, priced) = {
            let progress = self.read();
            (progress.app.clone(), progress.operation.clone(), progress.model_cost_usd.is_some())
        };
        // Right after the start, and while the server stops, there is no answer; the next look has one.
        let standing = api.optimization(&app, &operation).ok().and_then(|value| serde_json::from_value(value).ok());
        let Some(standing) = standing else { return };
        self.read().standing = standing;
        if !priced && !self.read().component.is_empty() {
            self.read().model_cost_usd = mean_cost_usd(api, &app, &operation);
        }
    }
}

/// The mean cost of the last answers of the model.
fn mean_cost_usd(api: &Api, app: &str, operation: &str) -> Option<f64> {
    let path = format!("/v1/executions?app={app}&operation={operation}&path=model&limit=200");
    let page = api.get(&path).ok()?.success().ok()?;
    let costs = page["executions"].as_array()?.iter().filter_map(|one| one["usage"]["cost_nano_usd"].as_f64());
    let costs: Vec<f64> = costs.collect();
    let count = u32::try_from(costs.len()).ok().filter(|count| *count > 0)?;
    Some(costs.iter().sum::<f64>() / f64::from(count) / 1e9)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[9, 1, 5]), Some(Duration::from_micros(5)));
    }
}
