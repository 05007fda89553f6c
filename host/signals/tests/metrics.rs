//! Metrics survive a restart and read well.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use nexus_model::{
    Batch, ConsumerGroup, Delivery, Durability, Entry, FallbackReason, Key, MODEL_SPAN, NanoUsd, OperationRef,
    PendingEntry, RuntimeStore, SPANS, ServedBy, StoreError, StreamStart, Usage,
};
use nexus_signals::{LoggingService, LoggingSettings, MetricCollector, Redactor};
use nexus_state::memory::MemoryRuntime;
use proptest::prelude::*;
use time::{Duration, OffsetDateTime, macros::datetime};

const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

fn operation(name: &str) -> OperationRef {
    OperationRef { app: "support".parse().unwrap(), operation: name.parse().unwrap() }
}

fn record(collector: &MetricCollector, name: &str) {
    let metrics = collector.operation(&operation(name));
    for micros in [200, 300, 400] {
        metrics.record_call(ServedBy::Component, micros);
    }
    metrics.record_call(ServedBy::Model, 800_000);
    metrics.record_usage(&Usage {
        input_tokens: 100,
        cached_input_tokens: 0,
        output_tokens: 20,
        cost: Some(NanoUsd(6_000)),
    });
    metrics.record_usage(&Usage {
        input_tokens: 90,
        cached_input_tokens: 0,
        output_tokens: 10,
        cost: Some(NanoUsd(4_000)),
    });
    metrics.record_audit(true);
    metrics.record_fallback(FallbackReason::Trap);
    metrics.record_component_fault();
    metrics.record_model_repair();
    metrics.record_error(ServedBy::Model, "model_\"timeout\"\n");
    metrics.record_fuel(1_234);
}

#[test]
fn a_cost_that_is_not_known_is_not_zero() {
    let collector = MetricCollector::new();
    let metrics = collector.operation(&operation("classify"));
    let used = |cost| Usage { input_tokens: 10, cached_input_tokens: 0, output_tokens: 1, cost };
    for cost in [None, None] {
        metrics.record_call(ServedBy::Model, 800_000);
        metrics.record_usage(&used(cost));
    }
    let snapshot = collector.snapshot(&operation("classify")).unwrap();
    assert_eq!((snapshot.cost, snapshot.saved, snapshot.unpriced), (None, None, 2));

    metrics.record_call(ServedBy::Model, 800_000);
    metrics.record_usage(&used(Some(NanoUsd(500))));
    metrics.record_call(ServedBy::Component, 200);
    metrics.record_model_fallback();
    let snapshot = collector.snapshot(&operation("classify")).unwrap();
    let known = Some(NanoUsd(500));
    assert_eq!((snapshot.cost, snapshot.saved), (known, known), "the mean is of the known costs");
    assert_eq!((snapshot.unpriced, snapshot.model_fallbacks), (2, 1));
}

#[test]
fn a_snapshot_holds_what_was_recorded() {
    let collector = MetricCollector::new();
    assert_eq!(collector.snapshot(&operation("classify")), None);
    record(&collector, "classify");
    let snapshot = collector.snapshot(&operation("classify")).unwrap();
    assert_eq!((snapshot.calls.component, snapshot.calls.model), (3, 1));
    assert!(snapshot.latency.component.p50_us.abs_diff(300) * 16 <= 300, "{:?}", snapshot.latency);
    assert_eq!((snapshot.tokens.input, snapshot.tokens.output), (190, 30));
    assert_eq!((snapshot.cost, snapshot.saved), (Some(NanoUsd(10_000)), Some(NanoUsd(15_000))));
    assert_eq!(snapshot.audits.agreement, Some(1.0));
    assert_eq!(snapshot.fallbacks, BTreeMap::from([(FallbackReason::Trap, 1)]));
    let shown = serde_json::to_value(&snapshot).unwrap();
    assert_eq!((&shown["app"], &shown["fallbacks"]["trap"]), (&"support".into(), &1.into()));
}

