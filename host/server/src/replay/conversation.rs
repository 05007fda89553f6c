//! What a conversation says of the turn that it is at. Pure.

use nexus_model::{ChatMessage, Message, Role};

/// What a message says, in the form of a conversation.
pub(super) fn said(role: Role, content: String) -> ChatMessage {
    match role {
        Role::System => ChatMessage::System { content },
        Role::User => ChatMessage::User { content },
        Role::Assistant => ChatMessage::Assistant { content, tool_calls: Vec::new() },
    }
}

/// A prompt's messages in the form of a conversation.
pub(super) fn spoken(messages: Vec<Message>) -> Vec<ChatMessage> {
    messages.into_iter().map(|message| said(message.role, message.content)).collect()
}

/// The text of a message, whoever says it.
pub(super) fn text(message: &ChatMessage) -> &str {
    match message {
        ChatMessage::System { content }
        | ChatMessage::User { content }
        | ChatMessage::Assistant { content, .. }
        | ChatMessage::Tool { content, .. } => content,
    }
}

/// What a conversation may be about, the likeliest first, each with the number of results of tools since: the newest
/// message of the user and, if that stands behind the result of a tool, the one before it.
pub(super) fn questions(messages: &[ChatMessage]) -> Vec<(&str, usize)> {
    let mut questions = Vec::new();
    let mut results = 0;
    let mut newest_first = messages.iter().rev().peekable();
    while let Some(message) = newest_first.next() {
        match message {
            ChatMessage::Tool { .. } => results += 1,
            ChatMessage::User { content } => {
                questions.push((content.as_str(), results));
                if !matches!(newest_first.peek(), Some(ChatMessage::Tool { .. })) {
                    break;
                }
            }
            ChatMessage::System { .. } | ChatMessage::Assistant { .. } => {}
        }
    }
    questions
}

#[cfg(test)]
mod tests {
    use nexus_model::{ChatMessage, Role};

    use super::{questions, said};

    fn tool() -> ChatMessage {
        ChatMessage::Tool { id: "a".to_owned(), content: "42".to_owned(), failed: false }
    }

    #[test]
    fn a_remark_behind_results_is_another_question_or_none() {
        let user = |text: &str| said(Role::User, text.to_owned());
        let model = || said(Role::Assistant, String::new());
        let opening = [said(Role::System, "Be short.".to_owned()), user("Tidy up.")];
        assert_eq!(questions(&opening), [("Tidy up.", 0)]);
        let mut messages = opening.to_vec();
        messages.extend([model(), tool(), tool(), model(), tool()]);
        assert_eq!(questions(&messages), [("Tidy up.", 3)]);
        messages.push(user("Answer now."));
        assert_eq!(questions(&messages), [("Answer now.", 0), ("Tidy up.", 3)]);
        // What is behind an answer, a repair included, is a question of its own.
        messages.extend([model(), user("That is not JSON."), model(), tool()]);
        assert_eq!(questions(&messages), [("That is not JSON.", 1)]);
        assert_eq!(questions(&[]), []);
    }
}
