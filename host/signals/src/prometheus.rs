//! Metrics as Prometheus reads them.

use std::fmt;

use nexus_model::{OperationRef, ServedBy};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet, text::encode},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use crate::{histogram::Counts, operation::Totals, refusals::Refusal, snapshot::HostSnapshot};

/// Upper bounds of the histogram's buckets: 2^4 µs to 2^26 µs (67 s).
const FIRST_POWER: u32 = 4;
const LAST_POWER: u32 = 26;
const PATHS: [ServedBy; 2] = [ServedBy::Component, ServedBy::Model];

type Labels<'a> = Vec<(&'static str, &'a str)>;

pub(crate) fn text(operations: Vec<(OperationRef, Totals)>, host: HostSnapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { operations, host }));
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        tracing::error!(%error, "metrics could not be written");
    }
    text
}

#[derive(Debug)]
struct Scrape {
    operations: Vec<(OperationRef, Totals)>,
    host: HostSnapshot,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.calls(&mut encoder)?;
        self.durations(&mut encoder)?;
        self.failures(&mut encoder)?;
        self.model(&mut encoder)?;
        self.audits(&mut encoder)?;
        self.host(&mut encoder)
    }
}

impl Scrape {
    fn calls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Calls of an operation, by the path that answered or failed last";
        self.counter(encoder, "nexus_operation_calls", help, None, |totals| {
            let calls = totals.calls();
            PATHS.map(|path| (vec![("path", path.as_str())], *calls.of(path))).into()
        })
    }

    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = ("nexus_operation_duration", "Time from a call's arrival to its answer");
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (operation, totals) in &self.operations {
            for path in PATHS {
                let labels = labels(operation, &[("path", path.as_str())]);
                histogram(family.encode_family(&labels)?, totals.latency.of(path))?;
            }
        }
        Ok(())
    }

    fn failures(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.counter(encoder, "nexus_operation_errors", "Failed calls, by code", None, |totals| {
            totals.errors.iter().map(|(code, count)| (vec![("code", &**code)], *count)).collect()
        })?;
        let help = "Calls that the component passed on to the model, by reason";
        self.counter(encoder, "nexus_operation_fallbacks", help, None, |totals| {
            let fallbacks = totals.fallbacks.iter();
            fallbacks.map(|(reason, count)| (vec![("reason", reason.as_str())], *count)).collect()
        })?;
        let help = "Traps, deadlines and limits of the component";
        self.counter(encoder, "nexus_operation_component_faults", help, None, |totals| {
            vec![(Vec::new(), totals.component_faults)]
        })
    }

    fn model(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.counter(encoder, "nexus_operation_tokens", "Tokens of the model", None, |totals| {
            let (input, output) = (totals.input_tokens, totals.output_tokens);
            vec![(vec![("direction", "input")], input), (vec![("direction", "output")], output)]
        })?;
        let usd = Unit::Other("usd".into());
        let help = "What the model cost, as far as it is known";
        self.counter(encoder, "nexus_operation_cost", help, Some(&usd), |totals| {
            totals.known_cost().map(|cost| (Vec::new(), cost.usd())).into_iter().collect()
        })?;
        let help = "Uses of the model whose cost is not known";
        self.counter(encoder, "nexus_operation_unpriced", help, None, |totals| vec![(Vec::new(), totals.unpriced)])?;
        let help = "Answers of another model than the operation names";
        self.counter(encoder, "nexus_operation_model_fallbacks", help, None, |totals| {
            vec![(Vec::new(), totals.model_fallbacks)]
        })?;
        let help = "Answers of the model that failed the schema and were repaired";
        self.counter(encoder, "nexus_operation_model_repairs", help, None, |totals| {
            vec![(Vec::new(), totals.model_repairs)]
        })?;
        let help = "What the component saved: its calls times the model's mean cost";
        let mut saved = encoder.encode_descriptor("nexus_operation_saved", help, Some(&usd), MetricType::Gauge)?;
        for (operation, totals) in &self.operations {
            if let Some(amount) = totals.saved() {
                saved.encode_family(&labels(operation, &[]))?.encode_gauge(&amount.usd())?;
            }
        }
        Ok(())
    }

    fn audits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Component answers that the model was asked again about, by result";
        self.counter(encoder, "nexus_operation_audits", help, None, |totals| {
            vec![(vec![("result", "agreed")], totals.agreed), (vec![("result", "disagreed")], totals.disagreed)]
        })
    }

    fn host(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests being worked on";
        encoder
            .encode_descriptor("nexus_requests_in_flight", help, None, MetricType::Gauge)?
            .encode_gauge(&self.host.in_flight)?;
        let help = "Requests turned away because too much was going on";
        plain_counter(encoder, "nexus_requests_shed", help, self.host.shed)?;
        let help = "Executions not recorded because the queue was full";
        plain_counter(encoder, "nexus_executions_dropped", help, self.host.executions_dropped)?;
        let help = "Events of executions not told of because the queue was full";
        plain_counter(encoder, "nexus_events_dropped", help, self.host.events_dropped)?;
        let help = "Requests turned away, and models not asked, for what the caller may do or use, by reason";
        let mut refused = encoder.encode_descriptor("nexus_requests_refused", help, None, MetricType::Counter)?;
        for (reason, count) in Refusal::ALL.into_iter().zip(self.host.refused) {
            refused
                .encode_family(&[("reason", reason.as_str())])?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        Ok(())
    }

    /// One counter per operation and set of labels.
    fn counter<V: EncodeCounterValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl for<'t> Fn(&'t Totals) -> Vec<(Labels<'t>, V)>,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (operation, totals) in &self.operations {
            for (more, value) in samples(totals) {
                let labels = labels(operation, &more);
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
            }
        }
        Ok(())
    }
}

fn labels<'a>(operation: &'a OperationRef, more: &[(&'static str, &'a str)]) -> Labels<'a> {
    let mut labels = vec![("app", operation.app.as_str()), ("operation", operation.operation.as_str())];
    labels.extend_from_slice(more);
    labels
}

fn plain_counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    counter.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds, shown as seconds")]
fn histogram(mut encoder: MetricEncoder<'_>, counts: &Counts) -> fmt::Result {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let mut buckets: Vec<_> =
        counts.powers_of_two(FIRST_POWER, LAST_POWER).map(|(bound, count)| (seconds(bound), count)).collect();
    let below: u64 = buckets.iter().map(|(_, count)| count).sum();
    let total = counts.total();
    buckets.push((f64::INFINITY, total - below));
    encoder.encode_histogram::<NoLabelSet>(seconds(counts.sum_micros), total, &buckets, None)
}
