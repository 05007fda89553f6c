//! The bound on what waits for the collector. The SDK has one of its own, but tells nobody what it drops there.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{AcqRel, Acquire},
        },
    },
    time::Duration,
};

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord},
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};

use crate::{HostMetrics, operation::Dropped};

/// Spans, and log records, that wait or are on their way at the most; more are dropped, and counted.
pub(super) const CAPACITY: usize = 2_048;

/// The places of one queue.
#[derive(Debug, Clone)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    of: Dropped,
    metrics: Arc<HostMetrics>,
}

impl Places {
    pub(super) fn new(of: Dropped, metrics: Arc<HostMetrics>) -> Self {
        Self { taken: Arc::default(), of, metrics }
    }

    /// Takes a place; where there is none, that is counted.
    fn take(&self) -> bool {
        let more = |taken: usize| (taken < CAPACITY).then_some(taken + 1);
        let taken = self.taken.fetch_update(AcqRel, Acquire, more).is_ok();
        if !taken {
            self.metrics.record_telemetry_dropped(self.of);
        }
        taken
    }

    /// So many places are free again when this is dropped.
    fn leave(&self, count: usize) -> Leaving<'_> {
        Leaving(self, count)
    }
}

struct Leaving<'a>(&'a Places, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(self.1, AcqRel);
    }
}

/// Before a processor: lets in what has a place. The processor's own queue has as many, so that it never drops.
#[derive(Debug)]
pub(super) struct Entrance<P> {
    pub(super) places: Places,
    pub(super) processor: P,
}

/// After a processor: gives places back once a batch has been sent, or was not taken.
#[derive(Debug)]
pub(super) struct Exit<E> {
    pub(super) places: Places,
    pub(super) exporter: E,
}

impl<P: SpanProcessor> SpanProcessor for Entrance<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.places.take() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

impl<E: SpanExporter> SpanExporter for Exit<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let _leaving = self.places.leave(batch.len());
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

impl<P: LogProcessor> LogProcessor for Entrance<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.places.take() {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Exit<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let _leaving = self.places.leave(batch.iter().count());
        self.exporter.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
