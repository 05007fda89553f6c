//! From a model's text to a checked value. Pure.

use jsonschema::Validator;
use nexus_model::{ChatMessage, ModelErrorKind};
use serde_json::Value;

/// The longest answer, reasoning included, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// How much of a bad answer the model is shown again, in characters.
const SHOWN_ANSWER: usize = 16 * 1024;
/// How many complaints are told.
const MAX_COMPLAINTS: usize = 8;
/// How much of one complaint is told, in characters.
const SHOWN_COMPLAINT: usize = 200;

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is no JSON; the reason.
    NotJson(String),
    /// It fails the schema; each complaint with its place.
    Schema(Vec<String>),
}

impl Flaw {
    /// How callers name it.
    pub(crate) fn kind(&self) -> ModelErrorKind {
        match self {
            Self::NotJson(_) => ModelErrorKind::NotJson,
            Self::Schema(_) => ModelErrorKind::SchemaMismatch,
        }
    }

    /// All complaints, on one line.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::NotJson(reason) => reason.clone(),
            Self::Schema(complaints) => complaints.join("; "),
        }
    }

    /// The messages that ask for a better answer.
    pub(crate) fn repair(&self, answer: &str) -> [ChatMessage; 2] {
        let complaint = match self {
            Self::NotJson(reason) => format!("That is not JSON: {reason}."),
            Self::Schema(complaints) => {
                format!("That JSON does not satisfy the schema:\n- {}", complaints.join("\n- "))
            }
        };
        [
            ChatMessage::Assistant { content: cut(answer, SHOWN_ANSWER), tool_calls: Vec::new() },
            ChatMessage::User {
                content: format!("{complaint}\n\nAnswer again with the corrected JSON and nothing else."),
            },
        ]
    }
}

/// The value in an answer, checked. White space and one Markdown fence around it are tolerated.
pub(crate) fn read(answer: &str, validator: &Validator) -> Result<Value, Flaw> {
    let value = serde_json::from_str(unfenced(answer)).map_err(|error| {
        Flaw::NotJson(if answer.trim().is_empty() { "it is empty".into() } else { error.to_string() })
    })?;
    let complaints: Vec<String> = validator
        .iter_errors(&value)
        .take(MAX_COMPLAINTS)
        .map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "the whole answer" } else { &place };
            format!("{place}: {}", cut(&error.to_string(), SHOWN_COMPLAINT))
        })
        .collect();
    if complaints.is_empty() { Ok(value) } else { Err(Flaw::Schema(complaints)) }
}

fn unfenced(answer: &str) -> &str {
    let text = answer.trim_start_matches('\u{feff}').trim();
    let Some(inside) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return text };
    // The rest of the first line is the fence's info string, `json` most of the time.
    inside.split_once('\n').map_or(inside, |(info, body)| if info.contains(['{', '[']) { inside } else { body }).trim()
}

/// The first `limit` characters, with an ellipsis where something was left out.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use nexus_model::ChatMessage;
    use serde_json::{Value, json};

    use super::{Flaw, read, unfenced};

    fn check(answer: &str) -> Result<Value, Flaw> {
        let schema = json!({
            "type": "object",
            "properties": { "n": { "type": "integer" }, "unit": { "enum": ["kg", "g"] } },
            "required": ["n"],
            "additionalProperties": false,
        });
        read(answer, &jsonschema::draft202012::new(&schema).unwrap())
    }

    #[test]
    fn fences_are_tolerated() {
        for text in
            ["{\"n\":1}", "```json\n{\"n\":1}\n```", " ```\n{\"n\":1}```\n", "```{\"n\":1}```", "\u{feff}{\"n\":1}\r\n"]
        {
            assert_eq!(check(text), Ok(json!({ "n": 1 })), "{text:?}");
        }
        assert_eq!(unfenced("```"), "```");
        assert!(matches!(check("Sure! {\"n\":1}"), Err(Flaw::NotJson(_))));
        assert_eq!(check(" \n"), Err(Flaw::NotJson("it is empty".into())));
        assert!(matches!(check(&"[".repeat(100_000)), Err(Flaw::NotJson(_))));
    }

    #[test]
    fn complaints_name_their_place() {
        let Err(flaw) = check(r#"{"n":"one","unit":"lb","x":1}"#) else { panic!("passed") };
        let detail = flaw.detail();
        assert!(
            detail.contains("/n: ") && detail.contains("/unit: ") && detail.contains("the whole answer: "),
            "{detail}"
        );
        let [assistant, user] = flaw.repair("the answer");
        assert_eq!(assistant, ChatMessage::Assistant { content: "the answer".to_owned(), tool_calls: Vec::new() });
        let ChatMessage::User { content } = user else { panic!("{user:?}") };
        assert!(content.contains("\n- /n: "), "{content}");
    }

    #[test]
    fn complaints_are_bounded() {
        let answer = json!({ "n": "x".repeat(500_000) }).to_string();
        let Err(flaw) = check(&answer) else { panic!("passed") };
        assert!(flaw.detail().len() < 2_000);
        let [ChatMessage::Assistant { content, .. }, _] = flaw.repair(&answer) else { panic!("{flaw:?}") };
        assert!(content.len() < 20_000);
    }
}
