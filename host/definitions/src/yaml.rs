//! YAML 1.2 (core schema) from the parser's events to a tree with places.
//!
//! Only what JSON can say is taken: no tags, no merge keys, no keys but scalars, one document. Aliases are expanded,
//! up to a bound.

use std::collections::{BTreeMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as ParserSpan};
use serde_json::Value;

use crate::{
    document::Parsed,
    fault::{FaultCode, Finding, quoted},
    limits,
    tree::{Entry, Kind, Node, Span},
    yaml_scalar,
};

/// Reads a YAML text. Ends at the first error of syntax or bound; keys that occur twice are all found.
pub(crate) fn parse(text: &str) -> Parsed {
    let options = granit_parser::options! { emit_comments: false, disallow_directives: true };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.event(event, byte_span(span)),
            Err(error) => Err(syntax(&error)),
        };
        if let Err(broken) = step {
            builder.findings.push(broken);
            return Parsed { root: None, findings: builder.findings };
        }
    }
    if builder.root.is_none() && builder.findings.is_empty() {
        builder.findings.push((Span::default(), Finding::new(FaultCode::EmptyFile, "the file is empty")));
    }
    Parsed { root: builder.root, findings: builder.findings }
}

type Broken = (Span, Finding);

fn byte_span(span: ParserSpan) -> Span {
    let start = span.start.byte_offset().unwrap_or_default();
    Span { start, end: span.end.byte_offset().unwrap_or(start).max(start) }
}

fn syntax(error: &ScanError) -> Broken {
    let at = error.marker().byte_offset().unwrap_or_default();
    let message = format!("not valid YAML: {}", error.kind());
    (Span { start: at, end: at }, Finding::new(FaultCode::YamlSyntax, message))
}

/// A collection that is not closed yet.
struct Open {
    start: Span,
    anchor: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, seen: HashSet<String>, key: Option<(String, Span)> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    findings: Vec<Broken>,
    nodes: usize,
    alias_bytes: usize,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err((span, Finding::new(FaultCode::Unsupported, "a second document begins here")));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                self.scalar(&text, style, anchor, span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                self.begin(Items::Sequence(Vec::new()), anchor, span)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                self.begin(Items::Mapping { entries: Vec::new(), seen: HashSet::new(), key: None }, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(span);
                Ok(())
            }
            Event::Alias(id) => self.alias(id, span),
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, span: Span) -> Result<(), Broken> {
        if self.key_is_next() {
            return self.key(text, style, span);
        }
        self.count(1, span)?;
        let value = match style {
            ScalarStyle::Plain => yaml_scalar::plain(text).map_err(|finding| (span, finding))?,
            _ => Value::String(text.to_owned()),
        };
        self.add(Node { span, kind: Kind::Scalar(value), style: Some(style) }, anchor);
        Ok(())
    }

    fn key_is_next(&self) -> bool {
        matches!(self.open.last(), Some(Open { items: Items::Mapping { key: None, .. }, .. }))
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Broken> {
        if text == "<<" && style == ScalarStyle::Plain {
            return Err((span, Finding::new(FaultCode::Unsupported, "merge keys are not supported")));
        }
        if let Some(Open { items: Items::Mapping { key, .. }, .. }) = self.open.last_mut() {
            *key = Some((text.to_owned(), span));
        }
        Ok(())
    }

    fn begin(&mut self, items: Items, anchor: usize, span: Span) -> Result<(), Broken> {
        if self.key_is_next() {
            return Err((span, Finding::new(FaultCode::Unsupported, "a key must be plain text")));
        }
        if self.open.len() >= limits::YAML_DEPTH {
            let finding = Finding::new(FaultCode::TooLarge, "the file is nested too deeply");
            return Err((span, finding.expected(format!("at most {} levels", limits::YAML_DEPTH))));
        }
        self.count(1, span)?;
        self.open.push(Open { start: span, anchor, items });
        Ok(())
    }

    fn end(&mut self, span: Span) {
        let Some(Open { start, anchor, items }) = self.open.pop() else { return };
        let kind = match items {
            Items::Sequence(items) => Kind::Sequence(items),
            Items::Mapping { entries, .. } => Kind::Mapping(entries),
        };
        let span = Span { start: start.start, end: span.end.max(start.end) };
        self.add(Node { span, kind, style: None }, anchor);
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Broken> {
        if self.key_is_next() {
            return Err((span, Finding::new(FaultCode::Unsupported, "a key must be plain text")));
        }
        let Some(node) = self.anchors.get(&id) else {
            return Err((span, Finding::new(FaultCode::YamlSyntax, "the alias stands within what it stands for")));
        };
        let (nodes, bytes) = node.weight();
        self.alias_bytes = self.alias_bytes.saturating_add(bytes);
        if self.alias_bytes > limits::ALIAS_BYTES {
            return Err((span, Finding::new(FaultCode::TooLarge, "the aliases expand to too much text")));
        }
        let node = node.clone();
        self.count(nodes, span)?;
        self.add(node, 0);
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Broken> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > limits::NODES {
            let finding = Finding::new(FaultCode::TooLarge, "the file holds too many values");
            return Err((span, finding.expected(format!("at most {}, aliases expanded", limits::NODES))));
        }
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::Sequence(items)) => items.push(node),
            Some(Items::Mapping { entries, seen, key }) => {
                let Some((key, key_span)) = key.take() else { return };
                if seen.insert(key.clone()) {
                    entries.push(Entry { key, key_span, value: node });
                } else if self.findings.len() < limits::FAULTS {
                    self.findings.push((key_span, duplicate(&key)));
                }
            }
        }
    }
}

/// A key that occurs twice.
pub(crate) fn duplicate(key: &str) -> Finding {
    Finding::new(FaultCode::DuplicateKey, format!("the key {} is already there", quoted(key)))
}

fn refuse_tag(tagged: bool, span: Span) -> Result<(), Broken> {
    if tagged { Err((span, Finding::new(FaultCode::Unsupported, "tags are not supported"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::parse;

    fn value(text: &str) -> Option<Value> {
        let parsed = parse(text);
        parsed.findings.is_empty().then(|| parsed.root.map(|root| root.to_value())).flatten()
    }

    #[test]
    fn aliases_are_expanded_and_bounded() {
        assert_eq!(value("a: &x { b: 1 }\nc: *x\n"), Some(json!({"a": {"b": 1}, "c": {"b": 1}})));
        assert_eq!(value("a: &x [*x]"), None);
        assert_eq!(value("a: &x 1\n<<: *x\n"), None);
    }

    #[test]
    fn spans_hold_the_values() {
        let text = "a: |\n  one\n  two\nb: \"q\\n\"\nc: {d: e}\nlist:\n  - x\n";
        let root = parse(text).root.expect("valid");
        let slice = |pointer: &str| {
            let span = root.follow(pointer).node.span;
            &text[span.start..span.end]
        };
        assert_eq!(slice("/a"), "one\n  two\n");
        assert_eq!(slice("/b"), "\"q\\n\"");
        assert_eq!(slice("/c"), "{d: e}");
        assert_eq!(slice("/c/d"), "e");
        assert_eq!(slice("/list/0"), "x");
        assert!(slice("/list").starts_with("- x"));
    }
}
