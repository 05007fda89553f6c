//! What was opened is in no panic, wherever that is told. Alone in its program: the log is the process's.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, header},
    routing::post,
};
use nexus_llm::ModelSettings;
use nexus_model::SPANS;
use nexus_server::{AdminKey, Running, Server, Settings, Surroundings};
use nexus_signals::{HostMetrics, LogQueue, LoggingService, LoggingSettings, Redactor, Telemetry, TelemetrySettings};
use serde_json::{Value, json};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// In a form of its own: nothing about it looks like a secret.
const PLANTED: &str = "seven-purple-otters-juggle-quietly";

type Seen = Arc<Mutex<Vec<u8>>>;

/// Serves until the guard is dropped.
async fn serve(routes: Router, tasks: &TaskTracker) -> (String, DropGuard) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    tasks.spawn(async move { axum::serve(listener, routes).with_graceful_shutdown(stopped).await });
    (url, stop.drop_guard())
}

/// A provider that says that the model which answers is called like the key.
async fn answer(State(seen): State<Seen>, headers: HeaderMap) -> ([(header::HeaderName, &'static str); 1], String) {
    let key = headers[header::AUTHORIZATION].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    seen.lock().unwrap().extend(key.bytes());
    let chunk = json!({
        "id": "x", "object": "chat.completion.chunk", "created": 0, "model": key,
        "choices": [{ "index": 0, "delta": { "content": "{\"shout\":\"X\"}" }, "finish_reason": "stop" }],
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], format!("data: {chunk}\n\ndata: [DONE]\n\n"))
}

/// Keeps what is exported. Text stands in protobuf as it is.
async fn collect(State(seen): State<Seen>, body: Bytes) {
    seen.lock().unwrap().extend(body);
}

fn settings(dir: &Path, provider: &str) -> Settings {
    let app = dir.join("apps/echo-desk");
    fs::create_dir_all(&app).unwrap();
    let yaml = "apiVersion: nexus/v1\nkind: Application\nmetadata: { name: echo-desk }\nspec:\n  operations:\n    \
                shout: { input: in.json, output: out.json, prompt: shout.prompt.yml }\n";
    fs::write(app.join("app.yaml"), yaml).unwrap();
    let prompt = "name: p\nmodel: loud\nmessages: [{ role: user, content: '{{ input.text }}' }]\n";
    fs::write(app.join("shout.prompt.yml"), prompt).unwrap();
    for (file, field) in [("in.json", "text"), ("out.json", "shout")] {
        let schema = json!({
            "type": "object", "required": [field], "additionalProperties": false,
            "properties": { field: { "type": "string" } },
        });
        fs::write(app.join(file), schema.to_string()).unwrap();
    }
    let mut settings = Settings::for_testing(dir.join("data"));
    let model = json!({ "endpoint": format!("{provider}/v1"), "model": "m", "key": { "secret": "loud" } });
    settings.models.insert("loud".to_owned(), serde_json::from_value::<ModelSettings>(model).unwrap());
    settings.apps = Some(dir.join("apps"));
    settings.wasm.compiler = Some(env!("CARGO_BIN_EXE_nexus").into());
    settings
}

/// Plants a secret in the vault of a server that is gone afterwards, and gives the admin key.
async fn plant(settings: &Settings, client: &reqwest::Client) -> String {
    let running = Server::start_in(settings.clone(), Surroundings::default()).await.unwrap();
    let AdminKey::File(path) = &running.admin_key else { panic!("no key was made") };
    let admin = fs::read_to_string(path).unwrap().trim().to_owned();
    let put = client.put(format!("{}/v1/secrets/loud", running.url())).bearer_auth(&admin);
    put.json(&json!({ "value": PLANTED })).send().await.unwrap().error_for_status().unwrap();
    assert!(running.stop().await);
    admin
}

async fn call(running: &Running, client: &reqwest::Client, admin: &str) -> Value {
    let url = format!("{}/v1/apps/echo-desk/operations/shout", running.url());
    let answer = client.post(url).bearer_auth(admin).json(&json!({ "text": "x" })).send().await.unwrap();
    let execution = answer.headers()["x-nexus-execution"].to_str().unwrap().to_owned();
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "shout": "X" }));
    let get = client.get(format!("{}/v1/executions/{execution}", running.url())).bearer_auth(admin);
    get.send().await.unwrap().json().await.unwrap()
}

