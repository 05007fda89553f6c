//! The tools that a model wants to be used, out of the pieces in which it says so. Pure.

use std::collections::HashSet;

use nexus_model::{ChatMessage, ToolRequest};
use serde_json::{Value, json};

/// The most tools that a model may want to be used at one time.
pub(crate) const MAX_CALLS: usize = 64;
/// The longest name of a tool, and the longest identifier of a wish for one, that providers allow.
const MAX_NAME: usize = 64;

/// A piece of a wish for a tool; what it does not say is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CallPiece {
    /// Which of the answer's wishes it belongs to, where the provider numbers them.
    pub(crate) index: Option<u64>,
    pub(crate) id: String,
    pub(crate) name: String,
    /// The next piece of the arguments' JSON.
    pub(crate) arguments: String,
}

/// More than [`MAX_CALLS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyCalls;

/// The wishes of one answer, as far as they have come.
#[derive(Debug, Default)]
pub(crate) struct Calls(Vec<CallPiece>);

impl Calls {
    /// Adds a piece to the wish that it belongs to, or begins one with it.
    pub(crate) fn add(&mut self, piece: CallPiece) -> Result<(), TooManyCalls> {
        if let Some(open) = self.0.iter_mut().rfind(|open| piece.index.is_none() || piece.index == open.index)
            && piece.continues(open)
        {
            open.arguments.push_str(&piece.arguments);
            // Some endpoints say the name and the identifier with every piece.
            for (kept, said) in [(&mut open.id, piece.id), (&mut open.name, piece.name)] {
                if kept.is_empty() {
                    *kept = said;
                }
            }
            return Ok(());
        }
        if self.0.len() == MAX_CALLS {
            return Err(TooManyCalls);
        }
        self.0.push(piece);
        Ok(())
    }

    /// The wishes, each told from all others of the conversation so far: a provider that gives no identifier, one that it
    /// gave before or one that others would refuse gets one that is made here.
    pub(crate) fn finish(self, conversation: &[ChatMessage]) -> Vec<ToolRequest> {
        let mut taken: HashSet<String> = ids(conversation).map(str::to_owned).collect();
        let request = |call: CallPiece| {
            let id = if is_plain(&call.id) && !taken.contains(&call.id) { call.id } else { made(&taken) };
            taken.insert(id.clone());
            ToolRequest { id, name: plain(&call.name), arguments: arguments(call.arguments) }
        };
        self.0.into_iter().map(request).collect()
    }
}

impl CallPiece {
    /// Whether it goes on with a wish that has its index. Some endpoints number all wishes alike, or none: then a new
    /// identifier or, without those, a name begins the next.
    fn continues(&self, open: &Self) -> bool {
        if !self.id.is_empty() && !open.id.is_empty() {
            return self.id == open.id;
        }
        self.index.is_some() || self.name.is_empty()
    }
}

fn ids(conversation: &[ChatMessage]) -> impl Iterator<Item = &str> {
    let calls = conversation.iter().filter_map(|message| match message {
        ChatMessage::Assistant { tool_calls, .. } => Some(tool_calls),
        _ => None,
    });
    calls.flatten().map(|call| call.id.as_str())
}

/// The first identifier that is not taken.
fn made(taken: &HashSet<String>) -> String {
    let next = (1..=taken.len() + 1).map(|n| format!("call_{n}")).find(|id| !taken.contains(id));
    next.unwrap_or_default()
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_plain(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_plain_byte)
}