#[tokio::test]
async fn totals_and_windows_survive_a_restart() {
    let store = MemoryRuntime::default();
    let before = MetricCollector::new();
    record(&before, "classify");
    record(&before, "route");
    before.flush(&store, NOW - Duration::minutes(1)).await.unwrap();
    record(&before, "classify");
    before.flush(&store, NOW).await.unwrap();

    let after = MetricCollector::new();
    after.restore(&store).await.unwrap();
    assert_eq!(after.snapshots(), before.snapshots());
    assert_eq!(after.windows(&operation("classify"), NOW), before.windows(&operation("classify"), NOW));

    after.flush(&Broken, NOW).await.expect("nothing has changed, so nothing is written");
    record(&after, "classify");
    assert!(after.flush(&Broken, NOW).await.is_err());
    after.flush(&store, NOW).await.unwrap();
    let calls: Vec<_> = after.windows(&operation("classify"), NOW).iter().map(|w| w.calls.component).collect();
    assert_eq!(calls, [3, 6], "the minute of the restart goes on");

    after.forget(&store, &operation("route")).await.unwrap();
    let last = MetricCollector::new();
    last.restore(&store).await.unwrap();
    assert_eq!(last.snapshots(), after.snapshots());
}

#[tokio::test]
async fn replicas_on_one_store_keep_their_own_counts_and_are_added_up() {
    let (store, classify) = (MemoryRuntime::default(), operation("classify"));
    let replicas = ["a", "b"].map(MetricCollector::of_replica);
    for (collector, times) in replicas.iter().zip([1, 2]) {
        for _ in 0..times {
            record(collector, "classify");
            record(collector, "classify-more");
        }
        collector.flush(&store, NOW - Duration::minutes(1)).await.unwrap();
        record(collector, "classify");
        collector.flush(&store, NOW).await.unwrap();
    }
    let calls = |windows: Vec<nexus_signals::Window>| windows.iter().map(|w| w.calls.component).collect::<Vec<_>>();
    let minute = u64::try_from(NOW.unix_timestamp() / 60).unwrap();
    for collector in &replicas {
        let all = collector.windows_of_all(&store, &classify, minute - 1, NOW).await.unwrap();
        assert_eq!(calls(all), [9, 6]);
        let last = collector.windows_of_all(&store, &classify, minute, NOW).await.unwrap();
        assert_eq!(calls(last), [6]);
    }
    for (name, before) in ["a", "b"].into_iter().zip(&replicas) {
        let after = MetricCollector::of_replica(name);
        after.restore(&store).await.unwrap();
        assert_eq!(after.snapshots(), before.snapshots(), "each goes on with its own");
        assert_eq!(after.windows(&classify, NOW), before.windows(&classify, NOW));
    }
    assert!(replicas[0].windows_of_all(&Broken, &classify, minute, NOW).await.is_err());
}

/// A store that is out of reach.
struct Broken;

