//! Where traces, metrics and logs are exported to.

use std::{collections::BTreeMap, time::Duration};

use nexus_signals::TelemetrySettings as Exported;
use serde::{Deserialize, Serialize};

use super::duration;
use crate::environment::Environment;

/// Export of traces, metrics and logs by OTLP. Off unless an endpoint is set here or in `OTEL_EXPORTER_OTLP_ENDPOINT`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// The base of the collector's URLs, as `http://127.0.0.1:4318`.
    pub otlp_endpoint: Option<String>,
    /// The share of traces that begin here and are exported, 0 to 1. What a caller decided about its own trace stands.
    pub sample: f64,
    /// The name of this service; `OTEL_SERVICE_NAME` if that is set and this is not.
    pub service_name: Option<String>,
    /// Time between two exports of metrics.
    #[serde(with = "duration")]
    pub metrics_every: Duration,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { otlp_endpoint: None, sample: 1.0, service_name: None, metrics_every: Duration::from_mins(1) }
    }
}

impl TelemetrySettings {
    pub(super) fn is_share(&self) -> bool {
        (0.0..=1.0).contains(&self.sample)
    }

    /// What is exported, and how; `None` if nothing is.
    pub(crate) fn exported(&self, environment: &Environment) -> Option<Exported> {
        let endpoint = self.otlp_endpoint.as_deref().or_else(|| environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
        let service = self.service_name.as_deref().or_else(|| environment.get("OTEL_SERVICE_NAME"));
        Some(Exported {
            endpoint: endpoint.to_owned(),
            headers: environment.get("OTEL_EXPORTER_OTLP_HEADERS").map(headers).unwrap_or_default(),
            sample: self.sample,
            service: service.unwrap_or("nexus").to_owned(),
            metrics_every: self.metrics_every,
        })
    }
}

/// `name=value,name=value`, as the standard writes them, values percent-encoded. What is no such pair is passed over.
fn headers(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), decoded(value.trim()))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let mut byte = [0];
        if *first == b'%' && more.get(..2).is_some_and(|digits| hex::decode_to_slice(digits, &mut byte).is_ok()) {
            bytes.push(byte[0]);
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Environment, TelemetrySettings};

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        let settings = TelemetrySettings::default();
        assert!(settings.exported(&Environment::default()).is_none());
        let environment: Environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-tenant = a=b,nonsense"),
            ("OTEL_SERVICE_NAME", "desk"),
        ]
        .into_iter()
        .collect();
        let exported = settings.exported(&environment).unwrap();
        assert_eq!((exported.endpoint.as_str(), exported.service.as_str()), ("http://collector:4318/", "desk"));
        let headers: Vec<_> = exported.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(headers, [("authorization", "Bearer abc"), ("x-tenant", "a=b")]);
        let settings = TelemetrySettings { otlp_endpoint: Some("http://other:4318".to_owned()), ..settings };
        assert_eq!(settings.exported(&environment).unwrap().endpoint, "http://other:4318");
    }
}
