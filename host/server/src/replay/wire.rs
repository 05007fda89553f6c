//! The protocols that a stand-in speaks, each in a file of its own. Pure.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use nexus_model::{ChatMessage, ToolRequest};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{anthropic, ollama, openai, recording::Tokens};

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    OpenAi,
    Anthropic,
    Ollama,
}

/// What a request asks, whatever the protocol.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) model: String,
    /// The messages as `nexus-llm` was given them.
    pub(super) messages: Vec<ChatMessage>,
    pub(super) stream: bool,
    /// Whether a stream tells the usage.
    pub(super) usage: bool,
    /// Whether tools may be called.
    pub(super) tools: bool,
    /// The tool that must be called with the answer.
    pub(super) tool: Option<String>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) text: String,
    /// The tools that are wanted beside that.
    pub(super) calls: Vec<Call>,
}

/// A tool that is wanted.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// What stands for JSON.
    pub(super) arguments: String,
}

impl Call {
    /// The arguments where a protocol has them as a value and not as a text.
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(&self.arguments).unwrap_or_else(|_| json!(self.arguments))
    }
}

/// A call in the past, its arguments as a protocol has them.
pub(super) fn past(id: String, name: String, arguments: Value) -> ToolRequest {
    let read = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
    ToolRequest { id, name, arguments: read.unwrap_or(arguments) }
}

/// What every answer to one request has in common.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: OffsetDateTime,
}

/// A text, or its parts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    Text { text: String },
}

impl Content {
    pub(super) fn parts(self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text],
            Self::Parts(parts) => parts.into_iter().map(|Part::Text { text }| text).collect(),
        }
    }

    pub(super) fn text(self) -> String {
        self.parts().concat()
    }
}

impl Wire {
    /// Reads a request; the error says what is wrong with it.
    pub(super) fn read(self, body: &[u8]) -> Result<Asked, Refusal> {
        let asked = match self {
            Self::OpenAi => openai::read(body),
            Self::Anthropic => anthropic::read(body),
            Self::Ollama => ollama::read(body),
        };
        asked.map_err(|error| Refusal::new(self, StatusCode::BAD_REQUEST, "invalid_request_error", error.to_string()))
    }

    /// The key of a request.
    pub(super) fn key(self, headers: &HeaderMap) -> Option<&str> {
        let bearer = || headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ");
        match self {
            // Anthropic takes both: its documentation names the first, its newer clients send the second.
            Self::Anthropic => headers.get("x-api-key").map_or_else(bearer, |key| key.to_str().ok()),
            Self::OpenAi | Self::Ollama => bearer(),
        }
    }

    /// The answer in the parts that are sent one after the other, and their content type.
    pub(super) fn answer(
        self,
        envelope: &Envelope,
        asked: &Asked,
        answer: &Answer,
        tokens: Tokens,
    ) -> (Vec<String>, &'static str) {
        let tool = asked.tool.as_deref();
        if asked.stream {
            return match self {
                Self::OpenAi => (openai::events(envelope, answer, tokens, asked.usage), "text/event-stream"),
                Self::Anthropic => (anthropic::events(envelope, answer, tokens, tool), "text/event-stream"),
                Self::Ollama => (ollama::lines(envelope, answer, tokens), "application/x-ndjson"),
            };
        }
        let whole = match self {
            Self::OpenAi => openai::whole(envelope, answer, tokens),
            Self::Anthropic => anthropic::whole(envelope, answer, tokens, tool),
            Self::Ollama => ollama::whole(envelope, answer, tokens),
        };
        (vec![whole.to_string()], "application/json")
    }
}

/// An error in the shape of the protocol.
#[derive(Debug)]
pub(super) struct Refusal {
    wire: Wire,
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(wire: Wire, status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { wire, status, kind, message: message.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = match self.wire {
            Wire::OpenAi => openai::error(&self),
            Wire::Anthropic => anthropic::error(&self),
            Wire::Ollama => ollama::error(&self),
        };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