/// Everything in the files of a folder.
fn all_of(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    files.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_opened_is_in_no_panic() {
    let (dir, tasks) = (tempfile::tempdir().unwrap(), TaskTracker::new());
    let (asked, logs, spans) = (Seen::default(), Seen::default(), Seen::default());
    let (provider, _provides) = serve(Router::new().fallback(post(answer)).with_state(asked.clone()), &tasks).await;
    let collector = Router::new().route("/v1/logs", post(collect)).with_state(logs.clone());
    let collector = collector.merge(Router::new().route("/v1/traces", post(collect)).with_state(spans.clone()));
    let (endpoint, _collects) = serve(collector, &tasks).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let settings = settings(dir.path(), &provider);
    let admin = plant(&settings, &client).await;

    // As `nexus serve` has it, but for standard error.
    let (redactor, metrics) = (Redactor::default(), Arc::<HostMetrics>::default());
    let (sample, service, metrics_every) = (1.0, "nexus".to_owned(), Duration::from_mins(1));
    let export = TelemetrySettings { endpoint, headers: BTreeMap::new(), sample, service, metrics_every };
    let runtime = tokio::runtime::Handle::current();
    let telemetry = Telemetry::new(export, runtime, &metrics, redactor.clone()).unwrap();
    let (queue, records) = LogQueue::new();
    let logging = LoggingSettings {
        redactor: redactor.clone(),
        queue: Some(queue),
        telemetry: Some(telemetry.clone()),
        metrics: Arc::clone(&metrics),
        ..LoggingSettings::default()
    };
    let stderr = File::create(dir.path().join("stderr")).unwrap();
    LoggingService::new(logging).unwrap().install_on(stderr).unwrap();
    let (log, exporting) = (Some(records), Some(telemetry.clone()));
    let surroundings =
        Surroundings { log, telemetry: exporting, metrics, redactor: redactor.clone(), ..Surroundings::default() };
    let running = Server::start_in(settings, surroundings).await.unwrap();

    assert_eq!(redactor.redact(PLANTED), PLANTED, "it has not been opened yet");
    let execution = call(&running, &client, &admin).await;
    assert_eq!(String::from_utf8_lossy(&asked.lock().unwrap()), PLANTED, "the provider was asked with it");
    let key = admin.clone();
    let panicked = tasks.spawn(async move {
        let _span = tracing::trace_span!(target: SPANS, "work", said = PLANTED, by = &*key).entered();
        panic!("asked with {PLANTED:?}\nfor {key}")
    });
    assert!(panicked.await.unwrap_err().is_panic());
    // What this test has to say itself is shown as ever.
    drop(std::panic::take_hook());
    let shown = client.get(format!("{}/metrics", running.url())).bearer_auth(&admin).send().await.unwrap();
    let shown = shown.text().await.unwrap();
    assert!(running.stop().await);
    telemetry.stop().await;

    let text = |seen: Seen| String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    let (logs, spans) = (text(logs), text(spans));
    let places = [
        ("standard error", fs::read_to_string(dir.path().join("stderr")).unwrap(), r#"asked with "***"\nfor nxs_***"#),
        ("the log on disk", all_of(&dir.path().join("data/log")), r#"asked with \"***\"\nfor nxs_***"#),
        ("the records at the collector", logs, "asked with \"***\"\nfor nxs_***"),
        ("the spans at the collector", spans, "said\u{12}\u{5}\n\u{3}***"),
        ("the metrics", shown, "gen_ai_client_operation_duration_seconds_count{"),
        ("the execution", execution.to_string(), "echo-desk"),
    ];
    for (place, text, told) in places {
        assert!(text.contains(told), "{place}: {text}");
        assert!(!text.contains(PLANTED) && !text.contains(&admin[5..]), "{place}: {text}");
    }
}
