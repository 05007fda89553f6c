//! `use`: what tasks refer to by name.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Authentication, Duration, Retry, Task, authentication, catch, duration, list,
    node::{Node, Position},
    places,
    reader::Reader,
    task,
};
use crate::{
    expression::Template,
    fault::{Fault, FaultKind, cut},
};

/// What tasks refer to by name. All but functions and secrets are put in where they are referred to.
#[derive(Debug, Clone, Default)]
pub struct Components {
    /// Tasks that can be called.
    pub functions: BTreeMap<String, Arc<Task>>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    pub(crate) authentications: BTreeMap<String, Arc<Authentication>>,
    pub(crate) errors: BTreeMap<String, Arc<ErrorTemplate>>,
    pub(crate) retries: BTreeMap<String, Arc<Retry>>,
    pub(crate) timeouts: BTreeMap<String, Duration>,
}

/// An error that is raised.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorTemplate {
    /// Its type.
    pub kind: Template,
    /// Its status.
    pub status: Template,
    /// The task that it is told of; the one that raises it unless said otherwise.
    pub instance: Option<Template>,
    /// Its title.
    pub title: Option<Template>,
    /// Its detail.
    pub detail: Option<Template>,
}

/// Names that a function cannot have, since calls of these are something else.
const CALLS: [&str; 10] = ["http", "openapi", "asyncapi", "grpc", "a2a", "mcp", "prompt", "agent", "tool", "operation"];

pub(super) fn read(reader: &mut Reader, node: Option<Node<'_>>) -> Components {
    let mut components = Components::default();
    let Some(node) = node else { return components };
    if !reader.object(&node, &places::USE) {
        return components;
    }
    for kind in ["authentications", "errors", "functions", "retries", "timeouts"] {
        if let Some(node) = node.get(kind)
            && reader.is_object(&node)
        {
            reader.names.insert(kind, node.fields().map(|(name, _)| name.to_owned()).collect());
        }
    }
    if let Some(secrets) = node.get("secrets")
        && reader.is_list(&secrets)
    {
        components.secrets = secrets.items().filter_map(|item| reader.text(&item).map(String::from)).collect();
        reader.names.insert("secrets", components.secrets.clone());
    }
    let named = |kind: &str| node.get(kind).into_iter().flat_map(|node| node.fields());
    for (name, node) in named("authentications") {
        if let Some(read) = authentication::read(reader, &node, &components) {
            components.authentications.insert(name.to_owned(), Arc::new(read));
        }
    }
    for (name, node) in named("timeouts") {
        if let Some(read) = task::timeout(reader, Some(node), &components, Position::Before) {
            components.timeouts.insert(name.to_owned(), read);
        }
    }
    for (name, node) in named("errors") {
        if let Some(read) = error(reader, &node) {
            components.errors.insert(name.to_owned(), Arc::new(read));
        }
    }
    for (name, node) in named("retries") {
        let read = reader.with_variables(&["error"], |reader| catch::retry(reader, &node));
        if let Some(read) = read {
            components.retries.insert(name.to_owned(), Arc::new(read));
        }
    }
    for (name, node) in named("functions") {
        if CALLS.contains(&name) {
            let message = format!("`{}` is a function already", cut(name, 60));
            reader.fault(Fault::new(FaultKind::BadValue, &node.at, message).expected("another name"));
        }
        if let Some(read) = task::read(reader, name, &node, &components, &list::Siblings::none()) {
            components.functions.insert(name.to_owned(), Arc::new(read));
        }
    }
    components
}

pub(super) fn error(reader: &mut Reader, node: &Node<'_>) -> Option<ErrorTemplate> {
    if !reader.object(node, &places::ERROR) {
        return None;
    }
    let mut text = |field: &str| node.get(field).map(|node| reader.text_template(&node, Position::Within));
    let (kind, instance, title, detail) = (text("type"), text("instance"), text("title"), text("detail"));
    let status = node.get("status").map(|node| {
        let status = reader.template(&node, Position::Within);
        if status.as_plain().is_some() {
            reader.number(&node, 100, 599);
        }
        status
    });
    Some(ErrorTemplate { kind: kind?, status: status?, instance, title, detail })
}

/// A duration, or the name of one.
pub(super) fn after(reader: &mut Reader, node: &Node<'_>, position: Position) -> Option<Duration> {
    reader.object(node, &places::TIMEOUT);
    node.get("after").and_then(|node| duration::read(reader, &node, position))
}
