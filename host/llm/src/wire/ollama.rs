//! Ollama's own chat API (<https://docs.ollama.com/api/chat>): lines of JSON.

use nexus_model::{GenerateRequest, Message};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Part, Stop, parsed, put};
use crate::{
    failure::{Failure, failed_midway},
    settings::{ModelSettings, ResponseFormat},
    tokens::Reported,
};

pub(super) fn body(settings: &ModelSettings, request: &GenerateRequest, messages: &[Message]) -> Value {
    let parameters = request.parameters;
    let mut options = json!({});
    put(
        &mut options,
        [
            ("temperature", parameters.temperature.map(Value::from)),
            ("top_p", parameters.top_p.map(Value::from)),
            ("num_predict", parameters.max_tokens.or(settings.max_tokens).map(Value::from)),
        ],
    );
    let format = match settings.response_format {
        ResponseFormat::JsonSchema => Some((*request.schema).clone()),
        ResponseFormat::JsonObject => Some(json!("json")),
        ResponseFormat::Text => None,
    };
    let mut body = json!({ "model": settings.model, "messages": messages, "stream": true });
    put(&mut body, [("options", Some(options).filter(|options| options != &json!({}))), ("format", format)]);
    body
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
}

#[cfg(test)]
mod tests {
    use super::{super::Stop, read};
    use crate::tokens::Reported;

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
}
