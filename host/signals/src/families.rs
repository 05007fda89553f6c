//! All metrics by name, for Prometheus and for a collector alike.

use nexus_model::{OperationRef, ServedBy};

use crate::{
    HostMetrics,
    histogram::Counts,
    operation::{Dropped, Totals},
    refusals::{DeliveryRefusal, Refusal},
    snapshot::HostSnapshot,
};

/// Upper bounds of the histogram's buckets: 2^4 µs to 2^26 µs (67 s).
const FIRST_POWER: u32 = 4;
const LAST_POWER: u32 = 26;
const PATHS: [ServedBy; 2] = [ServedBy::Component, ServedBy::Model];

pub(crate) type Labels = Vec<(&'static str, LabelValue)>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LabelValue {
    Text(String),
    Whole(u64),
}

impl From<&str> for LabelValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A metric and all its values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Family {
    /// Words with dots between, as those of labels; Prometheus writes `_` for each, and the unit and `_total` behind it.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) unit: Option<Unit>,
    pub(crate) samples: Samples,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Usd,
    Tokens,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Samples {
    Counter(Vec<(Labels, Number)>),
    Gauge(Vec<(Labels, Number)>),
    Histogram(Vec<(Labels, Buckets)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    Real(f64),
}

/// A histogram, in the unit of its family.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Buckets {
    /// Upper bounds and what lies below them and above the bound before.
    pub(crate) below: Vec<(f64, u64)>,
    pub(crate) total: u64,
    pub(crate) sum: f64,
}

impl Buckets {
    #[expect(clippy::cast_precision_loss, reason = "microseconds, shown as seconds")]
    pub(crate) fn of(counts: &Counts) -> Self {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let below = counts.powers_of_two(FIRST_POWER, LAST_POWER).map(|(bound, count)| (seconds(bound), count));
        Self { below: below.collect(), total: counts.total(), sum: seconds(counts.sum_micros) }
    }

