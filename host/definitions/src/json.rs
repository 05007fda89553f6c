//! JSON from text to a tree with places.
//!
//! `serde_json` decides what is JSON and bounds the depth; the walk afterwards only has to find where each value stands.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    document::Parsed,
    fault::{FaultCode, Finding},
    limits,
    tree::{Entry, Kind, Node, Span},
    yaml::duplicate,
};

/// Reads a JSON text. Ends at the first error of syntax or bound; keys that occur twice are all found.
pub(crate) fn parse(text: &str) -> Parsed {
    if let Err(error) = serde_json::from_str::<Value>(text) {
        return Parsed { root: None, findings: vec![syntax(text, &error)] };
    }
    let mut walk = Walk { text, at: 0, nodes: 0, findings: Vec::new() };
    let root = walk.value();
    if walk.nodes > limits::NODES {
        let finding = Finding::new(FaultCode::TooLarge, "the file holds too many values");
        let finding = finding.expected(format!("at most {}", limits::NODES));
        return Parsed { root: None, findings: vec![(Span::default(), finding)] };
    }
    Parsed { root: Some(root), findings: walk.findings }
}

fn syntax(text: &str, error: &serde_json::Error) -> (Span, Finding) {
    let line_start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    // serde_json counts columns in bytes and names the last byte it read.
    let at = line_start + error.column().saturating_sub(1);
    let told = error.to_string();
    let message = told.split(" at line ").next().unwrap_or_default();
    if message.starts_with("recursion limit") {
        let finding = Finding::new(FaultCode::TooLarge, "the file is nested too deeply").expected("at most 127 levels");
        return (Span { start: at, end: at }, finding);
    }
    (Span { start: at, end: at + 1 }, Finding::new(FaultCode::JsonSyntax, format!("not valid JSON: {message}")))
}

/// Walks a text that is known to be JSON, at most 127 deep.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
    findings: Vec<(Span, Finding)>,
}

impl Walk<'_> {
    fn value(&mut self) -> Node {
        self.skip_space();
        self.nodes += 1;
        let start = self.at;
        let kind = match self.peek() {
            b'{' => Kind::Mapping(self.object()),
            b'[' => Kind::Sequence(self.array()),
            _ => Kind::Scalar(self.scalar()),
        };
        Node { span: Span { start, end: self.at }, kind, style: None }
    }

    fn object(&mut self) -> Vec<Entry> {
        let (mut entries, mut seen) = (Vec::new(), HashSet::new());
        self.at += 1;
        while self.more(b'}') {
            let start = self.at;
            let key = self.scalar().as_str().unwrap_or_default().to_owned();
            let key_span = Span { start, end: self.at };
            self.skip_space();
            self.at += 1; // the colon
            let value = self.value();
            if seen.insert(key.clone()) {
                entries.push(Entry { key, key_span, value });
            } else if self.findings.len() < limits::FAULTS {
                self.findings.push((key_span, duplicate(&key)));
            }
        }
        entries
    }

    fn array(&mut self) -> Vec<Node> {
        let mut items = Vec::new();
        self.at += 1;
        while self.more(b']') {
            items.push(self.value());
        }
        items
    }

    /// Steps over a comma. False at the closing bracket, and past it; false too once there are too many values.
    fn more(&mut self, close: u8) -> bool {
        self.skip_space();
        if self.peek() == b',' {
            self.at += 1;
            self.skip_space();
        }
        let full = self.nodes > limits::NODES;
        if self.peek() == close || self.at >= self.text.len() || full {
            self.at += 1;
            return false;
        }
        true
    }

    fn scalar(&mut self) -> Value {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length =
            if rest.starts_with('"') { string_length(rest) } else { rest.find(ends_token).unwrap_or(rest.len()) };
        self.at += length.max(1);
        serde_json::from_str(&rest[..length]).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }
}

fn ends_token(c: char) -> bool {
    matches!(c, ',' | ':' | '}' | ']' | ' ' | '\t' | '\n' | '\r')
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::parse;

    #[test]
    fn the_tree_is_what_serde_json_reads() {
        for text in [
            "1",
            " null ",
            r#""a\"\\""#,
            r#"{"a": [1, -2.5e3, true, false, null, {}, []], "b\u0041": {"c" : "\ud83d\ude00 , } ]"}}"#,
        ] {
            let parsed = parse(text);
            assert!(parsed.findings.is_empty());
            assert_eq!(parsed.root.map(|r| r.to_value()), serde_json::from_str::<Value>(text).ok(), "{text}");
        }
    }

    #[test]
    fn places_are_the_values_own() {
        let text = "{\n  \"a\": [1, \"zwölf\"],\n  \"a\": 2 }";
        let parsed = parse(text);
        let root = parsed.root.expect("valid");
        let span = root.follow("/a/1").node.span;
        assert_eq!(&text[span.start..span.end], "\"zwölf\"");
        let second = parsed.findings[0].0;
        assert_eq!(&text[second.start..second.end], "\"a\"");
        assert!(second.start > span.start);
    }

    #[test]
    fn depth_is_bounded() {
        assert!(parse(&"[".repeat(10_000)).root.is_none());
        assert!(parse(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))).root.is_none());
    }
}
