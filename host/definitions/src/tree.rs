//! A document as a tree of values with their places.

use granit_parser::ScalarStyle;
use serde_json::Value;

/// A range of bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A value and where it stands. What an alias stands for has the place where it is written out.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// A YAML block scalar's begins with its first line of text, without the indentation.
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    /// How a YAML scalar is written.
    pub(crate) style: Option<ScalarStyle>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar(Value),
    Sequence(Vec<Node>),
    /// Each key once.
    Mapping(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

/// Where a JSON Pointer leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// The place of its key, unless it is the root or an element of a sequence.
    pub(crate) key: Option<Span>,
    pub(crate) node: &'a Node,
}

impl Node {
    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::Sequence(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Mapping(entries) => {
                Value::Object(entries.iter().map(|e| (e.key.clone(), e.value.to_value())).collect())
            }
        }
    }

    /// Follows a JSON Pointer as far as it leads.
    pub(crate) fn follow(&self, pointer: &str) -> Found<'_> {
        let mut found = Found { key: None, node: self };
        for segment in pointer.split('/').skip(1) {
            let segment = unescape(segment);
            let next = match &found.node.kind {
                Kind::Scalar(_) => None,
                Kind::Sequence(items) => {
                    segment.parse().ok().and_then(|i: usize| items.get(i)).map(|node| Found { key: None, node })
                }
                Kind::Mapping(entries) => {
                    entries.iter().find(|e| e.key == segment).map(|e| Found { key: Some(e.key_span), node: &e.value })
                }
            };
            match next {
                Some(next) => found = next,
                None => break,
            }
        }
        found
    }

    /// The number of values in it and the bytes of its texts.
    pub(crate) fn weight(&self) -> (usize, usize) {
        match &self.kind {
            Kind::Scalar(value) => (1, value.as_str().map_or(8, str::len)),
            Kind::Sequence(items) => items.iter().fold((1, 0), |sum, item| add(sum, item.weight())),
            Kind::Mapping(entries) => {
                entries.iter().fold((1, 0), |sum, e| add(sum, add(e.value.weight(), (0, e.key.len()))))
            }
        }
    }
}

fn add(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

/// One more step of a JSON Pointer.
pub(crate) fn join(pointer: &str, segment: &str) -> String {
    format!("{pointer}/{}", segment.replace('~', "~0").replace('/', "~1"))
}

fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// The last step of a JSON Pointer, as it is in the document.
pub(crate) fn last_segment(pointer: &str) -> String {
    unescape(pointer.rsplit('/').next().unwrap_or_default())
}
