//! Changes a text at the places that the parser tells. What comes of it is checked by reading it again.

use granit_parser::ScalarStyle;
use serde_json::{Map, Value};

use super::{EditError, write};
use crate::{
    tree::{Entry, Kind, Node, Span},
    yaml,
};

/// How often one change may touch the text: once for each field, and for each of those that go.
const STEPS: usize = 500;

/// Puts a value below a path of keys. Of a mapping that is there, only the fields that differ are touched.
pub(super) fn put(text: &str, path: &[&str], value: &Value) -> Result<String, EditError> {
    let mut text = text.to_owned();
    for _ in 0..STEPS {
        let root = read(&text)?;
        match difference(&root, path, value) {
            None => return Ok(text),
            Some(Change::Remove(path)) => text = removed(&text, &root, &path)?,
            Some(Change::Set(path, value)) => text = set(&text, &root, &path, value)?,
        }
    }
    Err(EditError::Form)
}

/// Removes what a path of keys leads to, and the mapping around it if that is empty then.
pub(super) fn remove(text: &str, path: &[&str]) -> Result<String, EditError> {
    let root = read(text)?;
    let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
    if find(&root, &path).len() == path.len() { removed(text, &root, &path) } else { Ok(text.to_owned()) }
}

enum Change<'v> {
    Remove(Vec<String>),
    Set(Vec<String>, &'v Value),
}

/// The first thing in which the text differs from what it is to say.
fn difference<'v>(root: &Node, path: &[&str], value: &'v Value) -> Option<Change<'v>> {
    let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
    let found = find(root, &path);
    match found.last() {
        Some(entry) if found.len() == path.len() => differs(&entry.value, path, value),
        _ => Some(Change::Set(path, value)),
    }
}

fn differs<'v>(node: &Node, path: Vec<String>, value: &'v Value) -> Option<Change<'v>> {
    let (Kind::Mapping(entries), Value::Object(fields)) = (&node.kind, value) else {
        return (node.to_value() != *value).then_some(Change::Set(path, value));
    };
    let below = |key: &str| path.iter().cloned().chain([key.to_owned()]).collect::<Vec<_>>();
    if let Some(gone) = entries.iter().find(|entry| !fields.contains_key(&entry.key)) {
        return Some(Change::Remove(below(&gone.key)));
    }
    fields.iter().find_map(|(key, value)| match entries.iter().find(|entry| entry.key == *key) {
        Some(entry) => differs(&entry.value, below(key), value),
        None => Some(Change::Set(below(key), value)),
    })
}

fn read(text: &str) -> Result<Node, EditError> {
    let parsed = yaml::parse(text);
    parsed.root.filter(|_| parsed.findings.is_empty()).ok_or(EditError::Unreadable)
}

/// The entries on the way, as far as it leads.
fn find<'n>(root: &'n Node, path: &[String]) -> Vec<&'n Entry> {
    let mut found = Vec::new();
    let mut node = root;
    for key in path {
        let Kind::Mapping(entries) = &node.kind else { break };
        let Some(entry) = entries.iter().find(|entry| entry.key == *key) else { break };
        found.push(entry);
        node = &entry.value;
    }
    found
}

fn set(text: &str, root: &Node, path: &[String], value: &Value) -> Result<String, EditError> {
    let found = find(root, path);
    if let Some(entry) = found.last().filter(|_| found.len() == path.len()) {
        return Ok(replaced(text, entry, value));
    }
    let (key, deeper) = path[found.len()..].split_first().ok_or(EditError::Form)?;
    let nested =
        deeper.iter().rev().fold(value.clone(), |value, key| Value::Object(Map::from_iter([(key.clone(), value)])));
    match found.last() {
        Some(entry) => added(text, Some(entry), &entry.value, key, &nested),
        None => added(text, None, root, key, &nested),
    }
}

/// Puts another value in the place of one.
fn replaced(text: &str, entry: &Entry, value: &Value) -> String {
    let block_scalar = matches!(entry.value.style, Some(ScalarStyle::Literal | ScalarStyle::Folded));
    if block_scalar || is_block(text, &entry.value) {
        // From behind the colon to the end of the last line.
        let start = entry.key_span.end + text[entry.key_span.end..].find(':').map_or(0, |at| at + 1);
        let end = end_of(text, entry);
        let newline = if text[..end].ends_with('\n') { "\n" } else { "" };
        return splice(text, Span { start, end }, &format!(" {}{newline}", write::flow(value)));
    }
    let span = entry.value.span;
    let space = if text[..span.start].ends_with(':') { " " } else { "" };
    splice(text, span, &format!("{space}{}", write::flow(value)))
}

