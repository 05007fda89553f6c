//! No secret leaves in a span.

use std::{borrow::Cow, time::Duration};

use opentelemetry::{Array, Value, trace::Status};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

use crate::Redactor;

/// Masks secrets in the texts of spans, on the exporter's own thread: no call waits for it.
#[derive(Debug)]
pub(super) struct Clean<E> {
    pub(super) redactor: Redactor,
    pub(super) exporter: E,
}

impl<E: SpanExporter> SpanExporter for Clean<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for span in &mut batch {
            clean(span, &self.redactor);
        }
        self.exporter.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

fn clean(span: &mut SpanData, redactor: &Redactor) {
    mask(&mut span.name, redactor);
    for event in &mut span.events.events {
        mask(&mut event.name, redactor);
    }
    let of_events = span.events.events.iter_mut().flat_map(|event| &mut event.attributes);
    for attribute in span.attributes.iter_mut().chain(of_events) {
        clean_value(&mut attribute.value, redactor);
    }
    if let Status::Error { description } = &mut span.status {
        mask(description, redactor);
    }
}

fn clean_value(value: &mut Value, redactor: &Redactor) {
    let texts = match value {
        Value::String(text) => std::slice::from_mut(text),
        Value::Array(Array::String(texts)) => texts,
        _ => return,
    };
    for text in texts {
        if let Cow::Owned(masked) = redactor.redact(text.as_str()) {
            *text = masked.into();
        }
    }
}

fn mask(text: &mut Cow<'static, str>, redactor: &Redactor) {
    if let Cow::Owned(masked) = redactor.redact(text) {
        *text = Cow::Owned(masked);
    }
}
