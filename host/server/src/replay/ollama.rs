//! Ollama's own chat API, the part of it that is needed. Pure.

use nexus_model::ChatMessage;
use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    WHAT,
    recording::Tokens,
    stream::pieces,
    wire::{Answer, Asked, Call, Envelope, Refusal, past},
};

/// A request; what is not named here is ignored, as sampling settings do not change a recorded answer.
#[derive(Debug, Deserialize)]
struct Request {
    model: String,
    messages: Vec<Said>,
    /// An answer is streamed unless the request says otherwise.
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Said {
    System {
        content: String,
    },
    User {
        content: String,
    },
    Assistant {
        #[serde(default)]
        content: String,
        #[serde(default)]
        tool_calls: Option<Vec<Called>>,
    },
    Tool {
        content: String,
        #[serde(default)]
        tool_name: String,
    },
}

#[derive(Debug, Deserialize)]
struct Called {
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Value,
}

impl Said {
    /// Calls have no identifiers here: the tool's name stands for one.
    fn message(self) -> ChatMessage {
        match self {
            Self::System { content } => ChatMessage::System { content },
            Self::User { content } => ChatMessage::User { content },
            Self::Assistant { content, tool_calls } => {
                let calls = tool_calls.unwrap_or_default().into_iter();
                let calls =
                    calls.map(|Called { function }| past(function.name.clone(), function.name, function.arguments));
                ChatMessage::Assistant { content, tool_calls: calls.collect() }
            }
            Self::Tool { content, tool_name } => ChatMessage::Tool { id: tool_name, content, failed: false },
        }
    }
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Asked> {
    let request: Request = serde_json::from_slice(body)?;
    Ok(Asked {
        model: request.model,
        messages: request.messages.into_iter().map(Said::message).collect(),
        stream: request.stream.unwrap_or(true),
        usage: true,
        tools: request.tools.is_some_and(|tools| !tools.is_empty()),
        tool: None,
    })
}

/// The whole answer at once.
pub(super) fn whole(envelope: &Envelope, answer: &Answer, tokens: Tokens) -> Value {
    called(last(envelope, &answer.text, tokens), &answer.calls)
}

/// The lines of a streamed answer; calls come whole.
pub(super) fn lines(envelope: &Envelope, answer: &Answer, tokens: Tokens) -> Vec<String> {
    let mut lines: Vec<Value> = pieces(&answer.text).iter().map(|piece| part(envelope, piece)).collect();
    if !answer.calls.is_empty() {
        lines.push(called(part(envelope, ""), &answer.calls));
    }
    lines.push(last(envelope, "", tokens));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn called(mut line: Value, calls: &[Call]) -> Value {
    if !calls.is_empty() {
        let call = |call: &Call| json!({ "function": { "name": call.name, "arguments": call.value() } });
        line["message"]["tool_calls"] = calls.iter().map(call).collect();
    }
    line
}

fn part(envelope: &Envelope, text: &str) -> Value {
    json!({
        "model": envelope.model,
        "created_at": envelope.created.format(&Rfc3339).unwrap_or_default(),
        "message": { "role": "assistant", "content": text },
        "done": false,
    })
}

fn last(envelope: &Envelope, text: &str, tokens: Tokens) -> Value {
    let mut line = part(envelope, text);
    line["done"] = json!(true);
    line["done_reason"] = json!("stop");
    line["prompt_eval_count"] = json!(tokens.input);
    line["eval_count"] = json!(tokens.output);
    for duration in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
        line[duration] = json!(0);
    }
    line
}

/// The list of models.
pub(super) fn tags<'a>(models: impl Iterator<Item = &'a str>) -> Value {
    let model =
        |name: &str| json!({ "name": name, "model": name, "size": 0, "digest": "", "details": { "family": WHAT } });
    json!({ "models": models.map(model).collect::<Vec<_>>() })
}

pub(super) fn error(refusal: &Refusal) -> Value {
    json!({ "error": refusal.message })
}
