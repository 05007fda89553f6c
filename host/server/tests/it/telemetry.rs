//! What a collector receives: a real server takes the program's exports and decodes them.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use nexus_model::SPANS;
use nexus_signals::{
    HostMetrics, LoggingService, LoggingSettings, MetricCollector, Redactor, Telemetry, TelemetrySettings,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::LogRecord,
    metrics::v1::{HistogramDataPoint, Metric, metric::Data},
    trace::v1::Span,
};
use prost::Message;
use reqwest::header;
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::{
    program::{Served, text},
    support::{SHOUT, ShoutingEndpoint, in_time, write_app},
};

#[derive(Default)]
struct Received {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
    headers: Vec<HeaderMap>,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Received>>);

impl Collector {
    /// Starts it; gives its base URL too.
    async fn start() -> (Self, String, tokio_util::sync::DropGuard) {
        let collector = Self::default();
        let take = |State(collector): State<Self>, headers: HeaderMap, body: Bytes| async move {
            let mut received = collector.0.lock().unwrap();
            received.headers.push(headers);
            received.traces.push(ExportTraceServiceRequest::decode(body).unwrap());
        };
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .route(
                "/v1/metrics",
                post(|State(collector): State<Self>, body: Bytes| async move {
                    collector.0.lock().unwrap().metrics.push(ExportMetricsServiceRequest::decode(body).unwrap());
                }),
            )
            .route(
                "/v1/logs",
                post(|State(collector): State<Self>, body: Bytes| async move {
                    collector.0.lock().unwrap().logs.push(ExportLogsServiceRequest::decode(body).unwrap());
                }),
            )
            .with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tasks, stop) = (TaskTracker::new(), tokio_util::sync::CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move { axum::serve(listener, routes).with_graceful_shutdown(stopped).await });
        (collector, url, stop.drop_guard())
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.0.lock().unwrap();
        let resources = received.traces.iter().flat_map(|request| request.resource_spans.clone());
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    fn records(&self) -> Vec<LogRecord> {
        let received = self.0.lock().unwrap();
        let resources = received.logs.iter().flat_map(|request| request.resource_logs.clone());
        resources.flat_map(|resource| resource.scope_logs).flat_map(|scope| scope.log_records).collect()
    }

    fn last_metrics(&self) -> BTreeMap<String, Metric> {
        let received = self.0.lock().unwrap();
        let resources = received.metrics.last().map(|request| request.resource_metrics.clone()).unwrap_or_default();
        let metrics = resources.into_iter().flat_map(|resource| resource.scope_metrics).flat_map(|scope| scope.metrics);
        metrics.map(|metric| (metric.name.clone(), metric)).collect()
    }
}

fn attributes(of: &[KeyValue]) -> HashMap<&str, String> {
    let shown = |value: &AnyValue| match value.value.as_ref() {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    of.iter().map(|pair| (pair.key.as_str(), pair.value.as_ref().map(shown).unwrap_or_default())).collect()
}

fn program(dir: &Path, endpoint: &str, collector: &str, more: &[&str]) -> (Served, String) {
    let set = format!("telemetry.otlp_endpoint={collector}");
    let stderr = std::fs::File::options().create(true).append(true).open(dir.join("stderr")).unwrap();
    let arguments = [&["--set", &set, "--set", "telemetry.service_name=desk"], more].concat();
    let served = Served::start_with(dir, endpoint, &arguments, Stdio::from(stderr));
    let key = std::fs::read_to_string(served.first["admin_key_file"].as_str().unwrap()).unwrap();
    (served, key.trim().to_owned())
}

fn call(served: &Served, key: &str, text: &str) -> reqwest::RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.post(format!("{}{SHOUT}", served.url)).bearer_auth(key).json(&json!({ "text": text }))
}

