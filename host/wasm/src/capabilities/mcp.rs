//! `nexus:mcp/client`: the MCP client that called the tool.

use nexus_model::{AskError, Grants, LogLine, Progress, Question};
use serde_json::{Value, json};
use wasmtime::component::{HasSelf, Linker};

use super::Capability;
use crate::wasi::GuestState;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/mcp",
        world: "mcp",
        imports: { default: async | trappable },
    });
}

use bindings::nexus::mcp::{
    client::{self, Elicited, Error, Level, Message, Root, Sampled},
    types::Role,
};

/// The interface that has types alone: whoever imports it gains nothing by it.
pub(super) const TYPES: &str = "nexus:mcp/types@0.1.0";

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["nexus:mcp/client@0.1.0"],
    granted: |grants: &Grants| grants.caller,
    yaml: |_| "caller: true   # it may tell the one who called of the call, and ask him",
    add_to_linker: |linker: &mut Linker<GuestState>| {
        client::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
    },
};

/// How often one call may tell something, and how much of each text is told, in bytes.
const TOLD: u32 = 1_000;
const TEXT_BYTES: usize = 4 << 10;
/// How many questions one call may ask, and how long one may be, in bytes.
const QUESTIONS: u32 = 32;
const QUESTION_BYTES: usize = 64 << 10;
/// The longest key of a question, in bytes.
const KEY_BYTES: usize = 64;
/// The most folders of a client that are handed over.
const ROOTS: usize = 1_000;

/// What one call may still tell and ask.
pub(super) struct Left {
    told: u32,
    questions: u32,
}

impl Default for Left {
    fn default() -> Self {
        Self { told: TOLD, questions: QUESTIONS }
    }
}

/// One less, if there is one.
fn spend(left: &mut u32) -> bool {
    let some = *left > 0;
    *left -= u32::from(some);
    some
}

/// The first bytes of a text, cut between characters.
fn start(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES)].to_owned()
}

impl GuestState {
    async fn ask(&mut self, key: String, method: &str, params: Value) -> wasmtime::Result<Result<Value, Error>> {
        if key.is_empty() || key.len() > KEY_BYTES {
            return Ok(Err(Error::Failed(format!("a question has a key of 1 to {KEY_BYTES} bytes"))));
        }
        if !spend(&mut self.plugin().mcp_left.questions) {
            return Ok(Err(Error::Failed(format!("a call asks at most {QUESTIONS} questions"))));
        }
        if params.to_string().len() > QUESTION_BYTES {
            return Ok(Err(Error::Failed(format!("a question has at most {QUESTION_BYTES} bytes"))));
        }
        let question = Question { key, method: method.to_owned(), params };
        Ok(self.services()?.caller().ask(question).await.map_err(Into::into))
    }
}

impl client::Host for GuestState {
    async fn progress(&mut self, done: f64, total: Option<f64>, message: Option<String>) -> wasmtime::Result<()> {
        if spend(&mut self.plugin().mcp_left.told) {
            let message = message.as_deref().map(start);
            self.services()?.caller().progress(Progress { done, total, message }).await;
        }
        Ok(())
    }

    async fn log(&mut self, level: Level, logger: Option<String>, text: String) -> wasmtime::Result<()> {
        if spend(&mut self.plugin().mcp_left.told) {
            let (logger, data) = (logger.as_deref().map(start), Value::String(start(&text)));
            self.services()?.caller().log(LogLine { level: word(level).to_owned(), logger, data }).await;
        }
        Ok(())
    }

    async fn elicit(
        &mut self,
        key: String,
        message: String,
        schema: String,
    ) -> wasmtime::Result<Result<Elicited, Error>> {
        let schema: Value = match serde_json::from_str(&schema) {
            Ok(schema) => schema,
            Err(error) => return Ok(Err(Error::Failed(format!("the schema is no JSON: {error}")))),
        };
        let params = json!({ "mode": "form", "message": message, "requestedSchema": schema });
        Ok(self.ask(key, "elicitation/create", params).await?.and_then(|answer| elicited(&answer)))
    }

