//! Events: what is published and what is waited for.

use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::{
    Components, TaskKind, TaskList, Transform,
    list::{self, Targets},
    node::{Node, Position},
    places,
    reader::Reader,
    task,
};
use crate::{
    expression::{Expression, Template},
    fault::{Fault, FaultKind, cut},
};

/// What events a task waits for, and what it makes of them.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Which events, and how many.
    pub to: Strategy,
    /// What of them.
    pub read: ReadEvents,
}

/// What of an event is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadEvents {
    /// Its data.
    #[default]
    Data,
    /// All of it.
    Envelope,
    /// The bytes of its data, in Base64.
    Raw,
}

/// Which events, and how many.
#[derive(Debug, Clone)]
pub enum Strategy {
    /// One for each of these.
    All(Vec<EventFilter>),
    /// Any of these (any at all if there are none): one, or all of them until something is so.
    Any(Vec<EventFilter>, Option<Until>),
    /// One like this.
    One(EventFilter),
}

/// What ends a wait.
#[derive(Debug, Clone)]
pub enum Until {
    /// What holds of the list of events so far.
    Holds(Arc<Expression>),
    /// Other events.
    Consumed(Box<Strategy>),
}

/// What an event must be like.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// Its attributes, and its data.
    pub with: Vec<(String, Matching)>,
    /// Values that it must have in common with other events.
    pub correlate: Vec<Correlation>,
}

/// What an attribute must be like.
#[derive(Debug, Clone)]
pub enum Matching {
    /// This text, or matched by it, as a regular expression, as a whole.
    Text(String, Option<Regex>),
    /// This value.
    Value(Template),
    /// For the data: what must hold of it, or what it must be. For an attribute: what it must be, said of the task's input.
    Holds(Arc<Expression>),
}

/// A value that events have in common.
#[derive(Debug, Clone)]
pub struct Correlation {
    /// What it is called.
    pub name: String,
    /// Where an event has it.
    pub from: Arc<Expression>,
    /// What it must be; what the first event has if nothing is said.
    pub expect: Option<Template>,
}

/// What is done with each event.
#[derive(Debug, Clone)]
pub struct ForEach {
    /// The variable that has the event.
    pub item: String,
    /// The variable that has its index.
    pub at: String,
    /// The tasks.
    pub tasks: TaskList,
    /// What becomes of the last task's output.
    pub output: Transform,
    /// What becomes of the context.
    pub export: Transform,
}

const PATTERN_BYTES: usize = 1 << 20;
const ATTRIBUTES: [&str; 7] = ["id", "source", "type", "time", "subject", "datacontenttype", "dataschema"];

pub(super) fn emitted(reader: &mut Reader, node: &Node<'_>) -> Option<Template> {
    reader.object(node, &places::EMIT);
    let event = node.get("event")?;
    reader.object(&event, &places::EMIT_EVENT);
    let with = event.get("with")?;
    if !reader.is_object(&with) {
        return None;
    }
    for required in ["source", "type"] {
        if with.get(required).is_none() {
            reader.fault(Fault::new(FaultKind::MissingField, &with.at, format!("`{required}` is missing")));
        }
    }
    for (name, field) in with.fields() {
        if attribute(reader, name, &field) {
            reader.text(&field);
        }
    }
    Some(reader.template(&with, Position::Within))
}

/// Checks the name of an attribute; whether it is one that is a text.
fn attribute(reader: &mut Reader, name: &str, node: &Node<'_>) -> bool {
    let well =
        !name.is_empty() && name.len() <= 60 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !well || name == "specversion" || name == "data_base64" {
        let fault = Fault::new(FaultKind::BadValue, &node.at, format!("`{}` cannot be given", cut(name, 60)));
        let known = places::EVENT.fields.iter().copied();
        reader.fault(fault.expected("an attribute of CloudEvents: small letters and digits").among(name, known));
    }
    ATTRIBUTES.contains(&name)
}

pub(super) fn listen(
    reader: &mut Reader,
    task: &Node<'_>,
    node: &Node<'_>,
    components: &Components,
) -> Option<TaskKind> {
    reader.object(node, &places::LISTEN);
    let read = node.get("read").and_then(|node| reader.one_of(&node, &["data", "envelope", "raw"]));
    let read = match read {
        Some("envelope") => ReadEvents::Envelope,
        Some("raw") => ReadEvents::Raw,
        _ => ReadEvents::Data,
    };
    let to = node.get("to").and_then(|node| strategy(reader, &node, Position::Within, false));
    let each = task.get("foreach").map(|node| for_each(reader, &node, components));
    Some(TaskKind::Listen(Listening { to: to?, read }, each))
}

