//! Lists of tasks.

use super::{Components, Task, node::Node, reader::Reader, task};
use crate::{
    fault::{Fault, FaultKind},
    limits::TASK_DEPTH,
};

/// Tasks, one after the other.
#[derive(Debug, Clone, Default)]
pub struct TaskList {
    /// The tasks.
    pub tasks: Vec<Task>,
}

/// What `then` may name in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Targets {
    /// The other tasks of the list.
    Siblings,
    /// None: its tasks are not one after the other.
    None,
}

/// The tasks around a task, for `then`.
pub(super) struct Siblings {
    names: Vec<String>,
}

impl Siblings {
    pub(super) fn none() -> Self {
        Self { names: Vec::new() }
    }

    /// The index of a task. Says so if there is none, or several.
    pub(super) fn find(&self, reader: &mut Reader, node: &Node<'_>, name: &str) -> Option<usize> {
        let mut found = self.names.iter().enumerate().filter(|(_, known)| *known == name).map(|(index, _)| index);
        let names = || ["continue", "exit", "end"].into_iter().chain(self.names.iter().map(String::as_str));
        match (found.next(), found.next()) {
            (Some(index), None) => Some(index),
            (None, _) => {
                let message = format!("there is no task `{}` beside this one", crate::fault::cut(name, 60));
                let fault = Fault::new(FaultKind::UnknownName, &node.at, message);
                reader.fault(fault.expected(crate::fault::listed(names())).among(name, names()));
                None
            }
            (Some(_), Some(_)) => {
                let message = format!("several tasks beside this one are called `{name}`");
                reader.fault(
                    Fault::new(FaultKind::UnknownName, &node.at, message).expected("names of which each is one task"),
                );
                None
            }
        }
    }
}

pub(super) fn read(reader: &mut Reader, node: &Node<'_>, components: &Components, targets: Targets) -> TaskList {
    if !reader.is_list(node) {
        return TaskList::default();
    }
    if reader.depth == TASK_DEPTH {
        let fault = Fault::new(FaultKind::OutOfRange, &node.at, "lists of tasks are nested too deep");
        reader.fault(fault.expected(format!("at most {TASK_DEPTH} inside each other")));
        return TaskList::default();
    }
    reader.depth += 1;
    let items: Vec<Option<(&str, Node<'_>)>> = node.items().map(|item| named(reader, &item)).collect();
    let names = match targets {
        Targets::Siblings => items.iter().flatten().map(|(name, _)| (*name).to_owned()).collect(),
        Targets::None => Vec::new(),
    };
    let siblings = Siblings { names };
    let tasks =
        items.into_iter().flatten().filter_map(|(name, node)| task::read(reader, name, &node, components, &siblings));
    let tasks = tasks.collect();
    reader.depth -= 1;
    TaskList { tasks }
}

/// The one field of an item: its name and what it is.
pub(super) fn named<'a>(reader: &mut Reader, item: &Node<'a>) -> Option<(&'a str, Node<'a>)> {
    if !reader.is_object(item) {
        return None;
    }
    let mut fields = item.fields();
    if let (Some(only), None) = (fields.next(), fields.next()) {
        return Some(only);
    }
    let fault = Fault::new(FaultKind::BadValue, &item.at, "an item has one field, which names it");
    reader.fault(fault.expected("an item such as `- name: {…}`"));
    None
}
