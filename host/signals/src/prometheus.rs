//! Metrics as Prometheus reads them.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode},
    metrics::MetricType,
    registry::Registry,
};

use crate::families::{Buckets, Family, LabelValue, Labels, Number, Samples, Unit};

pub(crate) fn text(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(families)));
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        tracing::error!(%error, "metrics could not be written");
    }
    text
}

#[derive(Debug)]
struct Scrape(Vec<Family>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| write(&mut encoder, family))
    }
}

fn write(encoder: &mut DescriptorEncoder<'_>, family: &Family) -> fmt::Result {
    let name = family.name.replace('.', "_");
    let unit = family.unit.and_then(|unit| match unit {
        Unit::Seconds => Some(prometheus_client::registry::Unit::Seconds),
        Unit::Usd => Some(prometheus_client::registry::Unit::Other("usd".into())),
        // A count of things has no unit in a name.
        Unit::Tokens => None,
    });
    let kind = match family.samples {
        Samples::Counter(_) => MetricType::Counter,
        Samples::Gauge(_) => MetricType::Gauge,
        Samples::Histogram(_) => MetricType::Histogram,
    };
    let mut metric = encoder.encode_descriptor(&name, family.help, unit.as_ref(), kind)?;
    match &family.samples {
        Samples::Counter(samples) => each(&mut metric, samples, counter),
        Samples::Gauge(samples) => each(&mut metric, samples, gauge),
        Samples::Histogram(samples) => each(&mut metric, samples, histogram),
    }
}

fn each<V>(
    metric: &mut MetricEncoder<'_>,
    samples: &[(Labels, V)],
    write: fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
) -> fmt::Result {
    for (labels, value) in samples {
        if labels.is_empty() {
            write(metric, value)?;
        } else {
            write(&mut metric.encode_family(&labels.iter().map(label).collect::<Vec<_>>())?, value)?;
        }
    }
    Ok(())
}

fn label((name, value): &(&'static str, LabelValue)) -> (String, String) {
    let value = match value {
        LabelValue::Text(text) => text.clone(),
        LabelValue::Whole(number) => number.to_string(),
    };
    (name.replace('.', "_"), value)
}

fn counter(metric: &mut MetricEncoder<'_>, value: &Number) -> fmt::Result {
    match value {
        Number::Whole(value) => metric.encode_counter::<NoLabelSet, _, f64>(value, None),
        Number::Real(value) => metric.encode_counter::<NoLabelSet, _, f64>(value, None),
    }
}

fn gauge(metric: &mut MetricEncoder<'_>, value: &Number) -> fmt::Result {
    match value {
        Number::Whole(value) => metric.encode_gauge(value),
        Number::Real(value) => metric.encode_gauge(value),
    }
}

fn histogram(metric: &mut MetricEncoder<'_>, value: &Buckets) -> fmt::Result {
    let mut buckets = value.below.clone();
    buckets.push((f64::INFINITY, value.above()));
    metric.encode_histogram::<NoLabelSet>(value.sum, value.total, &buckets, None)
}
