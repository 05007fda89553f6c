//! A conversation, and how it is made short.

use std::fmt::Write;

use nexus_model::{ChatMessage, Usage};

/// Exchanges at the end that stay as they are when the conversation is made short: a message of the model, and what was said to it.
const KEPT: usize = 3;

const ASKED: &str = "Summarise the conversation below, in which an assistant works on a task with tools. Keep every fact, \
    number, name, identifier, decision and open question that the rest of the work may need. Answer with the summary only.";
const SUMMARY: &str = "A summary of what was done so far, in place of the messages themselves:\n\n";
const LEFT_OUT: &str = "The messages that were here are left out: the conversation was too long.";

/// What was said, by whom. Its beginning stays; what comes after it can be replaced by a summary.
#[derive(Debug, Clone)]
pub(super) struct Conversation {
    messages: Vec<ChatMessage>,
    /// Messages of the beginning.
    head: usize,
    /// How many messages had how many tokens, by the model's own count.
    counted: Option<(usize, u64)>,
}

impl Conversation {
    pub(super) fn new(messages: Vec<ChatMessage>) -> Self {
        Self { head: messages.len(), messages, counted: None }
    }

    pub(super) fn messages(&self) -> &[ChatMessage] {
        &self.messages
    }

    pub(super) fn push(&mut self, message: ChatMessage) {
        self.messages.push(message);
    }

    /// The model said its last message, and counted the conversation.
    pub(super) fn counted(&mut self, usage: &Usage) {
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        self.counted = (tokens > 0).then_some((self.messages.len(), tokens));
    }

    /// About how many tokens it has: what the model counted, and a quarter of the bytes of the rest.
    pub(super) fn tokens(&self) -> u64 {
        let (messages, tokens) = self.counted.unwrap_or_default();
        tokens.saturating_add(estimate(self.messages.get(messages..).unwrap_or_default()))
    }

    /// The messages that a summary may replace so that the conversation is shorter: none of the beginning, none of the last
    /// exchanges. `None` if there are none.
    fn middle(&self, context_tokens: u64) -> Option<std::ops::Range<usize>> {
        let exchanges: Vec<usize> = (self.head..self.messages.len())
            .filter(|index| matches!(self.messages.get(*index), Some(ChatMessage::Assistant { .. })))
            .collect();
        let begins = |kept: usize| exchanges.len().checked_sub(kept).filter(|earlier| *earlier > 0);
        let fits = |begin: usize| estimate(self.messages.get(begin..).unwrap_or_default()) <= context_tokens / 2;
        let kept = (1..=KEPT).rev().find_map(|kept| {
            let begin = *exchanges.get(begins(kept)?)?;
            (kept == 1 || fits(begin)).then_some(begin)
        })?;
        Some(self.head..kept)
    }

    /// What a model is asked for a summary with, if one would make the conversation shorter.
    pub(super) fn to_summarise(&self, context_tokens: u64) -> Option<Vec<ChatMessage>> {
        let middle = self.messages.get(self.middle(context_tokens)?)?;
        // Half of the context is for it.
        let each = bytes(context_tokens / 2) / middle.len().max(1);
        let mut told = format!("{ASKED}\n");
        for message in middle {
            tell(message, each.max(200), &mut told);
        }
        Some(vec![ChatMessage::User { content: told }])
    }

    /// Puts a summary in the place of what it is of. Without one that is left out all the same.
    pub(super) fn summarised(&mut self, summary: Option<&str>, context_tokens: u64) {
        let Some(middle) = self.middle(context_tokens) else { return };
        let content = match summary.map(str::trim).filter(|summary| !summary.is_empty()) {
            Some(summary) => format!("{SUMMARY}{}", cut(summary, bytes(context_tokens / 4).max(200))),
            None => LEFT_OUT.to_owned(),
        };
        self.messages.splice(middle, [ChatMessage::User { content }]);
        self.counted = None;
    }
}