#[async_trait::async_trait]
impl RuntimeStore for Broken {
    async fn get(&self, _: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Err(out_of_reach())
    }
    async fn write(&self, _: Batch, _: Durability) -> Result<(), StoreError> {
        Err(out_of_reach())
    }
    async fn write_if(&self, _: &Key, _: &[u8], _: Batch, _: Durability) -> Result<bool, StoreError> {
        Err(out_of_reach())
    }
    fn is_exclusive(&self) -> bool {
        true
    }
    async fn compare_and_set(
        &self,
        _: &Key,
        _: Option<&[u8]>,
        _: Vec<u8>,
        _: Option<std::time::Duration>,
    ) -> Result<bool, StoreError> {
        Err(out_of_reach())
    }
    async fn increment(&self, _: &Key, _: i64, _: Option<std::time::Duration>) -> Result<i64, StoreError> {
        Err(out_of_reach())
    }
    async fn list(&self, _: &Key, _: Option<&str>, _: usize) -> Result<Vec<Entry>, StoreError> {
        Err(out_of_reach())
    }
    async fn list_newest(&self, _: &Key, _: Option<&str>, _: usize) -> Result<Vec<Entry>, StoreError> {
        Err(out_of_reach())
    }
    async fn expire(&self, _: &Key, _: std::time::Duration) -> Result<bool, StoreError> {
        Err(out_of_reach())
    }
    async fn append(&self, _: &Key, _: Vec<u8>, _: usize) -> Result<String, StoreError> {
        Err(out_of_reach())
    }
    async fn read(&self, _: &Key, _: Option<&str>, _: usize) -> Result<Vec<Entry>, StoreError> {
        Err(out_of_reach())
    }
    async fn remove(&self, _: &Key, _: &[String]) -> Result<usize, StoreError> {
        Err(out_of_reach())
    }
    async fn trim(&self, _: &Key, _: usize) -> Result<usize, StoreError> {
        Err(out_of_reach())
    }
    async fn create_group(&self, _: &ConsumerGroup, _: StreamStart) -> Result<bool, StoreError> {
        Err(out_of_reach())
    }
    async fn delete_group(&self, _: &ConsumerGroup) -> Result<bool, StoreError> {
        Err(out_of_reach())
    }
    async fn read_group(
        &self,
        _: &ConsumerGroup,
        _: &str,
        _: usize,
        _: std::time::Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        Err(out_of_reach())
    }
    async fn claim(
        &self,
        _: &ConsumerGroup,
        _: &str,
        _: std::time::Duration,
        _: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        Err(out_of_reach())
    }
    async fn acknowledge(&self, _: &ConsumerGroup, _: &[String]) -> Result<usize, StoreError> {
        Err(out_of_reach())
    }
    async fn count_pending(&self, _: &ConsumerGroup) -> Result<usize, StoreError> {
        Err(out_of_reach())
    }
    async fn list_pending(
        &self,
        _: &ConsumerGroup,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<PendingEntry>, StoreError> {
        Err(out_of_reach())
    }
    async fn ping(&self) -> Result<(), StoreError> {
        Err(out_of_reach())
    }
}

fn out_of_reach() -> StoreError {
    StoreError::Unavailable("gone".into())
}

#[test]
fn prometheus_reads_it() {
    let collector = MetricCollector::new();
    record(&collector, "classify");
    let in_flight = collector.host().begin();
    collector.host().record_shed();
    collector.host().record_executions_dropped(7);
    let samples = parse(&collector.prometheus());
    let of = |name: &str| samples.get(name).copied().unwrap_or_else(|| panic!("no {name} in {samples:#?}"));
    let near = |name: &str, value: f64| assert!((of(name) - value).abs() < 1e-9, "{name}: {}", of(name));
    let labels = r#"app="support",operation="classify""#;

    near(&format!("nexus_operation_calls_total{{{labels},path=\"component\"}}"), 3.0);
    near(&format!("nexus_operation_calls_total{{{labels},path=\"model\"}}"), 1.0);
    near(&format!("nexus_operation_errors_total{{{labels},path=\"model\",code=\"model_\\\"timeout\\\"\\n\"}}"), 1.0);
    near(&format!("nexus_operation_fallbacks_total{{{labels},reason=\"trap\"}}"), 1.0);
    near(&format!("nexus_operation_duration_seconds_sum{{{labels},path=\"component\"}}"), 0.0009);
    near(&format!("nexus_operation_duration_seconds_bucket{{le=\"0.000256\",{labels},path=\"component\"}}"), 1.0);
    near(&format!("nexus_operation_duration_seconds_bucket{{le=\"+Inf\",{labels},path=\"component\"}}"), 3.0);
    near(&format!("nexus_operation_tokens_total{{{labels},direction=\"input\"}}"), 190.0);
    near(&format!("nexus_operation_cost_usd_total{{{labels}}}"), 0.000_01);
    near(&format!("nexus_operation_saved_usd{{{labels}}}"), 0.000_015);
    near(&format!("nexus_operation_audits_total{{{labels},result=\"agreed\"}}"), 1.0);
    near(&format!("nexus_operation_fuel_total{{{labels}}}"), 1_234.0);
    near("nexus_requests_in_flight", 1.0);
    near("nexus_requests_shed_total", 1.0);
    near("nexus_executions_dropped_total", 7.0);
    drop(in_flight);
    assert_eq!(collector.host().snapshot().in_flight, 0);
}

#[test]
fn every_name_is_in_the_readme() {
    let collector = MetricCollector::new();
    record(&collector, "classify");
    let readme = include_str!("../../../README.md");
    let text = collector.prometheus();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names: Vec<String> =
        types.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() }).collect();
    for name in &names {
        assert!(readme.contains(&format!("| `{name}` | `")), "{name} has no row in the README's table");
    }
    for prefix in ["nexus_", "gen_ai_"] {
        let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        for (name, _) in rows.filter(|(name, _)| name.starts_with(prefix) && !name.contains(['.', ' '])) {
            assert!(names.iter().any(|known| known == name), "{name} is no metric any more");
        }
    }
    assert!(names.len() >= 18);
}

