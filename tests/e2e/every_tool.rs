//! One execution that uses tools of every kind, as its record shows it and as a collector does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{create_dir_all, read_to_string, write},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, Uri},
};
use nexus_tests::{FIXTURE_INPUTS, Fixture, House, Stage, Taste, input, peers, programs, said};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value as Any,
    trace::v1::{ResourceSpans, Span},
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const APP: &str = "scale-room";
const PATIENCE: Duration = Duration::from_mins(1);
/// An input that no split has seen, which code handles.
const UNSEEN: usize = 200;

/// Weighs by a prompt, and if all is wanted, counts in the state, has a component compute and asks a server of the community.
const WORKFLOW: &str = r#"
document: { dsl: 1.0.3, namespace: scale-room, name: handle, version: 1.0.0 }
do:
  - weigh:
      call: prompt
      with: { prompt: prompts/weigh.prompt.yml, input: { text: "${ .text }" }, output: schemas/grams.json }
      output: { as: "${ $input + . }" }
  - wantsAll:
      switch:
        - no: { when: "${ .all != true }", then: end }
        - yes: { then: count }
  - count:
      call: tool
      with: { tool: core.state.increment, arguments: { key: weighed } }
      output: { as: "${ $input + { number: .value } }" }
  - price:
      call: tool
      with: { tool: pricing.total, arguments: { lines: [{ quantity: "${ .grams }", unit-price: "0.02" }] } }
      output: { as: "${ $input + { price: . } }" }
  - time:
      call: tool
      with:
        tool: clock.convert_time
        arguments: { source_timezone: Etc/UTC, time: "12:00", target_timezone: Asia/Tokyo }
      output: { as: "${ $input + { tokyo: .target.datetime } }" }
"#;

/// What the application has beside the fixture's.
const MORE: &str = "
  plugins:
    pricing: { component: plugins/pricing.wasm }
  mcp:
    clock: { host: clock }
  tools: { allow: [core.state.increment, pricing.total, clock.convert_time] }
";
const OPERATION: &str = "  operations:
    handle:
      input: schemas/any.json
      output: schemas/any.json
      workflow: workflows/handle.yaml
      optimize: { mode: auto, agreement: 0.95, min_inputs: 150 }
";

/// The fixture with the workflow; what was written for `weigh` is written for its step, too.
fn write_app(folder: &Path) -> Result<Stage> {
    let stage = Stage::new(folder)?;
    stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
    let app = stage.apps().join(APP);
    let yaml = read_to_string(app.join("app.yaml"))?;
    write(app.join("app.yaml"), yaml.replace("  operations:\n", OPERATION) + MORE)?;
    write(app.join("schemas/any.json"), "{}")?;
    create_dir_all(app.join("workflows"))?;
    write(app.join("workflows/handle.yaml"), WORKFLOW)?;
    create_dir_all(app.join("plugins"))?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist/pricing.wasm");
    std::fs::copy(&built, app.join("plugins/pricing.wasm"))
        .with_context(|| format!("{} is not there: `cargo xtask build` makes it", built.display()))?;
    for kind in ["jsonl", "coder.jsonl"] {
        let recordings = folder.join("recordings").join(APP);
        let weigh = read_to_string(recordings.join(format!("weigh.{kind}")))?;
        let step = weigh.replace("scale-room/weigh\"", "scale-room/handle-weigh\"");
        write(recordings.join(format!("handle-weigh.{kind}")), step)?;
    }
    Ok(stage)
}

/// A collector of traces. It ends when this is dropped.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<ResourceSpans>>>,
    /// Whether something came that is no trace.
    broken: Arc<Mutex<Option<String>>>,
    stop: CancellationToken,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Kept {
    received: Arc<Mutex<Vec<ResourceSpans>>>,
    broken: Arc<Mutex<Option<String>>>,
}

async fn keep(State(kept): State<Kept>, uri: Uri, body: Bytes) -> StatusCode {
    if uri.path() == "/v1/traces" {
        match ExportTraceServiceRequest::decode(body) {
            Ok(request) => {
                kept.received.lock().unwrap_or_else(PoisonError::into_inner).extend(request.resource_spans);
            }
            Err(error) => *kept.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string()),
        }
    }
    StatusCode::OK
}

impl Collector {
    fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let kept = Kept { received: Arc::default(), broken: Arc::default() };
        let routes = Router::new().fallback(keep).with_state(kept.clone());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        let serving = async move { axum::serve(listener, routes).with_graceful_shutdown(stopped).await };
        tasks.spawn_on(serving, runtime.handle());
        Ok(Self { url, received: kept.received, broken: kept.broken, stop, _runtime: runtime })
    }

    /// The trace in which an execution is, whole, once its spans have come.
    fn trace_of(&self, execution: &str, spans: usize) -> Result<Vec<ResourceSpans>> {
        let end = Instant::now() + PATIENCE;
        loop {
            let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ensure!(broken.is_none(), "what came is no trace: {broken:?}");
            let all = self.received.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let own = all_spans(&all).find(|span| is_execution(span, execution)).map(|span| span.trace_id.clone());
            let trace = own.map_or_else(Vec::new, |own| only(all, &own));
            if all_spans(&trace).count() >= spans {
                return Ok(trace);
            }
            ensure!(Instant::now() < end, "the trace has not come: {trace:#?}");
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn all_spans(of: &[ResourceSpans]) -> impl Iterator<Item = &Span> {
    of.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans)
}

/// What belongs to one trace.
fn only(mut all: Vec<ResourceSpans>, trace: &[u8]) -> Vec<ResourceSpans> {
    for resource in &mut all {
        for scope in &mut resource.scope_spans {
            scope.spans.retain(|span| span.trace_id == trace);
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    all.retain(|resource| !resource.scope_spans.is_empty());
    all
}

/// The text of an attribute.
fn about<'s>(span: &'s Span, name: &str) -> Option<&'s str> {
    let found = span.attributes.iter().find(|pair| pair.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text),
        _ => None,
    }
}