    /// What lies above the last bound.
    pub(crate) fn above(&self) -> u64 {
        self.total.saturating_sub(self.below.iter().map(|(_, count)| count).sum())
    }
}

/// Every metric that there is.
pub(crate) fn families(operations: &[(OperationRef, Totals)], host: &HostMetrics) -> Vec<Family> {
    let mut all = of_operations(operations);
    all.extend(host.model_requests().families());
    all.extend(host.tool_calls().families());
    all.extend(of_host(host.snapshot()));
    all
}

fn of_operations(operations: &[(OperationRef, Totals)]) -> Vec<Family> {
    let counter = |name, help, unit, of: fn(&Totals) -> Vec<(Labels, Number)>| Family {
        name,
        help,
        unit,
        samples: Samples::Counter(each(operations, of)),
    };
    vec![
        counter(
            "nexus.operation.calls",
            "Calls of an operation, by the path that answered or failed last",
            None,
            |t| PATHS.map(|path| (by_path(path), whole(*t.calls().of(path)))).into(),
        ),
        Family {
            name: "nexus.operation.duration",
            help: "Time from a call's arrival to its answer",
            unit: Some(Unit::Seconds),
            samples: Samples::Histogram(each(operations, |t| {
                PATHS.map(|path| (by_path(path), Buckets::of(t.latency.of(path)))).into()
            })),
        },
        counter("nexus.operation.errors", "Failed calls, by path and code", None, |t| {
            let of = |path| t.errors.of(path).iter().map(move |(code, count)| (path, code, *count));
            let all = PATHS.into_iter().flat_map(of);
            all.map(|(path, code, count)| (with(by_path(path), "code", code), whole(count))).collect()
        }),
        counter("nexus.operation.fallbacks", "Calls that the component passed on to the model, by reason", None, |t| {
            t.fallbacks.iter().map(|(reason, count)| (label("reason", reason.as_str()), whole(*count))).collect()
        }),
        counter("nexus.operation.component.faults", "Traps, deadlines and limits of the component", None, |t| {
            vec![(Labels::new(), whole(t.component_faults))]
        }),
        counter("nexus.operation.fuel", "Fuel that generated code has used", None, |t| {
            vec![(Labels::new(), whole(t.fuel))]
        }),
        counter("nexus.operation.tokens", "Tokens of the model", None, |t| {
            vec![
                (label("direction", "input"), whole(t.input_tokens)),
                (label("direction", "output"), whole(t.output_tokens)),
            ]
        }),
        counter("nexus.operation.cost", "What the model cost, as far as it is known", Some(Unit::Usd), |t| {
            t.known_cost().map(|cost| (Labels::new(), Number::Real(cost.usd()))).into_iter().collect()
        }),
        counter("nexus.operation.unpriced", "Uses of the model whose cost is not known", None, |t| {
            vec![(Labels::new(), whole(t.unpriced))]
        }),
        counter("nexus.operation.model.fallbacks", "Answers of another model than the operation names", None, |t| {
            vec![(Labels::new(), whole(t.model_fallbacks))]
        }),
        counter(
            "nexus.operation.model.repairs",
            "Answers of the model that failed the schema and were repaired",
            None,
            |t| vec![(Labels::new(), whole(t.model_repairs))],
        ),
        Family {
            name: "nexus.operation.saved",
            help: "What the component saved: its calls times the model's mean cost",
            unit: Some(Unit::Usd),
            samples: Samples::Gauge(each(operations, |t| {
                t.saved().map(|saved| (Labels::new(), Number::Real(saved.usd()))).into_iter().collect()
            })),
        },
        counter(
            "nexus.operation.audits",
            "Component answers that the model was asked again about, by result",
            None,
            |t| vec![(label("result", "agreed"), whole(t.agreed)), (label("result", "disagreed"), whole(t.disagreed))],
        ),
    ]
}

fn of_host(host: HostSnapshot) -> [Family; 10] {
    let counter = |name, help, value| {
        let samples = Samples::Counter(vec![(Labels::new(), whole(value))]);
        Family { name, help, unit: None, samples }
    };
    let by = |name, help, more, counts: Vec<(&'static str, u64)>| {
        let samples = counts.into_iter().map(|(which, count)| (label(more, which), whole(count)));
        Family { name, help, unit: None, samples: Samples::Counter(samples.collect()) }
    };
    [
        Family {
            name: "nexus.requests.in_flight",
            help: "Requests being worked on",
            unit: None,
            samples: Samples::Gauge(vec![(Labels::new(), whole(host.in_flight))]),
        },
        counter("nexus.requests.shed", "Requests turned away because too much was going on", host.shed),
        by(
            "nexus.requests.refused",
            "Requests turned away, and models not asked, for what the caller may do or use, by reason",
            "reason",
            Refusal::ALL.map(Refusal::as_str).into_iter().zip(host.refused).collect(),
        ),
        by(
            "nexus.events.refused",
            "Deliveries of events to another application that the definitions do not permit, by reason",
            "reason",
            DeliveryRefusal::ALL.map(DeliveryRefusal::as_str).into_iter().zip(host.deliveries_refused).collect(),
        ),
        counter(
            "nexus.executions.dropped",
            "Executions not recorded because the queue was full",
            host.executions_dropped,
        ),
        counter(
            "nexus.events.dropped",
            "Events of executions not told of because the queue was full",
            host.events_dropped,
        ),
        counter(
            "nexus.traces.dropped",
            "Traces not kept because memory was full while the store was out of reach",
            host.traces_dropped,
        ),
        counter(
            "nexus.log.records.lost",
            "Log records not kept on disk because the queue was full or the disk refused them",
            host.log_lost,
        ),
        counter(
            "nexus.telemetry.batches.failed",
            "Batches of telemetry that the collector did not take",
            host.telemetry_failed,
        ),
        by(
            "nexus.telemetry.dropped",
            "Spans and log records not exported because too many waited for the collector",
            "signal",
            Dropped::ALL.map(Dropped::as_str).into_iter().zip(host.telemetry_dropped).collect(),
        ),
    ]
}

/// The samples of all operations, each with the operation's labels in front.
fn each<V>(operations: &[(OperationRef, Totals)], of: impl Fn(&Totals) -> Vec<(Labels, V)>) -> Vec<(Labels, V)> {
    let mut samples = Vec::new();
    for (operation, totals) in operations {
        for (more, value) in of(totals) {
            let mut labels =
                vec![("app", operation.app.as_str().into()), ("operation", operation.operation.as_str().into())];
            labels.extend(more);
            samples.push((labels, value));
        }
    }
    samples
}

fn whole(count: u64) -> Number {
    Number::Whole(count)
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.into())]
}

fn by_path(path: ServedBy) -> Labels {
    label("path", path.as_str())
}

fn with(mut labels: Labels, name: &'static str, value: &str) -> Labels {
    labels.push((name, value.into()));
    labels
}
