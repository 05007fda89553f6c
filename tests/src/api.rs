//! Calls of a running server over HTTP.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

/// The longest that one request may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The largest answer that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// A client of one server, with one key. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    base: String,
    key: Option<String>,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `x-nexus-path`: `component` or `model`.
    pub path: Option<String>,
    /// `x-nexus-fallback`: why the component that was asked first did not answer.
    pub fallback: Option<String>,
    /// `x-nexus-execution`.
    pub execution: Option<String>,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
    /// The body as text.
    pub text: String,
    /// From the request's first byte to the answer's last.
    pub elapsed: Duration,
}

impl Reply {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The body as JSON, if the status says success.
    pub fn success(&self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("HTTP {}: {}", self.status, self.text);
        }
        serde_json::from_str(&self.text).with_context(|| format!("the answer is no JSON: {}", self.text))
    }
}

impl Api {
    /// A client for the server at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: &str, key: Option<&str>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .max_idle_connections_per_host(32)
            .build()
            .new_agent();
        Self { agent, base: base.trim_end_matches('/').to_owned(), key: key.map(str::to_owned) }
    }

    /// The same server, with another key or none.
    #[must_use]
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self.clone() }
    }

    /// Where the server listens.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The key that it sends.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Calls an operation.
    pub fn call(&self, app: &str, operation: &str, input: &Value) -> Result<Reply> {
        self.post(&format!("/v1/apps/{app}/operations/{operation}"), input.to_string().as_bytes())
    }

    /// Begins an execution of an operation that has a workflow, and does not wait for it (`Prefer: respond-async`).
    pub fn begin(&self, app: &str, operation: &str, input: &Value) -> Result<Reply> {
        let path = format!("/v1/apps/{app}/operations/{operation}");
        self.send(
            &path,
            &[("content-type", "application/json"), ("prefer", "respond-async")],
            input.to_string().as_bytes(),
        )
    }

    /// What the oracle says about an operation.
    pub fn optimization(&self, app: &str, operation: &str) -> Result<Value> {
        self.get(&format!("/v1/apps/{app}/operations/{operation}/optimization"))?.success()
    }

    /// Tells the oracle to `compile`, `promote` or `demote`.
    pub fn optimize(&self, app: &str, operation: &str, order: &str) -> Result<Reply> {
        self.post(&format!("/v1/apps/{app}/operations/{operation}/{order}"), b"")
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Result<Reply> {
        let begin = Instant::now();
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        read(request.call().with_context(|| format!("GET {path}"))?, begin)
    }

    /// `PUT` of a file's bytes, under the condition `If-Match`.
    pub fn put(&self, path: &str, condition: &str, body: &[u8]) -> Result<Reply> {
        let begin = Instant::now();
        let mut request = self.agent.put(format!("{}{path}", self.base)).header("if-match", condition);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        read(request.send(body).with_context(|| format!("PUT {path}"))?, begin)
    }

    /// `DELETE`.
    pub fn delete(&self, path: &str) -> Result<Reply> {
        let begin = Instant::now();
        let mut request = self.agent.delete(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        read(request.call().with_context(|| format!("DELETE {path}"))?, begin)
    }

    /// `POST` of JSON bytes, which need not be JSON.
    pub fn post(&self, path: &str, body: &[u8]) -> Result<Reply> {
        self.post_as(path, "application/json", body)
    }

    /// Publishes events of an application in one batch.
    pub fn publish(&self, app: &str, events: &[Value]) -> Result<Reply> {
        let body = Value::from(events).to_string();
        self.post_as(&format!("/v1/events?app={app}"), "application/cloudevents-batch+json", body.as_bytes())
    }

    fn post_as(&self, path: &str, media_type: &str, body: &[u8]) -> Result<Reply> {
        self.send(path, &[("content-type", media_type)], body)
    }

    fn send(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        let begin = Instant::now();
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        read(request.send(body).with_context(|| format!("POST {path}"))?, begin)
    }
}

fn read(mut response: Response<Body>, begin: Instant) -> Result<Reply> {
    let text = response.body_mut().with_config().limit(LARGEST).read_to_string().context("the answer broke off")?;
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    Ok(Reply {
        status: response.status().as_u16(),
        path: header("x-nexus-path"),
        fallback: header("x-nexus-fallback"),
        execution: header("x-nexus-execution"),
        retry_after: header("retry-after").and_then(|value| value.parse().ok()),
        elapsed: begin.elapsed(),
        text,
    })
}
