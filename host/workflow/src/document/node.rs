//! Values of a document with their places, and what expressions see there.

use serde_json::Value;

use crate::step::escape;

/// A value of the document and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    pub(crate) at: String,
}

impl<'a> Node<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<Node<'a>> {
        self.value.get(name).map(|value| Node { value, at: format!("{}/{}", self.at, escape(name)) })
    }

    /// The fields of an object, or none.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> + use<'a> {
        let at = self.at.clone();
        self.value
            .as_object()
            .into_iter()
            .flatten()
            .map(move |(name, value)| (name.as_str(), Node { value, at: format!("{at}/{}", escape(name)) }))
    }

    /// The items of a list, or none.
    pub(crate) fn items(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let at = self.at.clone();
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(move |(index, value)| Node { value, at: format!("{at}/{index}") })
    }
}

/// Where an expression stands, which says what variables it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// The workflow's `input.from`.
    WorkflowInput,
    /// A task's `if` and `input.from`.
    Before,
    /// The definition of a task.
    Within,
    /// A task's `export.as`.
    Export,
    /// The workflow's `output.as`.
    WorkflowOutput,
}

impl Position {
    pub(super) fn variables(self) -> &'static [&'static str] {
        match self {
            Self::WorkflowInput => &["workflow", "runtime"],
            Self::Before => &["context", "task", "workflow", "runtime"],
            Self::Within => &["context", "input", "task", "workflow", "runtime"],
            Self::Export => &["context", "input", "output", "task", "workflow", "runtime"],
            Self::WorkflowOutput => &["context", "workflow", "runtime"],
        }
    }
}