fn tell(message: &ChatMessage, most: usize, told: &mut String) {
    let (who, text) = match message {
        ChatMessage::System { content } => ("system", content.clone()),
        ChatMessage::User { content } => ("user", content.clone()),
        ChatMessage::Assistant { content, tool_calls } => {
            let mut text = content.clone();
            for call in tool_calls {
                // Writing to a text does not fail.
                let _ = write!(text, "\n[uses {} with {}]", call.name, call.arguments);
            }
            ("assistant", text)
        }
        ChatMessage::Tool { content, failed: true, .. } => ("tool, failed", content.clone()),
        ChatMessage::Tool { content, .. } => ("tool", content.clone()),
    };
    let _ = write!(told, "\n<{who}>\n{}\n", cut(&text, most));
}

/// Bytes of so many tokens.
pub(super) fn bytes(tokens: u64) -> usize {
    usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX)
}

/// About how many tokens messages have.
fn estimate(messages: &[ChatMessage]) -> u64 {
    let of = |message: &ChatMessage| match message {
        ChatMessage::System { content } | ChatMessage::User { content } => content.len(),
        ChatMessage::Assistant { content, tool_calls } => {
            let calls = tool_calls.iter().map(|call| call.name.len() + call.arguments.to_string().len() + 16);
            content.len() + calls.sum::<usize>()
        }
        ChatMessage::Tool { content, .. } => content.len() + 16,
    };
    let bytes: usize = messages.iter().map(|message| of(message) + 16).sum();
    bytes as u64 / 4
}

/// The beginning of a text of at most `most` bytes, with a note if that is not all.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most);
    let shown = text.get(..end).unwrap_or_default();
    format!("{shown}\n[cut: these are {end} of {} bytes]", text.len())
}

#[cfg(test)]
mod tests {
    use nexus_model::{ChatMessage, ToolRequest, Usage};
    use serde_json::json;

    use super::{Conversation, cut};

    fn user(content: &str) -> ChatMessage {
        ChatMessage::User { content: content.to_owned() }
    }

    fn exchange(conversation: &mut Conversation, id: usize, size: usize) {
        let call = ToolRequest { id: id.to_string(), name: "t".to_owned(), arguments: json!({"n": id}) };
        conversation.push(ChatMessage::Assistant { content: String::new(), tool_calls: vec![call] });
        conversation.push(ChatMessage::Tool { id: id.to_string(), content: "x".repeat(size), failed: false });
    }

    #[test]
    fn the_beginning_and_the_last_exchanges_stay_whole() {
        let system = ChatMessage::System { content: "be good".to_owned() };
        let mut conversation = Conversation::new(vec![system.clone(), user("do it")]);
        for id in 0..6 {
            exchange(&mut conversation, id, 100);
        }
        let before = conversation.clone();
        let asked = conversation.to_summarise(1000).unwrap();
        assert!(matches!(&asked[..], [ChatMessage::User { content }] if content.contains("[uses t with {\"n\":2}]")));
        conversation.summarised(Some("six things"), 1000);
        assert_eq!(conversation.messages()[..2], before.messages()[..2]);
        assert!(
            matches!(&conversation.messages()[2], ChatMessage::User { content } if content.ends_with("six things"))
        );
        assert_eq!(conversation.messages()[3..], before.messages()[8..]);
        assert!(conversation.tokens() < before.tokens());
        // What is too large for half of the context is kept only as the last exchange.
        let mut tight = before.clone();
        tight.summarised(None, 100);
        assert_eq!(tight.messages()[3..], before.messages()[12..]);
    }

    #[test]
    fn one_exchange_cannot_be_made_shorter() {
        let mut conversation = Conversation::new(vec![user("do it")]);
        exchange(&mut conversation, 0, 100_000);
        assert_eq!(conversation.to_summarise(10), None);
    }

    #[test]
    fn tokens_are_what_the_model_counted_and_an_estimate_of_the_rest() {
        let mut conversation = Conversation::new(vec![user(&"x".repeat(4000))]);
        assert_eq!(conversation.tokens(), 1004);
        conversation.counted(&Usage { input_tokens: 10, ..Usage::NONE });
        conversation.push(user(&"x".repeat(400)));
        assert_eq!(conversation.tokens(), 114);
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("äö", 4), "äö");
        assert_eq!(cut("äöü", 3), "ä\n[cut: these are 2 of 6 bytes]");
    }
}