/// What is told of one request to a provider, as `nexus_llm` tells it.
fn ask(model: &str, outcome: Result<&str, &str>, tokens: Option<(u64, u64)>) {
    use tracing::field::Empty;
    let span = tracing::trace_span!(
        target: SPANS,
        MODEL_SPAN,
        "error.type" = Empty,
        "server.address" = "api.example.com",
        "server.port" = 443_u16,
        "gen_ai.operation.name" = "chat",
        "gen_ai.provider.name" = "openai",
        "gen_ai.request.model" = model,
        "gen_ai.response.model" = Empty,
        "gen_ai.usage.input_tokens" = Empty,
        "gen_ai.usage.output_tokens" = Empty,
    );
    match outcome {
        Ok(model) => span.record("gen_ai.response.model", model),
        Err(code) => span.record("error.type", code),
    };
    if let Some((input, output)) = tokens {
        span.record("gen_ai.usage.input_tokens", input);
        span.record("gen_ai.usage.output_tokens", output);
    }
}

/// A collector that counts the requests to providers that are made within.
fn asked(within: impl FnOnce()) -> MetricCollector {
    let settings =
        LoggingSettings { redactor: Redactor::new(["hunter2-hunter2".to_owned()]), ..LoggingSettings::default() };
    let collector = MetricCollector::new().with_host(settings.metrics.clone());
    let subscriber = LoggingService::new(settings).unwrap().subscriber(std::io::sink);
    tracing::subscriber::with_default(subscriber, within);
    collector
}

