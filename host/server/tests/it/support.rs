//! A server in this process, an endpoint for it to ask, and a client.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use nexus_llm::ModelSettings;
use nexus_server::{AdminKey, Running, Server, Settings, Surroundings};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A hand-made endpoint in the shape of `OpenAI`'s chat completions. It is no model: it answers `{"shout": …}` with the
/// user's text in capitals. `held` in the text keeps the answer back until [`ShoutingEndpoint::release`], `fail` is
/// answered with 500.
pub(crate) struct ShoutingEndpoint {
    pub(crate) url: String,
    held: Held,
    _tasks: TaskTracker,
    _stop: tokio_util::sync::DropGuard,
}

#[derive(Clone, Default)]
struct Held {
    asked: Arc<AtomicUsize>,
    traces: Arc<Mutex<Vec<String>>>,
    released: CancellationToken,
}

impl ShoutingEndpoint {
    pub(crate) async fn start() -> Self {
        let held = Held::default();
        let routes = Router::new().route("/v1/chat/completions", post(shout)).with_state(held.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move { axum::serve(listener, routes).with_graceful_shutdown(stopped).await });
        Self { url, held, _tasks: tasks, _stop: stop.drop_guard() }
    }

    /// `traceparent` and `tracestate` of each request.
    pub(crate) fn traces(&self) -> Vec<String> {
        self.held.traces.lock().unwrap().clone()
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.held.asked.load(Ordering::SeqCst)
    }

    /// Waits until it was asked this often.
    pub(crate) async fn asked_by(&self, times: usize) {
        in_time(async {
            while self.asked() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Lets go of the answers that are kept back, now and from now on.
    pub(crate) fn release(&self) {
        self.held.released.cancel();
    }
}

/// Makes a failure of what would wait for ever.
pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), what).await.unwrap()
}

async fn shout(State(held): State<Held>, headers: HeaderMap, Json(request): Json<Value>) -> Response {
    held.asked.fetch_add(1, Ordering::SeqCst);
    let field = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    held.traces.lock().unwrap().push(format!("{} {}", field("traceparent"), field("tracestate")).trim().to_owned());
    let last = request["messages"].as_array().and_then(|messages| messages.last());
    let text = last.and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned();
    if text.contains("fail") {
        // Some providers repeat the key that they refuse.
        let said = "out of order for sk-canary-0123456789\n2026-01-01T00:00:00.000Z ERROR forged\r\u{1b}[2J{}";
        return (StatusCode::INTERNAL_SERVER_ERROR, said).into_response();
    }
    if text.contains("held") {
        held.released.cancelled().await;
    }
    let answer = json!({ "shout": text.to_uppercase() }).to_string();
    let (front, back) = answer.split_at(answer.len() / 2);
    let mut body = String::new();
    for piece in [front, back] {
        body += &chunk(&json!([{ "index": 0, "delta": { "content": piece }, "finish_reason": null }]), &Value::Null);
    }
    body += &chunk(&json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]), &Value::Null);
    body += &chunk(&json!([]), &json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 }));
    body += "data: [DONE]\n\n";
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))], body).into_response()
}

fn chunk(choices: &Value, usage: &Value) -> String {
    let chunk = json!({
        "id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": choices, "usage": usage,
    });
    format!("data: {chunk}\n\n")
}

const APP: &str = "apiVersion: nexus/v1
kind: Application
metadata:
  name: echo-desk
  description: Shouts what it is told.
spec:
  operations:
    shout:
      description: Says it louder.
      input: schemas/text.json
      output: schemas/shout.json
      prompt: prompts/shout.prompt.yml
      optimize: { mode: recommend, agreement: 0.98, min_inputs: 100 }
";

const PROMPT: &str = "name: Shout
description: Says it louder.
model: loud
messages:
  - { role: system, content: Say it louder. }
  - { role: user, content: \"{{ input.text }}\" }
";

/// Writes the application `echo-desk` below `folder`.
pub(crate) fn write_app(folder: &Path) -> PathBuf {
    let app = folder.join("echo-desk");
    fs::create_dir_all(app.join("schemas")).unwrap();
    fs::create_dir_all(app.join("prompts")).unwrap();
    fs::write(app.join("app.yaml"), APP).unwrap();
    fs::write(app.join("prompts/shout.prompt.yml"), PROMPT).unwrap();
    let schema = |field: &str| {
        let text = json!({ "type": "string", "maxLength": 1_000_000 });
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "additionalProperties": false, "required": [field], "properties": { field: text },
        })
        .to_string()
    };
    fs::write(app.join("schemas/text.json"), schema("text")).unwrap();
    fs::write(app.join("schemas/shout.json"), schema("shout")).unwrap();
    app
}

