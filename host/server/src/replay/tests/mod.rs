//! The stand-in over a real socket, asked by the provider that the server uses.

mod agents;
mod answers;
mod loading;
mod wires;
mod wrong;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nexus_llm::LanguageModels;
use nexus_model::{GenerateRequest, Generation, Message, ModelError, ModelParameters, ModelProvider, Role, TokenSink};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use super::{Latency, Options, Replay, ReplayError, router};

const APP: &str = "\
apiVersion: nexus/v1
kind: Application
metadata: { name: desk, description: Reads numbers. }
spec:
  operations:
    read:
      description: Reads a number.
      input: schemas/in.json
      output: schemas/out.json
      prompt: prompts/read.prompt.yml
";
const INPUT: &str =
    r#"{"type":"object","properties":{"text":{"type":"string"}},"required":["text"],"additionalProperties":false}"#;
const OUTPUT: &str =
    r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#;
const PROMPT: &str = "\
name: Read
description: Reads a number.
model: small
messages:
  - { role: system, content: 'You read numbers.' }
  - { role: user, content: 'Text: {{ input.text }}' }
";

/// A folder of applications with recordings in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("desk/app.yaml", APP),
            ("desk/schemas/in.json", INPUT),
            ("desk/schemas/out.json", OUTPUT),
            ("desk/prompts/read.prompt.yml", PROMPT),
        ] {
            folder.put(path, text);
        }
        folder
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The recordings of `desk/read`.
    fn record(&self, lines: &[Value]) {
        self.put("recordings/desk/read.jsonl", &joined(lines));
    }

    fn record_coder(&self, lines: &[Value]) {
        self.put("recordings/desk/read.coder.jsonl", &joined(lines));
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self) -> Result<Replay, ReplayError> {
        Replay::load(self.path(), &self.path().join("recordings"))
    }
}

fn joined(lines: &[Value]) -> String {
    lines.iter().flat_map(|line| [line.to_string(), "\n".to_owned()]).collect()
}

fn recording(text: &str, n: i64) -> Value {
    json!({
        "model": "small-1", "key": { "operation": "desk/read", "input": { "text": text } }, "answer": { "n": n },
        "tokens": { "input": 12, "output": 5 }, "latency_ms": 300, "origin": "recorded",
    })
}

fn coder_recording(attempt: u32, prompt_sha256: &str) -> Value {
    json!({
        "model": "small-1", "key": { "operation": "desk/read", "attempt": attempt }, "answer": { "n": attempt },
        "prompt_sha256": prompt_sha256,
        "tokens": { "input": 900, "output": 80 }, "latency_ms": 10, "origin": "written", "note": "by hand",
    })
}

fn at_once() -> Options {
    Options { latency: Latency::None, ..Options::default() }
}

/// A running stand-in.
struct StandIn {
    address: SocketAddr,
    stop: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl StandIn {
    async fn start(replay: Replay, options: Options) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = router(Arc::new(replay), options, stop.clone());
        let task = TaskTracker::new().spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, stop, _task: AbortOnDropHandle::new(task) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> Value {
        client().get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    async fn stats(&self) -> Value {
        self.get("/stats").await["stats"].clone()
    }

    async fn post(&self, body: &Value) -> (u16, Value) {
        let response = client().post(self.url("/v1/chat/completions")).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Asks as the server does, and gives the pieces.
    async fn ask(&self, messages: Vec<Message>) -> (Result<Generation, ModelError>, Vec<String>) {
        let settings = json!({ "endpoint": self.url("/v1"), "model": "small-1", "key": { "env": "KEY" } });
        let models = BTreeMap::from([("small".to_owned(), serde_json::from_value(settings).unwrap())]);
        let models = LanguageModels::new(models, Arc::new(|_| Some(SecretString::from("sk-test")))).unwrap();
        let request = GenerateRequest {
            model: "small".to_owned(),
            messages,
            parameters: ModelParameters::default(),
            schema: Arc::new(serde_json::from_str(OUTPUT).unwrap()),
            timeout: Duration::from_secs(2),
            fallback: true,
        };
        let mut pieces = Pieces::default();
        let result = models.generate(&request, Some(&mut pieces)).await;
        (result, pieces.0)
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[derive(Default)]
struct Pieces(Vec<String>);

impl TokenSink for Pieces {
    fn token(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }

    fn restart(&mut self) {
        self.0.push("<restart>".to_owned());
    }
}

/// The messages that the prompt renders to.
fn prompt(text: &str) -> Vec<Message> {
    vec![
        Message { role: Role::System, content: "You read numbers.".to_owned() },
        Message { role: Role::User, content: format!("Text: {text}") },
    ]
}

fn coder_prompt(attempt: u32) -> Vec<Message> {
    vec![
        Message { role: Role::System, content: "You write code.".to_owned() },
        Message { role: Role::User, content: format!("Operation: desk/read · Attempt: {attempt}\nGo.") },
    ]
}

/// The samples of the repository.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps")
}