fn is_execution(span: &Span, id: &str) -> bool {
    span.name == "execution" && about(span, "nexus.execution") == Some(id)
}

fn call(house: &House, input: &Value) -> Result<(Value, String)> {
    let reply = house.api.call(APP, "handle", input)?;
    let output = reply.success()?;
    Ok((output, reply.execution.context("the call has no execution")?))
}

fn start(stage: &Stage, collector: &Collector) -> Result<House> {
    let clock =
        json!({ "program": peers()?.join("venv/bin/mcp-server-time"), "args": ["--local-timezone", "Etc/UTC"] });
    let settings = format!(
        "sandbox: {{ driver: process }}\noracle: {{ tick_ms: 100, audit_share: 0 }}\nmcp: {{ programs: {{ clock: {clock} }} }}\n\
         telemetry: {{ otlp_endpoint: \"{}\" }}\n",
        collector.url
    );
    let house = stage.start_with(&settings, None)?;
    let nexus = |arguments: &[&str]| {
        let mut command = Command::new(programs()?.join("nexus"));
        said(command.args(arguments).args(["--url", house.api.base()]).env("NEXUS_KEY", &house.key))
    };
    nexus(&["apps", "import", &stage.apps().join(APP).display().to_string()])?;
    nexus(&["mcp", "approve", APP, "clock", "convert_time", "--yes"])?;
    Ok(house)
}

#[test]
fn one_execution_uses_every_kind_of_tool() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = write_app(folder.path())?;
    let collector = Collector::start()?;
    let house = start(&stage, &collector)?;
    for number in 0..FIXTURE_INPUTS {
        call(&house, &input("weigh", number))?;
    }
    assert_eq!(house.decision(APP, "handle-weigh")?, "active");

    let mut wanted = input("weigh", UNSEEN);
    wanted["all"] = json!(true);
    let (output, id) = call(&house, &wanted)?;
    assert_eq!((&output["grams"], &output["number"]), (&json!(200_000), &json!(1)), "{output}");
    assert_eq!(output["price"], "4000.00", "{output}");
    ensure!(output["tokyo"].as_str().is_some_and(|time| time.contains("21:00")), "{output}");

    let execution = house.api.get(&format!("/v1/executions/{id}"))?.success()?;
    let steps = execution["steps"].as_array().context("steps")?;
    let told: Vec<_> = steps.iter().map(|step| [&step["kind"], &step["name"], &step["state"], &step["path"]]).collect();
    let wanted = json!([
        ["prompt", "prompts/weigh.prompt.yml", "completed", "component"],
        ["tool", "core.state.increment", "completed", null],
        ["tool", "pricing.total", "completed", null],
        ["tool", "clock.convert_time", "completed", null],
    ]);
    assert_eq!(json!(told), wanted, "{execution}");
    let step = steps[0]["execution"].as_str().context("the prompt has an execution of its own")?;
    the_trace_is_whole(&collector, &id, step)?;
    house.stop()
}

/// The request, below it the execution, below that the tools and the prompt's own execution, below that the component. What came
/// is kept for whoever wants to look at it with a viewer of traces.
fn the_trace_is_whole(collector: &Collector, id: &str, step: &str) -> Result<()> {
    let trace = collector.trace_of(id, 7)?;
    let spans: BTreeMap<&[u8], &Span> = all_spans(&trace).map(|span| (span.span_id.as_slice(), span)).collect();
    let named = |name: &str| spans.values().filter(|span| span.name == name).copied().collect::<Vec<_>>();
    let own = named("execution").into_iter().find(|span| is_execution(span, id)).context("the execution")?;
    let request = spans.get(own.parent_span_id.as_slice()).context("the execution is below nothing")?;
    assert_eq!(request.name, "POST /v1/apps/{app}/operations/{operation}");

    let tools = named("tool");
    ensure!(tools.iter().all(|tool| tool.parent_span_id == own.span_id), "{tools:#?}");
    let tools: BTreeSet<_> = tools.iter().filter_map(|tool| about(tool, "nexus.tool")).collect();
    assert_eq!(tools, BTreeSet::from(["core.state.increment", "pricing.total", "clock.convert_time"]));

    let prompt = named("execution").into_iter().find(|span| is_execution(span, step)).context("the prompt")?;
    assert_eq!(prompt.parent_span_id, own.span_id);
    assert_eq!(about(prompt, "nexus.path"), Some("component"));
    let [component] = named("component")[..] else { anyhow::bail!("not one component: {trace:#?}") };
    assert_eq!((&component.parent_span_id, about(component, "nexus.outcome")), (&prompt.span_id, Some("value")));

    let file = kept()?;
    write(&file, serde_json::to_string_pretty(&ExportTraceServiceRequest { resource_spans: trace })?)?;
    Ok(())
}

/// Where the trace is kept, as OTLP has it in JSON.
fn kept() -> Result<PathBuf> {
    Ok(programs()?.join("one-execution.otlp.json"))
}