/// Adds a field to a mapping, or to nothing where a mapping is to be.
fn added(text: &str, entry: Option<&Entry>, node: &Node, key: &str, value: &Value) -> Result<String, EditError> {
    match &node.kind {
        Kind::Mapping(entries) if is_block(text, node) => {
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Err(EditError::Form) };
            let lines = write::block(key, value, column(text, first.key_span.start));
            Ok(insert_lines(text, line_end(text, end_of(text, last)), &lines))
        }
        Kind::Mapping(entries) => {
            let field = write::field(key, value);
            Ok(match entries.last() {
                Some(last) => {
                    let end = last.value.span.end.max(last.key_span.end);
                    splice(text, Span { start: end, end }, &format!(", {field}"))
                }
                None => splice(text, node.span, &format!("{{ {field} }}")),
            })
        }
        Kind::Scalar(Value::Null) => {
            let entry = entry.ok_or(EditError::Form)?;
            if text[node.span.start..node.span.end].trim().is_empty() {
                let lines = write::block(key, value, column(text, entry.key_span.start) + 2);
                Ok(insert_lines(text, line_end(text, entry.key_span.end), &lines))
            } else {
                Ok(splice(text, node.span, &format!("{{ {} }}", write::field(key, value))))
            }
        }
        _ => Err(EditError::Form),
    }
}

/// Takes an entry out of its mapping, and the mapping out of its own if nothing else is in it.
fn removed(text: &str, root: &Node, path: &[String]) -> Result<String, EditError> {
    let found = find(root, path);
    let [.., around, entry] = found.as_slice() else { return Err(EditError::Form) };
    let Kind::Mapping(entries) = &around.value.kind else { return Err(EditError::Form) };
    if entries.len() == 1 {
        return removed(text, root, &path[..path.len() - 1]);
    }
    let at = entries.iter().position(|other| other.key == entry.key).ok_or(EditError::Form)?;
    let span = if is_block(text, &around.value) {
        let start = text[..entry.key_span.start].rfind('\n').map_or(0, |newline| newline + 1);
        Span { start, end: line_end(text, end_of(text, entry)) }
    } else if at > 0 {
        let before = &entries[at - 1];
        let end = entry.value.span.end.max(entry.key_span.end);
        Span { start: before.value.span.end.max(before.key_span.end), end }
    } else {
        Span { start: entry.key_span.start, end: entries[1].key_span.start }
    };
    Ok(splice(text, span, ""))
}

/// Whether a collection is written with indentation and not within braces or brackets.
fn is_block(text: &str, node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(_) => false,
        Kind::Sequence(_) | Kind::Mapping(_) => !text[node.span.start..].starts_with(['{', '[']),
    }
}

/// Where the last text of an entry ends; comments behind it are none of it.
fn end_of(text: &str, entry: &Entry) -> usize {
    entry.key_span.end.max(end_of_node(text, &entry.value))
}

fn end_of_node(text: &str, node: &Node) -> usize {
    match &node.kind {
        Kind::Sequence(items) if is_block(text, node) => {
            items.last().map_or(node.span.end, |item| end_of_node(text, item))
        }
        Kind::Mapping(entries) if is_block(text, node) => {
            entries.last().map_or(node.span.end, |entry| end_of(text, entry))
        }
        _ => node.span.end,
    }
}

/// Where the line ends that `at` is in, its line break included. The end of a block scalar is one already.
fn line_end(text: &str, at: usize) -> usize {
    if text[..at].ends_with('\n') {
        return at;
    }
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// How many characters stand before `at` in its line.
fn column(text: &str, at: usize) -> usize {
    text[..at].chars().rev().take_while(|c| *c != '\n').count()
}

fn insert_lines(text: &str, at: usize, lines: &str) -> String {
    let newline = if at == 0 || text[..at].ends_with('\n') { "" } else { "\n" };
    splice(text, Span { start: at, end: at }, &format!("{newline}{lines}"))
}

fn splice(text: &str, span: Span, with: &str) -> String {
    format!("{}{with}{}", &text[..span.start], &text[span.end.max(span.start)..])
}
