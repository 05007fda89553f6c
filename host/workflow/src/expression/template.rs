//! JSON with expressions in it.

use std::sync::Arc;

use serde_json::Value;

use super::Expression;

/// JSON with expressions in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// No expression in it.
    Plain(Value),
    /// An expression.
    Expression(Arc<Expression>),
    /// An expression of a document in loose mode: if it fails, it stands for its text.
    Loose(Arc<Expression>, String),
    /// A list with expressions in it.
    List(Vec<Template>),
    /// Fields with expressions in them.
    Fields(Vec<(String, Template)>),
}

impl Template {
    /// A list of templates; plain if all of them are.
    pub(crate) fn list(items: Vec<Self>) -> Self {
        let plain: Option<Vec<Value>> = items.iter().map(|item| item.as_plain().cloned()).collect();
        plain.map_or(Self::List(items), |items| Self::Plain(Value::Array(items)))
    }

    /// Named templates; plain if all of them are.
    pub(crate) fn fields(fields: Vec<(String, Self)>) -> Self {
        let plain: Option<serde_json::Map<String, Value>> =
            fields.iter().map(|(name, field)| Some((name.clone(), field.as_plain()?.clone()))).collect();
        plain.map_or(Self::Fields(fields), |fields| Self::Plain(Value::Object(fields)))
    }

    /// The value, if there is no expression in it.
    pub fn as_plain(&self) -> Option<&Value> {
        match self {
            Self::Plain(value) => Some(value),
            _ => None,
        }
    }
}
