//! The last day's metrics as series of points.

use std::{collections::BTreeMap, fmt, str::FromStr};

use nexus_model::{OperationRef, ServedBy};

use crate::Window;

/// Points that one answer holds at the most.
const MAX_POINTS: usize = 20_000;
const PATHS: [ServedBy; 2] = [ServedBy::Component, ServedBy::Model];

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident = $word:literal),* $(,)?) => {
        /// What can be asked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $($(#[$doc])* $name,)*
        }

        impl Metric {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word used in queries and answers.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

metrics! {
    /// Calls, by path.
    Calls = "calls",
    /// Failed calls, by path and code.
    Errors = "errors",
    /// Calls that the component passed on to the model, by reason.
    Fallbacks = "fallbacks",
    /// The median time of a call in microseconds, by path.
    LatencyP50 = "latency_p50_us",
    /// The time in microseconds that 90 of 100 calls took no longer than, by path.
    LatencyP90 = "latency_p90_us",
    /// The same for 99 of 100 calls.
    LatencyP99 = "latency_p99_us",
    /// Tokens of prompts.
    InputTokens = "input_tokens",
    /// Tokens of answers.
    OutputTokens = "output_tokens",
    /// What the model cost, in 10⁻⁹ US dollars.
    Cost = "cost_nano_usd",
    /// Fuel that generated code has used.
    Fuel = "fuel",
    /// Audits that agreed.
    AuditsAgreed = "audits_agreed",
    /// Audits that disagreed.
    AuditsDisagreed = "audits_disagreed",
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A metric that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a metric is one of {}", Metric::ALL.iter().map(|metric| format!("`{metric}`")).collect::<Vec<_>>().join(", "))]
pub struct MetricError;

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(text: &str) -> Result<Self, MetricError> {
        Self::ALL.iter().copied().find(|metric| metric.as_str() == text).ok_or(MetricError)
    }
}

/// From when to when, in what steps: minutes since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first minute.
    pub from: u64,
    /// The minute after the last.
    pub to: u64,
    /// Minutes of one point, at least 1.
    pub step: u64,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The first minute of its step.
    pub minute: u64,
    /// Of the whole step: a count, a sum or a quantile.
    pub value: u64,
}

/// The values of one metric of one operation, oldest first. Steps where nothing happened have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The metric.
    pub metric: Metric,
    /// The operation.
    pub operation: OperationRef,
    /// The path, for metrics that are told apart by it.
    pub path: Option<ServedBy>,
    /// The error's code or the reason, for metrics that are told apart by it.
    pub reason: Option<String>,
    /// The values.
    pub points: Vec<Point>,
}

/// The answer would be too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_POINTS} points: ask for a longer step, a shorter time, or one metric or operation")]
pub struct TooManyPoints;

/// The series of these metrics over the operations' windows (each list oldest first); metrics of which there is nothing
/// are left out.
pub fn series(
    operations: &[(OperationRef, Vec<Window>)],
    metrics: &[Metric],
    span: Span,
) -> Result<Vec<Series>, TooManyPoints> {
    let (mut all, mut count) = (Vec::new(), 0);
    for (operation, windows) in operations {
        let steps = steps(windows, span);
        for metric in metrics {
            let mut found: BTreeMap<(Option<ServedBy>, Option<String>), Vec<Point>> = BTreeMap::new();
            for step in &steps {
                for (path, reason, value) in values(step, *metric) {
                    found.entry((path, reason)).or_default().push(Point { minute: step.minute, value });
                    count += 1;
                }
            }
            if count > MAX_POINTS {
                return Err(TooManyPoints);
            }
            all.extend(found.into_iter().map(|((path, reason), points)| Series {
                metric: *metric,
                operation: operation.clone(),
                path,
                reason,
                points,
            }));
        }
    }
    Ok(all)
}

