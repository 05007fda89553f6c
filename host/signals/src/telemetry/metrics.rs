//! Metrics for the collector: the same that Prometheus reads, pushed.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::{SCOPE, Telemetry};
use crate::{
    MetricCollector,
    families::{Buckets, Family, LabelValue, Labels, Number, Samples, Unit},
};

impl Telemetry {
    /// Exports all metrics again and again, and once more at the end.
    pub async fn push_metrics(self, metrics: std::sync::Arc<MetricCollector>, cancel: CancellationToken) {
        let started = nanos(SystemTime::now());
        loop {
            let last = tokio::select! {
                () = cancel.cancelled() => true,
                () = tokio::time::sleep(self.every) => false,
            };
            let request = self.request(metrics.families(), started, nanos(SystemTime::now()));
            self.courier.post("/v1/metrics", request.encode_to_vec()).await;
            if last {
                return;
            }
        }
    }

    fn request(&self, families: Vec<Family>, started: u64, now: u64) -> ExportMetricsServiceRequest {
        let attributes = self.resource.iter().map(|(name, value)| attribute(name.as_str(), text(value.to_string())));
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        let scope = InstrumentationScope { name: SCOPE.to_owned(), ..InstrumentationScope::default() };
        let metrics = families.into_iter().map(|family| metric(family, started, now)).collect();
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
        let all = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![all] }
    }
}

fn metric(family: Family, started: u64, now: u64) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.samples {
        Samples::Counter(samples) => Data::Sum(Sum {
            data_points: samples.into_iter().map(|(labels, value)| point(labels, value, started, now)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Samples::Gauge(samples) => Data::Gauge(Gauge {
            data_points: samples.into_iter().map(|(labels, value)| point(labels, value, 0, now)).collect(),
        }),
        Samples::Histogram(samples) => Data::Histogram(Histogram {
            data_points: samples.into_iter().map(|(labels, value)| buckets(labels, &value, started, now)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    let unit = match family.unit {
        Some(Unit::Seconds) => "s",
        Some(Unit::Usd) => "{USD}",
        Some(Unit::Tokens) => "{token}",
        None => "1",
    };
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn point(labels: Labels, value: Number, started: u64, now: u64) -> NumberDataPoint {
    let value = match value {
        Number::Whole(value) => number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX)),
        Number::Real(value) => number_data_point::Value::AsDouble(value),
    };
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: started,
        time_unix_nano: now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn buckets(labels: Labels, value: &Buckets, started: u64, now: u64) -> HistogramDataPoint {
    let counts = value.below.iter().map(|(_, count)| *count);
    HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: started,
        time_unix_nano: now,
        count: value.total,
        sum: Some(value.sum),
        bucket_counts: counts.chain([value.above()]).collect(),
        explicit_bounds: value.below.iter().map(|(bound, _)| *bound).collect(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    let value = |value| match value {
        LabelValue::Text(value) => text(value),
        LabelValue::Whole(number) => any_value::Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)),
    };
    labels.into_iter().map(|(name, label)| attribute(name, value(label))).collect()
}

fn text(value: String) -> any_value::Value {
    any_value::Value::StringValue(value)
}

fn attribute(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