fn for_each(reader: &mut Reader, node: &Node<'_>, components: &Components) -> ForEach {
    reader.object(node, &places::FOREACH);
    let (item, at) = (reader.variable(node.get("item"), "item"), reader.variable(node.get("at"), "index"));
    let (tasks, output, export) = reader.with_variables(&[&item, &at], |reader| {
        (
            node.get("do").map(|node| list::read(reader, &node, components, Targets::Siblings)).unwrap_or_default(),
            task::transform(reader, node.get("output"), &places::OUTPUT, Position::Within),
            task::transform(reader, node.get("export"), &places::EXPORT, Position::Export),
        )
    });
    ForEach { item, at, tasks, output, export }
}

pub(super) fn strategy(reader: &mut Reader, node: &Node<'_>, position: Position, until: bool) -> Option<Strategy> {
    if !reader.object(node, &places::STRATEGY) {
        return None;
    }
    let kinds: Vec<_> = ["all", "any", "one"].into_iter().filter_map(|kind| Some((kind, node.get(kind)?))).collect();
    let [(kind, filters)] = kinds.as_slice() else {
        reader.wrong(node, FaultKind::BadValue, "there is one way to listen", "`all`, `any` or `one`");
        return None;
    };
    if let Some(extra) = node.get("until").filter(|_| *kind != "any" || until) {
        reader.wrong(
            &extra,
            FaultKind::BadValue,
            "`until` has no meaning here",
            "`until` beside `any`, and not inside of an `until`",
        );
    }
    if *kind == "one" {
        return filter(reader, filters, position).map(Strategy::One);
    }
    if !reader.is_list(filters) {
        return None;
    }
    let read: Vec<EventFilter> = filters.items().filter_map(|item| filter(reader, &item, position)).collect();
    if *kind == "all" {
        if filters.value.as_array().is_some_and(Vec::is_empty) {
            reader.wrong(filters, FaultKind::BadValue, "there is no filter", "at least one filter");
        }
        return Some(Strategy::All(read));
    }
    let until = node.get("until").filter(|_| !until).and_then(|node| {
        if node.value.is_object() {
            strategy(reader, &node, position, true).map(|strategy| Until::Consumed(Box::new(strategy)))
        } else {
            reader.expression(&node, position).map(Until::Holds)
        }
    });
    Some(Strategy::Any(read, until))
}

fn filter(reader: &mut Reader, node: &Node<'_>, position: Position) -> Option<EventFilter> {
    if !reader.object(node, &places::EVENT_FILTER) {
        return None;
    }
    let with = node.get("with")?;
    reader.is_object(&with);
    if with.value.as_object().is_some_and(serde_json::Map::is_empty) {
        reader.wrong(&with, FaultKind::BadValue, "the filter is empty", "at least one attribute");
    }
    let fields: Vec<_> = with.fields().collect();
    let with = fields.into_iter().filter_map(|(name, field)| {
        let is_text = attribute(reader, name, &field);
        Some((name.to_owned(), matching(reader, &field, is_text, position)?))
    });
    let with = with.collect();
    let mut correlate = Vec::new();
    if let Some(node) = node.get("correlate")
        && reader.is_object(&node)
    {
        for (name, node) in node.fields() {
            reader.object(&node, &places::CORRELATION);
            let from = reader.optional_expression(node.get("from"), position);
            let expect = node.get("expect").map(|node| reader.template(&node, position));
            correlate.extend(from.map(|from| Correlation { name: name.to_owned(), from, expect }));
        }
    }
    Some(EventFilter { with, correlate })
}

fn matching(reader: &mut Reader, node: &Node<'_>, is_text: bool, position: Position) -> Option<Matching> {
    if is_text {
        reader.text(node)?;
    }
    let template = reader.template(node, position);
    Some(match template {
        Template::Expression(expression) => Matching::Holds(expression),
        Template::Plain(Value::String(text)) => {
            let pattern = whole(&text);
            Matching::Text(text, pattern)
        }
        other => Matching::Value(other),
    })
}

/// What matches a text as a whole, if it is a regular expression.
pub(crate) fn whole(text: &str) -> Option<Regex> {
    regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(PATTERN_BYTES).build().ok()
}
