//! The line by which a coder's request says what it is about. Pure.

use nexus_model::{ChatMessage, OperationRef};

use super::{conversation::text, recording::parse_operation};

/// What `Operation: <app>/<operation> · Attempt: <n>` says, if a message has such a line.
///
/// Only messages after the last answer count: after an answer that was sent back for repair, the request is another one.
pub(super) fn request(messages: &[ChatMessage]) -> Option<(OperationRef, u32)> {
    let answer = messages.iter().rposition(|message| matches!(message, ChatMessage::Assistant { .. }));
    let newest = answer.map_or(0, |answer| answer + 1);
    messages.get(newest..)?.iter().rev().find_map(|message| text(message).lines().find_map(line))
}

fn line(line: &str) -> Option<(OperationRef, u32)> {
    let (operation, attempt) = line.trim().strip_prefix("Operation: ")?.split_once(" · Attempt: ")?;
    Some((parse_operation(operation)?, attempt.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use nexus_model::Role;

    use super::{super::conversation::said, request};

    #[test]
    fn the_line_is_found_until_an_answer_was_sent_back() {
        let message = |role, content: &str| said(role, content.to_owned());
        let asked = message(Role::User, "Operation: desk/read · Attempt: 2\nWrite code.");
        let found = request(&[message(Role::System, "You write code."), asked.clone()]).unwrap();
        assert_eq!((found.0.to_string(), found.1), ("desk/read".to_owned(), 2));
        assert!(
            request(&[message(Role::System, "Operation: desk/read · Attempt: 1"), message(Role::User, "x")]).is_some()
        );
        let repair = [asked.clone(), message(Role::Assistant, "no"), message(Role::User, "That is not JSON")];
        assert_eq!(request(&repair), None);
        let history = [message(Role::User, "first"), message(Role::Assistant, "no"), asked];
        assert!(request(&history).is_some());
        for text in ["Operation: desk · Attempt: 1", "Operation: desk/read · Attempt: one", "Operation: desk/read"] {
            assert_eq!(request(&[message(Role::User, text)]), None, "{text}");
        }
    }
}
