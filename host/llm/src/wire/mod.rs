//! What providers are sent and what they send back: one file each, behind the same exchange. Pure.

mod anthropic;
mod ollama;
mod openai;
mod schema;

use nexus_model::{ChatMessage, ModelTool};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};
use serde_json::{Value, json};

use crate::{
    calls::CallPiece,
    failure::Failure,
    frames::Framing,
    question::Question,
    settings::{ModelSettings, Provider},
    tokens::Reported,
};

/// What one message of a stream says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// The next piece of the answer.
    pub(crate) text: String,
    /// The next pieces of wishes for tools.
    pub(crate) calls: Vec<CallPiece>,
    /// Bytes of reasoning, which is no part of the answer.
    pub(crate) thought: usize,
    /// The model that the provider says has answered.
    pub(crate) model: Option<String>,
    /// What the provider counts, as far as this message says.
    pub(crate) tokens: Reported,
    /// Why the model stopped.
    pub(crate) stop: Option<Stop>,
    /// Whether the stream ends here, as it should.
    pub(crate) end: bool,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It was done.
    Done,
    /// It used up the tokens that it may answer with.
    Length,
    /// The provider, or the model, will not say more.
    Filter,
}

impl Provider {
    /// Where below the base URL answers are asked for.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "chat/completions",
            Self::Anthropic => "messages",
            Self::Ollama => "api/chat",
        }
    }

    /// How a stream is cut into messages.
    pub(crate) fn framing(self) -> Framing {
        match self {
            Self::OpenAi | Self::Anthropic => Framing::Events,
            Self::Ollama => Framing::Lines,
        }
    }

    /// Headers that every request has.
    pub(crate) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Anthropic => &[("anthropic-version", anthropic::VERSION)],
            Self::OpenAi | Self::Ollama => &[],
        }
    }

    /// The header that carries a key, marked as sensitive.
    pub(crate) fn key(self, key: &str) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
        let (name, mut value) = match self {
            Self::Anthropic => (HeaderName::from_static("x-api-key"), HeaderValue::from_str(key)?),
            Self::OpenAi | Self::Ollama => (AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))?),
        };
        value.set_sensitive(true);
        Ok((name, value))
    }

    /// The body of a request for a streamed answer to messages: those of the question, and what was said since.
    pub(crate) fn body(self, settings: &ModelSettings, question: &Question<'_>, messages: &[ChatMessage]) -> Value {
        match self {
            Self::OpenAi => openai::body(settings, question, messages),
            Self::Anthropic => anthropic::body(settings, question, messages),
            Self::Ollama => ollama::body(settings, question, messages),
        }
    }

    /// Whether the endpoint is told the question's schema with its request.
    pub(crate) fn tells_schema(self, settings: &ModelSettings, question: &Question<'_>) -> bool {
        match self {
            Self::OpenAi => openai::tells_schema(settings, question),
            Self::Anthropic => anthropic::tells_schema(settings, question),
            Self::Ollama => ollama::tells_schema(settings, question),
        }
    }

    /// Reads one message of a stream. A model that was told of no `tools` wants none, whatever it writes.
    pub(crate) fn read(self, message: &[u8], tools: bool) -> Result<Part, Failure> {
        let part = match self {
            Self::OpenAi => openai::read(message),
            Self::Anthropic => anthropic::read(message, tools),
            Self::Ollama => ollama::read(message),
        }?;
        Ok(if tools { part } else { Part { calls: Vec::new(), ..part } })
    }
}

/// A tool, as `OpenAI` is told of it, and Ollama too.
fn function(tool: &ModelTool) -> Value {
    json!({
        "type": "function",
        "function": { "name": tool.name, "description": tool.description, "parameters": tool.input },
    })
}

/// What a tool answered, where the provider has no word for that it failed.
fn result(content: &str, failed: bool) -> String {
    if failed { format!("The tool failed: {content}") } else { content.to_owned() }
}

/// The arguments of a call in the past, where the provider insists on an object.
fn object(arguments: &Value) -> Value {
    if arguments.is_object() { arguments.clone() } else { json!({ "invalid": arguments }) }
}

/// Adds the fields that have a value.
fn put<const N: usize>(body: &mut Value, fields: [(&str, Option<Value>); N]) {
    for (name, value) in fields {
        if let Some(value) = value {
            body[name] = value;
        }
    }
}

/// Reads the JSON of a message.
fn parsed<'de, T: serde::Deserialize<'de>>(message: &'de [u8], of: &str) -> Result<T, Failure> {
    serde_json::from_slice(message).map_err(|error| {
        let kind = nexus_model::ModelErrorKind::ProviderFailed { status: 200 };
        Failure::new(kind, format!("a message of the stream is not a part of {of}: {error}"))
    })
}