/// Puts five faults into the application.
pub(crate) fn break_app(app: &Path) {
    let text = APP
        .replace("description: Says", "descripton: Says")
        .replace("schemas/text.json", "schemas/txt.json")
        .replace("mode: recommend", "mode: sometimes")
        .replace("agreement: 0.98", "agreement: 3");
    fs::write(app.join("app.yaml"), text).unwrap();
    fs::write(app.join("prompts/shout.prompt.yml"), PROMPT.replace("model: loud", "modle: loud")).unwrap();
}

/// A server, what it stands on, and who asks it.
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) endpoint: ShoutingEndpoint,
    pub(crate) settings: Settings,
    pub(crate) admin: String,
    pub(crate) client: reqwest::Client,
    running: Option<Running>,
}

/// Settings of a server that serves `echo-desk` from `dir` and asks `endpoint`.
pub(crate) fn settings(dir: &Path, endpoint: &str) -> Settings {
    let mut settings = Settings::for_testing(dir.join("data"));
    let model: ModelSettings = serde_json::from_value(json!({ "endpoint": endpoint, "model": "m" })).unwrap();
    settings.models.insert("loud".to_owned(), model.clone());
    settings.models.insert("coder".to_owned(), model);
    settings.apps = Some(dir.join("apps"));
    settings.wasm.compiler = Some(env!("CARGO_BIN_EXE_nexus").into());
    settings
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_app(&dir.path().join("apps"));
        let endpoint = ShoutingEndpoint::start().await;
        let mut settings = settings(dir.path(), &endpoint.url);
        change(&mut settings);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut host = Self { dir, endpoint, settings, admin: String::new(), client, running: None };
        host.resume().await;
        host
    }

    /// Starts again on the same data.
    pub(crate) async fn resume(&mut self) {
        let running = Server::start_in(self.settings.clone(), Surroundings::default()).await.unwrap();
        if let AdminKey::File(path) = &running.admin_key {
            fs::read_to_string(path).unwrap().trim().clone_into(&mut self.admin);
        }
        self.running = Some(running);
    }

    pub(crate) fn url(&self) -> String {
        self.running.as_ref().unwrap().url()
    }

    pub(crate) fn addr(&self) -> std::net::SocketAddr {
        self.running.as_ref().unwrap().addr
    }

    pub(crate) fn take(&mut self) -> Running {
        self.running.take().unwrap()
    }

    pub(crate) async fn stop(&mut self) -> bool {
        self.take().stop().await
    }

    /// A request with the admin key.
    pub(crate) fn ask(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url())).bearer_auth(&self.admin)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.ask(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.ask(Method::POST, path).json(body)
    }

    pub(crate) fn shout(&self, text: &str) -> reqwest::RequestBuilder {
        self.post(SHOUT, &json!({ "text": text }))
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    /// Makes a key with these scopes.
    pub(crate) async fn key(&self, scopes: &[&str]) -> String {
        let created = self.post("/v1/keys", &json!({ "name": "test", "scopes": scopes })).send().await.unwrap();
        let created: Value = created.error_for_status().unwrap().json().await.unwrap();
        created["key"].as_str().unwrap().to_owned()
    }
}

pub(crate) const SHOUT: &str = "/v1/apps/echo-desk/operations/shout";

/// Asserts that this is a problem, and gives it.
pub(crate) async fn problem(response: reqwest::Response, status: u16, code: &str) -> Value {
    let (got, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    assert_eq!(got.as_u16(), status, "{text}");
    assert_eq!(headers["content-type"], "application/problem+json", "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status, "{text}");
    assert_eq!(problem["code"], code, "{text}");
    assert_eq!(problem["type"], format!("urn:nexus:problem:{code}"), "{text}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{text}");
    problem
}
