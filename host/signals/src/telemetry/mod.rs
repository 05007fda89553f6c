//! Traces, metrics and logs for a collector, by OTLP over HTTP (protobuf).

mod clean;
mod courier;
mod logs;
mod metrics;
mod queue;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nexus_model::SPANS;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, LogExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    logs::{self as sdk_logs, BatchLogProcessor, SdkLoggerProvider},
    trace::{self as sdk_trace, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};
use uuid::Uuid;

pub(crate) use logs::LogExport;

use clean::Clean;
use courier::Courier;
use queue::{CAPACITY, Entrance, Exit, Places};

use crate::{HostMetrics, Redactor, operation::Dropped};

/// The longest that the last batches may take at the end.
const LAST_BATCHES: Duration = Duration::from_secs(3);
const SCOPE: &str = "nexus";

/// Where telemetry goes, and how much of it.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// The base of the collector's URLs, as `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// Fields that the collector asks for.
    pub headers: BTreeMap<String, String>,
    /// The share of traces that are begun here and exported, 0 to 1. A caller's decision about its own trace stands.
    pub sample: f64,
    /// The name of this service.
    pub service: String,
    /// Time between two exports of metrics.
    pub metrics_every: Duration,
}

/// Telemetry was not set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The HTTP client cannot be built.
    #[error("cannot set up the HTTP client for telemetry")]
    Client(#[source] reqwest::Error),
    /// An exporter cannot be built.
    #[error("cannot export to `{endpoint}`: use the base of an OTLP collector's URLs, as `http://127.0.0.1:4318`")]
    Exporter {
        /// The endpoint.
        endpoint: String,
        /// Why.
        #[source]
        source: ExporterBuildError,
    },
}

/// Exports what this process does. All queues are bounded; what does not fit, or what the collector does not take, is
/// dropped and counted, and no call waits for it. That a collector is out of reach is said once, not for each batch.
#[derive(Debug, Clone)]
pub struct Telemetry {
    tracer: SdkTracerProvider,
    logger: SdkLoggerProvider,
    resource: Resource,
    courier: Courier,
    every: Duration,
}

impl Telemetry {
    /// Sets everything up; nothing is sent yet. Exports run on `runtime`. What is dropped is counted in `metrics`.
    pub fn new(
        settings: TelemetrySettings,
        runtime: Handle,
        metrics: &Arc<HostMetrics>,
        redactor: Redactor,
    ) -> Result<Self, TelemetryError> {
        let base = settings.endpoint.trim_end_matches('/').to_owned();
        let courier = Courier::new(&base, &settings.headers, runtime, Arc::clone(metrics));
        let courier = courier.map_err(TelemetryError::Client)?;
        let failed = |source| TelemetryError::Exporter { endpoint: base.clone(), source };
        let resource = Resource::builder()
            .with_service_name(settings.service)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", Uuid::now_v7().to_string()))
            .build();
        let spans = SpanExporter::builder()
            .with_http()
            .with_http_client(courier.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{base}/v1/traces"))
            .build()
            .map_err(failed)?;
        let logs = LogExporter::builder()
            .with_http()
            .with_http_client(courier.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{base}/v1/logs"))
            .build()
            .map_err(failed)?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample)));
        let tracer = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(sampler)
            .with_span_processor(waiting_spans(Clean { redactor, exporter: spans }, metrics))
            .build();
        let logger = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_log_processor(waiting_logs(logs, metrics))
            .build();
        Ok(Self { tracer, logger, resource, courier, every: settings.metrics_every })
    }

    /// Exports spans of the target [`SPANS`], and no events: what they say has secrets in it, and goes through the log.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_level(false)
            .with_target(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == SPANS))
    }

    pub(crate) fn log_export(&self) -> LogExport {
        LogExport::new(&self.logger)
    }

    /// Sends what is waiting, within a bounded time, and nothing more.
    pub async fn stop(self) {
        let (tracer, logger) = (self.tracer, self.logger);
        let last = tokio::task::spawn_blocking(move || {
            // What cannot be sent by then is dropped.
            let _ = tracer.shutdown_with_timeout(LAST_BATCHES);
            let _ = logger.shutdown_with_timeout(LAST_BATCHES);
        });
        let _ = tokio::time::timeout(LAST_BATCHES * 2, last).await;
    }
}

fn waiting_spans(exporter: Clean<SpanExporter>, metrics: &Arc<HostMetrics>) -> Entrance<BatchSpanProcessor> {
    let places = Places::new(Dropped::Spans, Arc::clone(metrics));
    let config = sdk_trace::BatchConfigBuilder::default().with_max_queue_size(CAPACITY).build();
    let exit = Exit { places: places.clone(), exporter };
    Entrance { places, processor: BatchSpanProcessor::builder(exit).with_batch_config(config).build() }
}

fn waiting_logs(exporter: LogExporter, metrics: &Arc<HostMetrics>) -> Entrance<BatchLogProcessor> {
    let places = Places::new(Dropped::Logs, Arc::clone(metrics));
    let config = sdk_logs::BatchConfigBuilder::default().with_max_queue_size(CAPACITY).build();
    let exit = Exit { places: places.clone(), exporter };
    Entrance { places, processor: BatchLogProcessor::builder(exit).with_batch_config(config).build() }
}