async fn ended(served: Served) {
    tokio::task::spawn_blocking(move || assert!(served.terminate().success())).await.unwrap();
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_sees_a_call_from_end_to_end_and_no_word_of_it() {
    let dir = tempfile::tempdir().unwrap();
    write_app(&dir.path().join("apps"));
    let endpoint = ShoutingEndpoint::start().await;
    let (collector, url, _stop) = Collector::start().await;
    let (served, key) = program(dir.path(), &endpoint.url, &url, &[]);
    let caller = format!("00-{TRACE}-{PARENT}-01");
    let asked = call(&served, &key, "canary-prompt").header("traceparent", &caller).header("tracestate", "a=b");
    let answer = asked.send().await.unwrap().error_for_status().unwrap();
    let traceparent = answer.headers()["traceparent"].to_str().unwrap().to_owned();
    let execution = answer.headers()["x-nexus-execution"].to_str().unwrap().to_owned();
    call(&served, &key, "fail").header(header::ACCEPT, "text/event-stream").send().await.unwrap();
    let scraped = scraped(&served, &key).await;
    ended(served).await;

    let spans = collector.spans();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let requests = named("POST /v1/apps/{app}/operations/{operation}");
    let [request] = requests.iter().filter(|span| hex(&span.trace_id) == TRACE).collect::<Vec<_>>()[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!((hex(&request.parent_span_id).as_str(), request.kind), (PARENT, 2), "the caller's, of the kind server");
    assert_eq!(traceparent, format!("00-{TRACE}-{}-01", hex(&request.span_id)));
    assert_eq!(attributes(&request.attributes)["http.response.status_code"], "200");
    let executions = named("execution");
    let own = executions.iter().find(|span| hex(&span.trace_id) == TRACE).unwrap();
    assert_eq!(own.parent_span_id, request.span_id);
    let about = attributes(&own.attributes);
    assert_eq!((about["nexus.execution"].as_str(), about["nexus.path"].as_str()), (execution.as_str(), "model"));
    let models = named("chat m");
    let model = models.iter().find(|span| hex(&span.trace_id) == TRACE).unwrap();
    assert_eq!((&model.parent_span_id, model.kind), (&own.span_id, 3), "below the execution, of the kind client");
    let about = attributes(&model.attributes);
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.response.model", "m"),
        ("gen_ai.usage.input_tokens", "10"),
        ("gen_ai.usage.output_tokens", "5"),
    ] {
        assert_eq!(about.get(name).map(String::as_str), Some(value), "{about:?}");
    }
    assert_eq!(endpoint.traces().first().unwrap(), &format!("00-{TRACE}-{}-01 a=b", hex(&model.span_id)));
    let failed = executions.iter().find(|span| hex(&span.trace_id) != TRACE).unwrap();
    assert_eq!(attributes(&failed.attributes)["error.type"], "provider_failed");
    assert_eq!(failed.status.as_ref().unwrap().code, 2);

    let received = collector.0.lock().unwrap();
    let resource = received.traces[0].resource_spans[0].resource.as_ref().unwrap();
    let about = attributes(&resource.attributes);
    assert_eq!((about["service.name"].as_str(), about.contains_key("service.version")), ("desk", true));
    let said = format!("{:?} {:?} {:?}", received.traces, received.logs, received.metrics);
    assert!(!said.to_lowercase().contains("canary") && !said.contains(&key), "{said}");
    drop(received);
    assert!(!collector.records().is_empty());

    let metrics = collector.last_metrics();
    let Some(Data::Sum(calls)) = &metrics["nexus.operation.calls"].data else { panic!("{metrics:#?}") };
    assert!(
        calls.is_monotonic && calls.data_points.iter().any(|point| attributes(&point.attributes)["path"] == "model")
    );
    let Some(Data::Histogram(durations)) = &metrics["nexus.operation.duration"].data else { panic!("{metrics:#?}") };
    let model = durations.data_points.iter().find(|point| attributes(&point.attributes)["path"] == "model").unwrap();
    assert_eq!((model.count, model.bucket_counts.iter().sum::<u64>()), (2, 2));
    assert_eq!(model.bucket_counts.len(), model.explicit_bounds.len() + 1);
    assert_eq!(metrics["nexus.operation.duration"].unit, "s");
    requests_are_counted(&metrics, &scraped, &endpoint.url);
}

/// One request to the model that was answered, and one that failed, by OpenTelemetry's conventions.
fn requests_are_counted(metrics: &BTreeMap<String, Metric>, scraped: &str, endpoint: &str) {
    let port = endpoint.rsplit_once(':').unwrap().1.trim_end_matches("/v1");
    let points = |name: &str| {
        let Some(Data::Histogram(histogram)) = &metrics[name].data else { panic!("{metrics:#?}") };
        histogram.data_points.clone()
    };
    let durations = points("gen_ai.client.operation.duration");
    let failed = |point: &HistogramDataPoint| attributes(&point.attributes).contains_key("error.type");
    let [answered] = durations.iter().filter(|point| !failed(point)).collect::<Vec<_>>()[..] else {
        panic!("{durations:#?}")
    };
    let asked = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "m"),
        ("server.address", "127.0.0.1"),
        ("server.port", port),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        asked.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())).collect::<HashMap<_, _>>()
    };
    assert_eq!(attributes(&answered.attributes), with(&[("gen_ai.response.model", "m")]));
    let bounds: Vec<f64> = (0..14).map(|power| 0.01 * f64::from(1 << power)).collect();
    assert_eq!((answered.count, &answered.explicit_bounds, answered.bucket_counts.len()), (1, &bounds, 15));
    let [failed] = durations.iter().filter(|point| failed(point)).collect::<Vec<_>>()[..] else {
        panic!("{durations:#?}")
    };
    assert_eq!(attributes(&failed.attributes), with(&[("error.type", "provider_failed")]));
    let tokens = points("gen_ai.client.token.usage");
    for (kind, count) in [("input", 10.0), ("output", 5.0)] {
        let [point] = tokens
            .iter()
            .filter(|point| attributes(&point.attributes)["gen_ai.token.type"] == kind)
            .collect::<Vec<_>>()[..]
        else {
            panic!("{tokens:#?}")
        };
        assert_eq!(attributes(&point.attributes), with(&[("gen_ai.response.model", "m"), ("gen_ai.token.type", kind)]));
        let bounds: Vec<f64> = (0..14).map(|power| f64::from(1 << (2 * power))).collect();
        assert_eq!((point.count, point.sum, &point.explicit_bounds), (1, Some(count), &bounds));
    }
    let units =
        ["token.usage", "operation.duration"].map(|name| metrics[&format!("gen_ai.client.{name}")].unit.as_str());
    assert_eq!(units, ["{token}", "s"]);

    let asked = format!(
        r#"gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="m",gen_ai_response_model="m",server_address="127.0.0.1",server_port="{port}""#
    );
    for line in [
        format!("gen_ai_client_operation_duration_seconds_count{{{asked}}} 1"),
        format!(r#"gen_ai_client_token_usage_sum{{{asked},gen_ai_token_type="input"}} 10.0"#),
        format!(r#"gen_ai_client_token_usage_sum{{{asked},gen_ai_token_type="output"}} 5.0"#),
    ] {
        assert!(scraped.lines().any(|found| found == line), "no {line} in {scraped}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_models_are_counted_also_without_a_collector() {
    let dir = tempfile::tempdir().unwrap();
    write_app(&dir.path().join("apps"));
    let endpoint = ShoutingEndpoint::start().await;
    let stderr = std::fs::File::create(dir.path().join("stderr")).unwrap();
    let served = Served::start_with(dir.path(), &endpoint.url, &["--log", "off"], Stdio::from(stderr));
    let key = std::fs::read_to_string(served.first["admin_key_file"].as_str().unwrap()).unwrap().trim().to_owned();
    for text in ["x", "y", "fail"] {
        call(&served, &key, text).send().await.unwrap();
    }
    let scraped = scraped(&served, &key).await;
    ended(served).await;
    let counts = scraped.lines().filter_map(|line| line.strip_prefix("gen_ai_client_operation_duration_seconds_count"));
    let mut counts: Vec<&str> = counts.filter_map(|line| Some(line.rsplit_once(' ')?.1)).collect();
    counts.sort_unstable();
    assert_eq!(counts, ["1", "2"], "{scraped}");
}

/// What `/metrics` shows.
async fn scraped(served: &Served, key: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("{}/metrics", served.url)).bearer_auth(key).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_traces_is_exported_and_the_callers_decision_stands() {
    let dir = tempfile::tempdir().unwrap();
    write_app(&dir.path().join("apps"));
    let endpoint = ShoutingEndpoint::start().await;
    let (collector, url, _stop) = Collector::start().await;
    let (served, key) = program(dir.path(), &endpoint.url, &url, &["--set", "telemetry.sample=0"]);
    call(&served, &key, "not sampled here").send().await.unwrap();
    for flags in ["00", "01"] {
        let caller = format!("00-{TRACE}-{PARENT}-{flags}");
        call(&served, &key, "x").header("traceparent", caller).send().await.unwrap();
    }
    ended(served).await;
    let spans = collector.spans();
    assert_eq!(spans.iter().filter(|span| span.name == "execution").count(), 1, "{spans:#?}");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_is_said_once_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write_app(&dir.path().join("apps"));
    let endpoint = ShoutingEndpoint::start().await;
    let more = ["--set", "telemetry.metrics_every=20ms"];
    let (served, key) = program(dir.path(), &endpoint.url, "http://127.0.0.1:9", &more);
    let begun = Instant::now();
    let failed = async |served: &Served| -> u64 {
        let shown = scraped(served, &key).await;
        let line = shown.lines().find_map(|line| line.strip_prefix("nexus_telemetry_batches_failed_total "));
        line.unwrap().parse().unwrap()
    };
    while failed(&served).await < 3 {
        assert_eq!(call(&served, &key, "x").send().await.unwrap().status(), 200);
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing fails");
    }
    ended(served).await;
    let said = text(&std::fs::read(dir.path().join("stderr")).unwrap());
    assert_eq!(said.matches("the collector takes no telemetry").count(), 1, "{said}");
}

/// Exports run on a runtime that stands still while more is made than has room.
#[test]
fn what_has_no_room_is_counted_and_nothing_else_is_lost() {
    const ROOM: usize = 2_048;
    const MORE: usize = 900;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (collector, endpoint, _stop) = runtime.block_on(Collector::start());
    let metrics: Arc<HostMetrics> = Arc::default();
    let (sample, service, metrics_every) = (1.0, "desk".to_owned(), Duration::from_mins(1));
    let settings = TelemetrySettings { endpoint, headers: BTreeMap::new(), sample, service, metrics_every };
    let telemetry = Telemetry::new(settings, runtime.handle().clone(), &metrics, Redactor::default()).unwrap();
    let logging = LoggingSettings { telemetry: Some(telemetry.clone()), ..LoggingSettings::default() };
    let subscriber = LoggingService::new(logging).unwrap().subscriber(std::io::sink);
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..ROOM + MORE {
            drop(tracing::trace_span!(target: SPANS, "work"));
            tracing::info!("done");
        }
    });
    assert_eq!(metrics.snapshot().telemetry_dropped, [MORE as u64; 2]);
    let collected = || (collector.spans().len(), collector.records().len());
    runtime.block_on(in_time(async {
        while collected() != (ROOM, ROOM) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        telemetry.stop().await;
    }));
    assert_eq!(collected(), (ROOM, ROOM));
    assert_eq!((metrics.snapshot().telemetry_dropped, metrics.snapshot().telemetry_failed), ([MORE as u64; 2], 0));
    let shown = MetricCollector::new().with_host(metrics).prometheus();
    for signal in ["spans", "logs"] {
        let line = format!("nexus_telemetry_dropped_total{{signal=\"{signal}\"}} {MORE}\n");
        assert!(shown.contains(&line), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_on_to_the_model_also_without_a_collector() {
    let host = crate::support::Host::start().await;
    let caller = format!("00-{TRACE}-{PARENT}-01");
    host.shout("x").header("traceparent", &caller).header("tracestate", "a=b").send().await.unwrap();
    host.shout("y").send().await.unwrap();
    assert_eq!(host.endpoint.traces(), [format!("{caller} a=b"), String::new()]);
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}
