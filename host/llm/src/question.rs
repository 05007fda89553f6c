//! What a model is asked, in one form for answers and for conversations. Pure.

use std::borrow::Cow;

use nexus_model::{ChatMessage, ConverseRequest, GenerateRequest, Message, ModelParameters, ModelTool, Role};
use serde_json::Value;

/// What is asked, whichever model it is asked of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// What was said so far.
    pub(crate) messages: &'a [ChatMessage],
    /// The tools that the model may want to be used.
    pub(crate) tools: &'a [ModelTool],
    /// Sampling settings.
    pub(crate) parameters: &'a ModelParameters,
    /// What an answer must satisfy.
    pub(crate) schema: Option<&'a Value>,
    /// Whether the model is told the schema in its instructions where its endpoint cannot be told. A prompt's author has
    /// done so.
    pub(crate) instructed: bool,
}

impl<'a> Question<'a> {
    /// What a prompt asks, with its messages in the form of a conversation.
    pub(crate) fn prompt(request: &'a GenerateRequest, messages: &'a [ChatMessage]) -> Self {
        Self { messages, tools: &[], parameters: &request.parameters, schema: Some(&request.schema), instructed: false }
    }

    /// What a conversation asks.
    pub(crate) fn conversation(request: &'a ConverseRequest) -> Self {
        Self {
            messages: &request.messages,
            tools: &request.tools,
            parameters: &request.parameters,
            schema: request.schema.as_deref(),
            instructed: true,
        }
    }

    /// The messages for an endpoint, which can be told the schema or cannot.
    pub(crate) fn opening(&self, told: bool) -> Cow<'a, [ChatMessage]> {
        match self.schema {
            Some(schema) if self.instructed && !told => Cow::Owned(instructed(self.messages, schema)),
            _ => Cow::Borrowed(self.messages),
        }
    }
}

/// A prompt's messages in the form of a conversation.
pub(crate) fn spoken(messages: &[Message]) -> Vec<ChatMessage> {
    let spoken = |message: &Message| {
        let content = message.content.clone();
        match message.role {
            Role::System => ChatMessage::System { content },
            Role::User => ChatMessage::User { content },
            Role::Assistant => ChatMessage::Assistant { content, tool_calls: Vec::new() },
        }
    };
    messages.iter().map(spoken).collect()
}

/// The messages with the schema at the end of the instructions.
fn instructed(messages: &[ChatMessage], schema: &Value) -> Vec<ChatMessage> {
    let form = format!(
        "When you give your answer, give it as JSON that satisfies this JSON Schema, and nothing else:\n{schema}"
    );
    let mut messages = messages.to_vec();
    let end = messages.iter().take_while(|message| matches!(message, ChatMessage::System { .. })).count();
    match messages[..end].last_mut() {
        Some(ChatMessage::System { content }) => {
            content.push_str("\n\n");
            content.push_str(&form);
        }
        _ => messages.insert(0, ChatMessage::System { content: form }),
    }
    messages
}

#[cfg(test)]
mod tests {
    use nexus_model::ChatMessage;
    use serde_json::json;

    use super::instructed;

    #[test]
    fn the_schema_stands_at_the_end_of_the_instructions() {
        let system = |content: &str| ChatMessage::System { content: content.to_owned() };
        let user = ChatMessage::User { content: "hello".to_owned() };
        let schema = json!({ "type": "array" });
        let messages = instructed(&[system("Be short."), user.clone()], &schema);
        let ChatMessage::System { content } = &messages[0] else { panic!("{messages:?}") };
        assert!(content.starts_with("Be short.\n\nWhen you"), "{content}");
        assert!(content.ends_with("{\"type\":\"array\"}"), "{content}");
        assert_eq!(messages.last(), Some(&user));

        let messages = instructed(std::slice::from_ref(&user), &schema);
        assert!(matches!(&messages[..], [ChatMessage::System { .. }, ChatMessage::User { .. }]), "{messages:?}");
    }
}
