//! Walks a document and gathers its faults.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    Grants,
    node::{Node, Position},
    places::Place,
};
use crate::{
    expression::{Expression, Library, Template, enclosed, mentions},
    fault::{Fault, FaultKind, cut, listed},
    limits::{EXPRESSIONS, FAULTS},
};

/// What is known while a document is read.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) faults: Vec<Fault>,
    pub(crate) loose: bool,
    pub(crate) grants: Grants,
    /// The names of `use`, by kind.
    pub(crate) names: BTreeMap<&'static str, Vec<String>>,
    /// Variables of loops and handlers around the place that is read.
    pub(crate) variables: Vec<String>,
    /// Lists of tasks around the place that is read.
    pub(crate) depth: usize,
    pub(crate) expressions: usize,
    pub(crate) library: Library,
}

impl Reader {
    pub(crate) fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        }
    }

    pub(crate) fn wrong(
        &mut self,
        node: &Node<'_>,
        kind: FaultKind,
        message: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.fault(Fault::new(kind, &node.at, message).expected(expected));
    }

    fn wrong_type(&mut self, node: &Node<'_>, expected: &str) {
        let found = match node.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.wrong(node, FaultKind::WrongType, format!("this is {found}"), expected);
    }

    pub(crate) fn unsupported(&mut self, node: &Node<'_>, message: impl Into<String>) {
        self.fault(Fault::new(FaultKind::Unsupported, &node.at, message));
    }

    /// Checks the fields of an object. `false` if it is none.
    pub(crate) fn object(&mut self, node: &Node<'_>, place: &Place) -> bool {
        self.object_of(node, &[place])
    }

    /// Checks the fields of an object that may have those of several places.
    pub(crate) fn object_of(&mut self, node: &Node<'_>, places: &[&Place]) -> bool {
        if !node.value.is_object() {
            self.wrong_type(node, "an object");
            return false;
        }
        let known: Vec<&'static str> = places.iter().flat_map(|place| place.fields).copied().collect();
        for (name, field) in node.fields() {
            let refused = places.iter().flat_map(|place| place.refused).find(|(refused, _)| *refused == name);
            if let Some((_, why)) = refused {
                self.unsupported(&field, *why);
            } else if !known.contains(&name) {
                let message = format!("`{}` is not a field here", cut(name, 60));
                let fault = Fault::new(FaultKind::UnknownField, &field.at, message);
                self.fault(fault.expected(listed(known.iter().copied())).among(name, known.iter().copied()));
            }
        }
        for required in places.iter().flat_map(|place| place.required) {
            if node.value.get(required).is_none() {
                self.fault(Fault::new(FaultKind::MissingField, &node.at, format!("`{required}` is missing")));
            }
        }
        true
    }

    /// Whether it is a list. Says so if it is not.
    pub(crate) fn is_list(&mut self, node: &Node<'_>) -> bool {
        if !node.value.is_array() {
            self.wrong_type(node, "a list");
        }
        node.value.is_array()
    }

    /// Whether it is an object. Says so if it is not.
    pub(crate) fn is_object(&mut self, node: &Node<'_>) -> bool {
        if !node.value.is_object() {
            self.wrong_type(node, "an object");
        }
        node.value.is_object()
    }

    pub(crate) fn text<'a>(&mut self, node: &Node<'a>) -> Option<&'a str> {
        let text = node.value.as_str();
        if text.is_none() {
            self.wrong_type(node, "a text");
        }
        text
    }

    pub(crate) fn boolean(&mut self, node: Option<Node<'_>>) -> bool {
        let Some(node) = node else { return false };
        if !node.value.is_boolean() {
            self.wrong_type(&node, "true or false");
        }
        node.value.as_bool().unwrap_or_default()
    }

    pub(crate) fn number(&mut self, node: &Node<'_>, least: u64, most: u64) -> Option<u64> {
        let number = node.value.as_u64().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let expected = format!("a whole number from {least} to {most}");
            self.wrong(node, FaultKind::OutOfRange, "this is not in range", expected);
        }
        number
    }

    /// One of some words.
    pub(crate) fn one_of<'w>(&mut self, node: &Node<'_>, words: &[&'w str]) -> Option<&'w str> {
        let text = self.text(node)?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let fault = Fault::new(FaultKind::BadValue, &node.at, format!("`{}` is not known here", cut(text, 60)));
            self.fault(fault.expected(listed(words.iter().copied())).among(text, words.iter().copied()));
        }
        found
    }

    /// Whether `use` has the name. Says so if it has not.
    pub(crate) fn named(&mut self, node: &Node<'_>, kind: &'static str, name: &str) -> bool {
        let names = self.names.get(kind).cloned().unwrap_or_default();
        let there = names.iter().any(|known| known == name);
        if !there {
            let message = format!("`use.{kind}` has no `{}`", cut(name, 60));
            let fault = Fault::new(FaultKind::UnknownName, &node.at, message);
            self.fault(
                fault.expected(listed(names.iter().map(String::as_str))).among(name, names.iter().map(String::as_str)),
            );
        }
        there
    }

    /// An expression, enclosed in `${ }` or not.
    pub(crate) fn expression(&mut self, node: &Node<'_>, position: Position) -> Option<Arc<Expression>> {
        let text = self.text(node)?;
        self.compile(node, enclosed(text).unwrap_or(text), position)
    }

    pub(crate) fn optional_expression(
        &mut self,
        node: Option<Node<'_>>,
        position: Position,
    ) -> Option<Arc<Expression>> {
        node.and_then(|node| self.expression(&node, position))
    }

    fn compile(&mut self, node: &Node<'_>, text: &str, position: Position) -> Option<Arc<Expression>> {
        let known: Vec<String> =
            position.variables().iter().map(|name| (*name).to_owned()).chain(self.variables.iter().cloned()).collect();
        match self.read_expression(text, &known) {
            Ok(expression) => Some(expression),
            Err(problem) => {
                let mut fault = Fault::new(FaultKind::BadExpression, &node.at, problem.message);
                if let Some(unknown) = problem.unknown {
                    fault = fault.among(&unknown, known.iter().map(String::as_str));
                }
                self.fault(fault);
                None
            }
        }
    }

    fn read_expression(&mut self, text: &str, known: &[String]) -> Result<Arc<Expression>, crate::ExpressionProblem> {
        self.expressions += 1;
        if self.expressions > EXPRESSIONS {
            let message = format!("a document has at most {EXPRESSIONS} expressions");
            return Err(crate::ExpressionProblem { message, unknown: None });
        }
        Expression::read_with(&self.library, text, known.iter().map(String::as_str)).map(Arc::new)
    }

    /// JSON with expressions in it: texts of the form `${ … }`, and in loose mode every text that is one.
    pub(crate) fn template(&mut self, node: &Node<'_>, position: Position) -> Template {
        match node.value {
            Value::String(text) => match enclosed(text) {
                Some(inner) => {
                    self.compile(node, inner, position).map_or(Template::Plain(Value::Null), Template::Expression)
                }
                // Where a secret may be, it is a reference; anywhere else its name is refused, in either mode.
                None if self.loose && mentions(text, "secrets") => {
                    self.compile(node, text, position).map_or(Template::Plain(Value::Null), Template::Expression)
                }
                None if self.loose => self.loose_text(text, position),
                None => Template::Plain(node.value.clone()),
            },
            Value::Array(_) => Template::list(node.items().map(|item| self.template(&item, position)).collect()),
            Value::Object(_) => Template::fields(
                node.fields().map(|(name, field)| (name.to_owned(), self.template(&field, position))).collect(),
            ),
            plain => Template::Plain(plain.clone()),
        }
    }

    fn loose_text(&mut self, text: &str, position: Position) -> Template {
        let known: Vec<String> =
            position.variables().iter().map(|name| (*name).to_owned()).chain(self.variables.iter().cloned()).collect();
        match self.read_expression(text, &known) {
            Ok(expression) => Template::Loose(expression, text.to_owned()),
            Err(_) => Template::Plain(Value::String(text.to_owned())),
        }
    }

    /// A text as an expression (enclosed or not), anything else as JSON with expressions in it.
    pub(crate) fn mapping(&mut self, node: &Node<'_>, position: Position) -> Option<Template> {
        match node.value {
            Value::String(_) => self.expression(node, position).map(Template::Expression),
            Value::Object(_) => Some(self.template(node, position)),
            _ => {
                self.wrong_type(node, "an expression or an object");
                None
            }
        }
    }

    /// A template that is an expression or a text, and no empty one.
    pub(crate) fn text_template(&mut self, node: &Node<'_>, position: Position) -> Template {
        if self.text(node) == Some("") {
            self.wrong(node, FaultKind::BadValue, "this is empty", "a text or an expression");
        }
        self.template(node, position)
    }

    /// The name of a variable that a loop or handler gives.
    pub(crate) fn variable(&mut self, node: Option<Node<'_>>, default: &str) -> String {
        let Some(node) = node else { return default.to_owned() };
        let Some(name) = self.text(&node) else { return default.to_owned() };
        let mut characters = name.chars();
        let starts = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let well = starts && name.len() <= 60 && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        let taken = ["context", "input", "output", "secrets", "authorization", "task", "workflow", "runtime", "ENV"];
        if !well {
            self.wrong(
                &node,
                FaultKind::BadValue,
                "this is not a name of a variable",
                "letters, digits and `_`, at most 60",
            );
        } else if taken.contains(&name) {
            self.wrong(&node, FaultKind::BadValue, format!("`${name}` is something else already"), "another name");
        } else {
            return name.to_owned();
        }
        default.to_owned()
    }

    /// Reads something in which further variables are there.
    pub(crate) fn with_variables<T>(&mut self, names: &[&str], read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.variables.len();
        self.variables.extend(names.iter().map(|name| (*name).to_owned()));
        let result = read(self);
        self.variables.truncate(before);
        result
    }
}