/// A name that can be sent back to any provider. A model that makes one up may write anything.
fn plain(name: &str) -> String {
    if is_plain(name) {
        return name.to_owned();
    }
    let plain = |c: char| u8::try_from(c).ok().filter(|&byte| is_plain_byte(byte)).map_or('_', char::from);
    let name: String = name.chars().take(MAX_NAME).map(plain).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

/// The arguments; nothing at all stands for none.
fn arguments(text: String) -> Value {
    if text.trim().is_empty() {
        return json!({});
    }
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use nexus_model::{ChatMessage, ToolRequest};
    use serde_json::{Value, json};

    use super::{CallPiece, Calls, MAX_CALLS, TooManyCalls};

    fn piece(index: Option<u64>, id: &str, name: &str, arguments: &str) -> CallPiece {
        CallPiece { index, id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
    }

    fn read(pieces: &[CallPiece], conversation: &[ChatMessage]) -> Vec<(String, String, Value)> {
        let mut calls = Calls::default();
        for piece in pieces {
            calls.add(piece.clone()).unwrap();
        }
        calls.finish(conversation).into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }

    #[test]
    fn pieces_find_their_call_however_they_are_numbered() {
        let expected = [
            ("a".to_owned(), "add".to_owned(), json!({ "n": 1 })),
            ("b".to_owned(), "add".to_owned(), json!({ "n": 2 })),
        ];
        for pieces in [
            // As it should be, the pieces mixed.
            &[
                piece(Some(0), "a", "add", ""),
                piece(Some(1), "b", "add", "{\"n\""),
                piece(Some(0), "", "", "{\"n\":1}"),
                piece(Some(1), "", "", ":2}"),
            ][..],
            // All of one number.
            &[
                piece(Some(0), "a", "add", "{\"n\":"),
                piece(Some(0), "", "", "1}"),
                piece(Some(0), "b", "add", "{\"n\":2}"),
            ],
            // Of no number.
            &[piece(None, "a", "add", "{\"n\":"), piece(None, "", "", "1}"), piece(None, "b", "add", "{\"n\":2}")],
            // Everything said with every piece.
            &[
                piece(Some(0), "a", "add", "{\"n\":"),
                piece(Some(0), "a", "add", "1}"),
                piece(Some(1), "b", "add", "{\"n\":"),
                piece(Some(1), "b", "add", "2}"),
            ],
        ] {
            assert_eq!(read(pieces, &[]), expected, "{pieces:?}");
        }
        let nameless = [piece(None, "", "add", "{\"n\":1}"), piece(None, "", "add", "{\"n\":2}")];
        assert_eq!(read(&nameless, &[]).into_iter().map(|call| call.0).collect::<Vec<_>>(), ["call_1", "call_2"]);
    }

    #[test]
    fn identifiers_are_told_apart_over_the_conversation() {
        let call = |id: &str| ToolRequest { id: id.to_owned(), name: "add".to_owned(), arguments: json!({}) };
        let said = ChatMessage::Assistant { content: String::new(), tool_calls: vec![call("call_1"), call("x")] };
        let pieces = [
            piece(Some(0), "x", "add", ""),
            piece(Some(1), "", "add", ""),
            piece(Some(2), "functions.add:0", "add", ""),
            piece(Some(3), "y", "add", ""),
            piece(Some(4), "y", "add", ""),
        ];
        let calls = read(&pieces, &[said]);
        let ids: Vec<&str> = calls.iter().map(|call| call.0.as_str()).collect();
        assert_eq!(ids, ["call_2", "call_3", "call_4", "y", "call_5"]);
    }

    #[test]
    fn what_a_model_makes_up_can_be_sent_back() {
        let long = "é".repeat(1_000);
        for (name, kept) in [("get time", "get_time"), ("", "_"), (&*long, &*"_".repeat(64))] {
            assert_eq!(read(&[piece(Some(0), "a", name, "")], &[])[0].1, kept);
        }
        for (text, arguments) in [
            ("", json!({})),
            (" \n", json!({})),
            ("{\"n\":1", json!("{\"n\":1")),
            ("[1]", json!([1])),
            (&*"[".repeat(1_000), json!("[".repeat(1_000))),
        ] {
            assert_eq!(read(&[piece(Some(0), "a", "add", text)], &[])[0].2, arguments);
        }
    }

    #[test]
    fn there_are_not_more_than_the_bound() {
        let mut calls = Calls::default();
        for n in 0..MAX_CALLS as u64 {
            calls.add(piece(Some(n), "", "add", "")).unwrap();
        }
        assert_eq!(calls.add(piece(Some(0), "", "", "{}")), Ok(()));
        assert_eq!(calls.add(piece(Some(99), "", "add", "")), Err(TooManyCalls));
        assert_eq!(calls.finish(&[]).len(), MAX_CALLS);
    }
}
