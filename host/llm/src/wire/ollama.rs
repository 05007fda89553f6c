//! Ollama's own chat API (<https://docs.ollama.com/api/chat>): lines of JSON.

use std::collections::HashMap;

use nexus_model::ChatMessage;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Part, Stop, function, object, parsed, put, result};
use crate::{
    calls::CallPiece,
    failure::{Failure, failed_midway},
    question::Question,
    settings::{ModelSettings, ResponseFormat},
    tokens::Reported,
};

pub(super) fn body(settings: &ModelSettings, question: &Question<'_>, messages: &[ChatMessage]) -> Value {
    let parameters = question.parameters;
    let mut options = json!({});
    put(
        &mut options,
        [
            ("temperature", parameters.temperature.map(Value::from)),
            ("top_p", parameters.top_p.map(Value::from)),
            ("num_predict", parameters.max_tokens.or(settings.max_tokens).map(Value::from)),
        ],
    );
    let mut body = json!({ "model": settings.model, "messages": spoken(messages), "stream": true });
    let tools = (!question.tools.is_empty()).then(|| question.tools.iter().map(function).collect());
    put(
        &mut body,
        [
            ("options", Some(options).filter(|options| options != &json!({}))),
            ("tools", tools),
            ("format", format(settings, question)),
        ],
    );
    body
}

/// The messages; a tool's result names the tool, for calls have no identifiers.
fn spoken(messages: &[ChatMessage]) -> Vec<Value> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut said = Vec::new();
    for message in messages {
        said.push(match message {
            ChatMessage::System { content } => json!({ "role": "system", "content": content }),
            ChatMessage::User { content } => json!({ "role": "user", "content": content }),
            ChatMessage::Assistant { content, tool_calls } => {
                names.extend(tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str())));
                let call = |name: &str, arguments| json!({ "function": { "name": name, "arguments": arguments } });
                let calls = tool_calls.iter().map(|wish| call(&wish.name, object(&wish.arguments)));
                let calls = (!tool_calls.is_empty()).then(|| calls.collect());
                let mut message = json!({ "role": "assistant", "content": content });
                put(&mut message, [("tool_calls", calls)]);
                message
            }
            ChatMessage::Tool { id, content, failed } => {
                let mut message = json!({ "role": "tool", "content": result(content, *failed) });
                put(&mut message, [("tool_name", names.get(id.as_str()).map(|name| json!(name)))]);
                message
            }
        });
    }
    said
}

pub(super) fn tells_schema(settings: &ModelSettings, question: &Question<'_>) -> bool {
    settings.response_format == ResponseFormat::JsonSchema && question.tools.is_empty()
}

/// A model that is held to a form can call no tool.
fn format(settings: &ModelSettings, question: &Question<'_>) -> Option<Value> {
    let schema = question.schema.filter(|_| question.tools.is_empty())?;
    match settings.response_format {
        ResponseFormat::JsonSchema => Some(schema.clone()),
        ResponseFormat::JsonObject => Some(json!("json")),
        ResponseFormat::Text => None,
    }
}

pub(super) fn read(message: &[u8]) -> Result<Part, Failure> {
    let line: Line = parsed(message, "an answer of Ollama")?;
    if let Some(error) = line.error {
        return Err(failed_midway(&error));
    }
    let stop = line.done.then_some(match line.done_reason.as_deref() {
        Some("length") => Stop::Length,
        _ => Stop::Done,
    });
    Ok(Part {
        text: line.message.content,
        calls: line.message.tool_calls.unwrap_or_default().into_iter().map(Call::piece).collect(),
        thought: line.message.thinking.map_or(0, |thought| thought.len()),
        model: line.model,
        tokens: Reported {
            fresh: line.prompt_eval_count,
            cache_read: None,
            cache_write: None,
            output: line.eval_count,
        },
        stop,
        end: line.done,
    })
}

/// One line of a streamed answer; what is not named here is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    model: Option<String>,
    message: Said,
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    /// An error that was found after the answer had begun.
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    content: String,
    thinking: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

/// A call, whole.
#[derive(Debug, Deserialize)]
struct Call {
    function: Function,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    name: String,
    arguments: Value,
}

impl Call {
    fn piece(self) -> CallPiece {
        let Function { name, arguments } = self.function;
        let arguments = match arguments {
            Value::Null => String::new(),
            Value::String(text) => text,
            arguments => arguments.to_string(),
        };
        CallPiece { name, arguments, ..CallPiece::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Stop, read};
    use crate::{calls::CallPiece, tokens::Reported};

    #[test]
    fn lines_are_read_for_what_matters() {
        let part = read(br#"{"model":"m","message":{"role":"assistant","content":"{","thinking":"hm"},"done":false}"#);
        let part = part.unwrap();
        assert_eq!((part.text.as_str(), part.thought, part.stop, part.end), ("{", 2, None, false));
        let part = read(
            br#"{"model":"m","message":{"content":""},"done":true,"done_reason":"stop","prompt_eval_count":7,"eval_count":2}"#,
        )
        .unwrap();
        assert_eq!((part.stop, part.end), (Some(Stop::Done), true));
        let expected = Reported { fresh: Some(7), cache_read: None, cache_write: None, output: Some(2) };
        assert_eq!(part.tokens, expected);
        assert_eq!(read(br#"{"done":true,"done_reason":"length"}"#).unwrap().stop, Some(Stop::Length));
        assert!(read(br#"{"error":"out of memory"}"#).is_err());
    }
    #[test]
    fn calls_are_read_whole() {
        let part = read(
            br#"{"message":{"content":"","tool_calls":[
                {"function":{"index":0,"name":"add","arguments":{"n":1}}},
                {"function":{"name":"now"}}
            ]},"done":false}"#,
        )
        .unwrap();
        let call = |name: &str, arguments: &str| CallPiece {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            ..CallPiece::default()
        };
        assert_eq!(part.calls, [call("add", r#"{"n":1}"#), call("now", "")]);
        assert_eq!(read(br#"{"message":{"content":"x","tool_calls":null},"done":false}"#).unwrap().calls, []);
    }
}