    async fn sample(
        &mut self,
        key: String,
        system: Option<String>,
        messages: Vec<Message>,
        max_tokens: u32,
    ) -> wasmtime::Result<Result<Sampled, Error>> {
        let messages: Vec<Value> = messages.iter().map(said).collect();
        let mut params = json!({ "messages": messages, "maxTokens": max_tokens });
        if let (Some(system), Some(params)) = (system, params.as_object_mut()) {
            params.insert("systemPrompt".to_owned(), system.into());
        }
        Ok(self.ask(key, "sampling/createMessage", params).await?.map(|answer| sampled(&answer)))
    }

    async fn roots(&mut self, key: String) -> wasmtime::Result<Result<Vec<Root>, Error>> {
        Ok(self.ask(key, "roots/list", json!({})).await?.map(|answer| roots(&answer)))
    }

    async fn changed(&mut self) -> wasmtime::Result<()> {
        if spend(&mut self.plugin().mcp_left.told) {
            self.services()?.announce();
        }
        Ok(())
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
        Level::Critical => "critical",
        Level::Alert => "alert",
        Level::Emergency => "emergency",
    }
}

fn said(message: &Message) -> Value {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    json!({ "role": role, "content": { "type": "text", "text": message.text } })
}

fn elicited(answer: &Value) -> Result<Elicited, Error> {
    match answer["action"].as_str() {
        Some("accept") => {
            let form = answer.get("content").filter(|content| content.is_object());
            Ok(Elicited::Accepted(form.map_or_else(|| "{}".to_owned(), Value::to_string)))
        }
        Some("decline") => Ok(Elicited::Declined),
        Some("cancel") => Ok(Elicited::Cancelled),
        _ => Err(Error::Failed("the client did not say whether the form was accepted".to_owned())),
    }
}

/// The texts of an answer, which is one block or several.
fn sampled(answer: &Value) -> Sampled {
    let blocks = match &answer["content"] {
        Value::Array(blocks) => blocks.as_slice(),
        block => std::slice::from_ref(block),
    };
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    Sampled { text: texts.join("\n"), model: answer["model"].as_str().unwrap_or_default().to_owned() }
}

fn roots(answer: &Value) -> Vec<Root> {
    let given = answer["roots"].as_array().into_iter().flatten().take(ROOTS);
    let text = |root: &Value, name: &str| root[name].as_str().map(str::to_owned);
    given.filter_map(|root| Some(Root { uri: text(root, "uri")?, name: text(root, "name") })).collect()
}

impl From<AskError> for Error {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Unsupported(why) => Self::Unsupported(why),
            AskError::Later => Self::Later,
            AskError::Failed(why) => Self::Failed(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_strangers_become_values() {
        let form = elicited(&json!({ "action": "accept", "content": { "name": "Ada" } }));
        assert!(matches!(form, Ok(Elicited::Accepted(form)) if form == r#"{"name":"Ada"}"#));
        assert!(matches!(elicited(&json!({ "action": "accept" })), Ok(Elicited::Accepted(form)) if form == "{}"));
        assert!(matches!(elicited(&json!({ "action": "decline" })), Ok(Elicited::Declined)));
        assert!(elicited(&json!({ "action": 5 })).is_err() && elicited(&json!(12)).is_err());
        let one = sampled(&json!({ "content": { "type": "text", "text": "Paris" }, "model": "m" }));
        assert_eq!((one.text.as_str(), one.model.as_str()), ("Paris", "m"));
        let image = sampled(&json!({ "content": [{ "type": "image", "data": "" }, { "text": "a" }, { "text": "b" }] }));
        assert_eq!((image.text.as_str(), image.model.as_str()), ("a\nb", ""));
        let folders = roots(&json!({ "roots": [{ "uri": "file:///a", "name": "A" }, { "name": "B" }, 7] }));
        assert_eq!(folders.len(), 1);
        assert!(roots(&json!(null)).is_empty());
    }

    #[test]
    fn what_is_spent_is_gone() {
        let mut left = 1;
        assert!(spend(&mut left) && !spend(&mut left) && left == 0);
    }
}