#[test]
fn requests_to_providers_are_counted_by_the_conventions() {
    let collector = asked(|| {
        ask("small", Ok("small-2026"), Some((100, 4)));
        ask("small", Ok("small-2026"), Some((5_000, 5)));
        ask("small", Err("timeout"), None);
        ask("small", Err("truncated"), Some((7, 100_000_000)));
        ask("small", Ok("is hunter2-hunter2"), None);
        let other = tracing::error_span!(target: SPANS, "execution", "gen_ai.request.model" = "small");
        drop((other, tracing::error_span!("model", "gen_ai.request.model" = "small")));
    });
    let samples = parse(&collector.prometheus());
    let near = |name: &str, value: f64| {
        let found = samples.get(name).unwrap_or_else(|| panic!("no {name} in {samples:#?}"));
        assert!((found - value).abs() < 1e-9, "{name}: {found}");
    };
    let of = |more: &str| {
        let asked = r#"gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="small""#;
        let (model, end) = more.split_once('|').unwrap();
        format!(r#"{asked}{model},server_address="api.example.com",server_port="443"{end}"#)
    };
    let (answered, failed) = (r#",gen_ai_response_model="small-2026"|"#, "|");
    let input = of(&format!(r#"{answered},gen_ai_token_type="input""#));
    let output = of(&format!(r#"{answered},gen_ai_token_type="output""#));
    near(&format!("gen_ai_client_token_usage_count{{{input}}}"), 2.0);
    near(&format!("gen_ai_client_token_usage_sum{{{input}}}"), 5_100.0);
    near(&format!("gen_ai_client_token_usage_bucket{{le=\"64.0\",{input}}}"), 0.0);
    near(&format!("gen_ai_client_token_usage_bucket{{le=\"256.0\",{input}}}"), 1.0);
    near(&format!("gen_ai_client_token_usage_bucket{{le=\"67108864.0\",{input}}}"), 2.0);
    near(&format!("gen_ai_client_token_usage_bucket{{le=\"4.0\",{output}}}"), 1.0);
    near(&format!("gen_ai_client_token_usage_bucket{{le=\"16.0\",{output}}}"), 2.0);
    let broken = of(&format!(r#"{failed},gen_ai_token_type="output""#));
    near(&format!("gen_ai_client_token_usage_bucket{{le=\"67108864.0\",{broken}}}"), 0.0);
    near(&format!("gen_ai_client_token_usage_bucket{{le=\"+Inf\",{broken}}}"), 1.0);
    let seconds = |labels: &str| format!("gen_ai_client_operation_duration_seconds_count{{{labels}}}");
    near(&seconds(&of(answered)), 2.0);
    near(&seconds(&of(r#"|,error_type="timeout""#)), 1.0);
    near(&seconds(&of(r#"|,error_type="truncated""#)), 1.0);
    near(&seconds(&of(r#",gen_ai_response_model="is ***"|"#)), 1.0);
    let all = samples.iter().filter(|(name, _)| name.starts_with("gen_ai_client_operation_duration_seconds_count"));
    assert!((all.map(|(_, count)| count).sum::<f64>() - 5.0).abs() < 1e-9, "{samples:#?}");
    let bounds = samples.keys().filter(|name| name.contains("_seconds_bucket") && name.contains("timeout"));
    assert_eq!(bounds.count(), 15, "14 bounds and what is above");
}

#[test]
fn a_provider_that_makes_up_names_takes_no_room_from_others() {
    let collector = asked(|| {
        for number in 0..1_000 {
            ask("talkative", Ok(&format!("made up {number}")), Some((1, 1)));
        }
        ask("honest", Ok("honest"), Some((1, 1)));
        for number in 0..1_000 {
            ask(&format!("asked for {number}"), Ok("m"), Some((1, 1)));
        }
        ask("honest", Ok("honest"), Some((1, 1)));
    });
    let counts: BTreeMap<String, f64> = parse(&collector.prometheus())
        .into_iter()
        .filter(|(name, _)| name.starts_with("gen_ai_client_operation_duration_seconds_count"))
        .collect();
    assert!((counts.values().sum::<f64>() - 2_002.0).abs() < 1e-9, "none is left out");
    let of =
        |text: &str| counts.iter().filter(|(name, _)| name.contains(text)).map(|(_, count)| *count).collect::<Vec<_>>();
    assert_eq!(of(r#"request_model="talkative""#).len(), 17, "16 names and `other`");
    assert_eq!(of(r#"request_model="talkative",gen_ai_response_model="other""#), [984.0]);
    assert_eq!(of(r#"request_model="honest""#), [2.0]);
    assert!(counts.len() <= 256 + 1 + 17, "{}", counts.len());
}

/// Reads the text format strictly enough to notice a broken line: sample → value.
fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with("# "));
    samples
        .map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("broken line {line:?}"));
            (sample.to_owned(), value.parse().unwrap_or_else(|_| panic!("broken value {line:?}")))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_codes_the_text_stays_whole(codes in prop::collection::vec(".*", 0..100)) {
        let collector = MetricCollector::new();
        let metrics = collector.operation(&operation("classify"));
        for code in codes {
            metrics.record_error(ServedBy::Model, &format!("{code}\u{e000}"));
        }
        let text = collector.prometheus().replace(|c: char| c.is_control() && c != '\n', "");
        let errors = parse(&text).into_iter().filter(|(name, _)| name.starts_with("nexus_operation_errors_total"));
        let counted: Vec<_> = errors.map(|(_, count)| count).collect();
        prop_assert!(counted.len() <= 65);
    }
}

#[test]
fn recording_is_exact_under_threads() {
    let collector = MetricCollector::new();
    let metrics = collector.operation(&operation("classify"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for micros in 0..100_000 {
                    metrics.record_call(ServedBy::Component, micros);
                }
            });
        }
    });
    assert_eq!(collector.snapshot(&operation("classify")).unwrap().calls.component, 400_000);
}
