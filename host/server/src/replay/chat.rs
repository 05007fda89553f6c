//! Chat completions as `OpenAI` defined them, the part of it that is needed.

use axum::{
    Json,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use nexus_model::{Message, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::recording::Tokens;

/// A request; what is not named here is ignored, as sampling settings do not change a recorded answer.
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    messages: Vec<ChatMessage>,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct ChatMessage {
    role: Role,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    Text { text: String },
}

impl ChatRequest {
    /// The messages as `nexus-llm` was given them.
    pub(super) fn messages(&self) -> Vec<Message> {
        let text = |content: &Content| match content {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => parts.iter().map(|Part::Text { text }| text.as_str()).collect(),
        };
        self.messages.iter().map(|message| Message { role: message.role, content: text(&message.content) }).collect()
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage)
    }
}

/// What every answer to one request has in common.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: i64,
}

impl Envelope {
    /// The whole answer at once.
    pub(super) fn completion(&self, text: &str, tokens: Tokens) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "nexus-replay",
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": text },
                "finish_reason": "stop",
            }],
            "usage": usage(tokens),
        })
    }

    /// One event of a stream; `finish_reason` is null until the last.
    pub(super) fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> String {
        self.event(&json!([{ "index": 0, "delta": delta, "finish_reason": finish_reason }]), &Value::Null)
    }

    /// The event after the last piece that tells the usage.
    pub(super) fn usage_chunk(&self, tokens: Tokens) -> String {
        self.event(&json!([]), &usage(tokens))
    }

    fn event(&self, choices: &Value, usage: &Value) -> String {
        let data = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "nexus-replay",
            "choices": choices,
            "usage": usage,
        });
        format!("data: {data}\n\n")
    }
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": u64::from(tokens.input) + u64::from(tokens.output),
    })
}

/// An error in the shape of `OpenAI`.
#[derive(Debug)]
pub(super) struct ChatError {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl IntoResponse for ChatError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "message": self.message, "type": self.kind, "code": self.kind } });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        }
        response
    }
}
