//! Endpoints and templates of URIs.

use std::sync::Arc;

use super::{
    Authentication, Components, authentication,
    node::{Node, Position},
    places,
    reader::Reader,
};
use crate::{
    expression::{Expression, enclosed},
    fault::FaultKind,
};

/// Where a request goes, and with what.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where.
    pub url: Url,
    /// With what.
    pub authentication: Option<Arc<Authentication>>,
}

/// A URL, or how to come by it.
#[derive(Debug, Clone, PartialEq)]
pub enum Url {
    /// What the expression says.
    Computed(Arc<Expression>),
    /// These parts.
    Parts(Vec<Part>),
}

/// A part of a template of a URI (RFC 6570, simple expansion).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// The field of the task's input with this name.
    Variable(String),
}

/// A URL, or an object with one and what it is asked with.
pub(super) fn read(reader: &mut Reader, node: &Node<'_>, components: &Components) -> Option<Endpoint> {
    if node.value.is_string() {
        return url(reader, node).map(|url| Endpoint { url, authentication: None });
    }
    reader.object(node, &places::ENDPOINT);
    let authentication = authentication::referable(reader, node.get("authentication"), components);
    let url = url(reader, &node.get("uri")?)?;
    Some(Endpoint { url, authentication })
}

/// An external resource: `name` is for people.
pub(super) fn resource(reader: &mut Reader, node: &Node<'_>, components: &Components) -> Option<Endpoint> {
    reader.object(node, &places::RESOURCE);
    if let Some(name) = node.get("name") {
        reader.text(&name);
    }
    read(reader, &node.get("endpoint")?, components)
}

fn url(reader: &mut Reader, node: &Node<'_>) -> Option<Url> {
    let text = reader.text(node)?;
    if enclosed(text).is_some() {
        return reader.expression(node, Position::Within).map(Url::Computed);
    }
    if !text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    }) {
        reader.wrong(
            node,
            FaultKind::BadValue,
            "this is no absolute URI",
            "a URI such as `https://example.com/{id}`, or `${ … }`",
        );
        return None;
    }
    match parts(text) {
        Ok(parts) => Some(Url::Parts(parts)),
        Err(why) => {
            reader.wrong(node, FaultKind::Unsupported, why, "variables such as `{id}`, without operators");
            None
        }
    }
}

fn parts(mut rest: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a `{` is not closed")?;
        let operator = name.starts_with(['+', '#', '.', '/', ';', '?', '&', '=', ',', '!', '@', '|']);
        if name.is_empty() || operator || name.contains([',', '*', ':', '{']) {
            return Err(format!("the template `{{{}}}` is not supported", crate::fault::cut(name, 60)));
        }
        parts.extend([Part::Text(text.to_owned()), Part::Variable(name.to_owned())]);
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    parts.retain(|part| *part != Part::Text(String::new()));
    Ok(parts)
}