/// One window for each step in which something happened, of the step's first minute.
fn steps(windows: &[Window], span: Span) -> Vec<Window> {
    let mut steps: BTreeMap<u64, Window> = BTreeMap::new();
    for window in windows.iter().filter(|window| (span.from..span.to).contains(&window.minute)) {
        let minute = span.from + (window.minute - span.from) / span.step.max(1) * span.step.max(1);
        let step = steps.entry(minute).or_insert_with(|| Window { minute, ..Window::default() });
        *step = step.plus(window);
    }
    steps.into_values().collect()
}

/// What a window says of a metric, zeros left out.
fn values(window: &Window, metric: Metric) -> Vec<(Option<ServedBy>, Option<String>, u64)> {
    let one = |value| vec![(None, None, value)];
    let by_path = |value: &dyn Fn(ServedBy) -> u64| PATHS.map(|path| (Some(path), None, value(path))).into();
    let quantile = |q| by_path(&|path| window.durations.of(path).quantile(q));
    let mut values: Vec<_> = match metric {
        Metric::Calls => by_path(&|path| *window.calls.of(path)),
        Metric::Errors => PATHS
            .into_iter()
            .flat_map(|path| window.errors.of(path).iter().map(move |(code, count)| (path, code, *count)))
            .map(|(path, code, count)| (Some(path), Some(code.clone()), count))
            .collect(),
        Metric::Fallbacks => {
            let reasons = window.fallbacks.iter();
            reasons.map(|(reason, count)| (None, Some(reason.as_str().to_owned()), *count)).collect()
        }
        Metric::LatencyP50 => quantile(0.5),
        Metric::LatencyP90 => quantile(0.9),
        Metric::LatencyP99 => quantile(0.99),
        Metric::InputTokens => one(window.tokens.input),
        Metric::OutputTokens => one(window.tokens.output),
        Metric::Cost => one(window.cost.0),
        Metric::Fuel => one(window.fuel),
        Metric::AuditsAgreed => one(window.agreed),
        Metric::AuditsDisagreed => one(window.disagreed),
    };
    values.retain(|(_, _, value)| *value > 0);
    values
}

#[cfg(test)]
mod tests {
    use nexus_model::{OperationRef, ServedBy};

    use super::{Metric, Point, Span, TooManyPoints, series};
    use crate::{ByPath, Window};

    fn operation() -> OperationRef {
        OperationRef { app: "support".parse().unwrap(), operation: "classify".parse().unwrap() }
    }

    fn window(minute: u64, model: u64) -> Window {
        let mut window = Window { minute, calls: ByPath { component: 0, model }, ..Window::default() };
        window.errors.model.insert("timeout".to_owned(), 1);
        window
    }

    #[test]
    fn steps_add_up_what_lies_in_them() {
        let windows: Vec<_> = [(10, 1), (11, 2), (14, 3), (15, 4), (20, 5)].map(|(minute, n)| window(minute, n)).into();
        let found = series(
            &[(operation(), windows)],
            &[Metric::Calls, Metric::Errors, Metric::Fuel],
            Span { from: 11, to: 20, step: 4 },
        );
        let found = found.unwrap();
        let [calls, errors] = &found[..] else { panic!("{found:?}") };
        assert_eq!((calls.metric, calls.path), (Metric::Calls, Some(ServedBy::Model)));
        assert_eq!(calls.points, [Point { minute: 11, value: 5 }, Point { minute: 15, value: 4 }]);
        assert_eq!((errors.reason.as_deref(), errors.points.len()), (Some("timeout"), 2));
    }

    #[test]
    fn an_answer_has_a_bound() {
        let windows: Vec<_> = (0..1_440).map(|minute| window(minute, 1)).collect();
        let many = vec![(operation(), windows); 20];
        let span = |step| Span { from: 0, to: 1_440, step };
        assert_eq!(series(&many, &[Metric::Calls], span(1)), Err(TooManyPoints));
        assert_eq!(series(&many, &[Metric::Calls], span(60)).unwrap().len(), 20);
    }

    #[test]
    fn metrics_are_read_as_they_are_written() {
        for metric in Metric::ALL {
            assert_eq!(metric.as_str().parse(), Ok(*metric));
        }
        assert!("latency".parse::<Metric>().unwrap_err().to_string().contains("`latency_p50_us`"));
    }
}
