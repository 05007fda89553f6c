//! Reading a whole document.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    Components, DocumentInfo, Duration, Grants, Schedule, TaskList, Transform, components, info, list,
    node::{Node, Position},
    places,
    reader::Reader,
    task,
};
use crate::{
    fault::{Fault, FaultKind},
    limits::{DEPTH, DOCUMENT_NODES, too_large},
};

/// A workflow without faults.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// What it is called.
    pub document: DocumentInfo,
    /// What its input must be, and what becomes of it.
    pub input: Transform,
    /// What becomes of its output, and what that must be.
    pub output: Transform,
    /// Its tasks.
    pub tasks: TaskList,
    /// After what time it fails.
    pub timeout: Option<Duration>,
    /// When it is to run. This crate runs nothing by itself: who runs workflows evaluates it.
    pub schedule: Option<Schedule>,
    /// What its tasks refer to by name.
    pub components: Components,
    /// As it was written.
    pub definition: Arc<Value>,
}

impl Workflow {
    /// Reads a document.
    ///
    /// # Errors
    /// All its faults (the first hundred), in no particular order: what the language does not have, what it has and Nexus
    /// has not, expressions that do not parse or use what is not there, schemas that are none, names that refer to nothing.
    pub fn read(definition: &Value, grants: Grants) -> Result<Self, Vec<Fault>> {
        let size = too_large(definition, usize::MAX / 2);
        let nodes = size.is_none() && count(definition, &mut DOCUMENT_NODES.clone());
        if !nodes {
            let message = "the document is too large".to_owned();
            let expected = format!("at most {DOCUMENT_NODES} values, nested at most {DEPTH} deep");
            return Err(vec![Fault::new(FaultKind::OutOfRange, "", message).expected(expected)]);
        }
        let mut reader = Reader { grants, ..Reader::default() };
        let root = Node { value: definition, at: String::new() };
        let workflow = read(&mut reader, &root);
        match workflow {
            Some(workflow) if reader.faults.is_empty() => Ok(workflow),
            _ => Err(reader.faults),
        }
    }
}

fn count(value: &Value, left: &mut usize) -> bool {
    let Some(fewer) = left.checked_sub(1) else { return false };
    *left = fewer;
    match value {
        Value::Array(items) => items.iter().all(|item| count(item, left)),
        Value::Object(fields) => fields.values().all(|field| count(field, left)),
        _ => true,
    }
}

fn read(reader: &mut Reader, root: &Node<'_>) -> Option<Workflow> {
    if !reader.object(root, &places::WORKFLOW) {
        return None;
    }
    info::evaluate(reader, root.get("evaluate"));
    let document = root.get("document").and_then(|node| info::document(reader, &node));
    let components = components::read(reader, root.get("use"));
    let input = task::transform(reader, root.get("input"), &places::INPUT, Position::WorkflowInput);
    let tasks = root.get("do").map(|node| list::read(reader, &node, &components, list::Targets::Siblings));
    let output = task::transform(reader, root.get("output"), &places::OUTPUT, Position::WorkflowOutput);
    let timeout = task::timeout(reader, root.get("timeout"), &components, Position::WorkflowOutput);
    let schedule = root.get("schedule").and_then(|node| info::schedule(reader, &node));
    let tasks = tasks?;
    if tasks.tasks.is_empty() && reader.faults.is_empty() {
        reader.fault(Fault::new(FaultKind::BadValue, "/do", "there is no task").expected("at least one task"));
    }
    circles(reader, &components);
    Some(Workflow {
        document: document?,
        input,
        output,
        tasks,
        timeout,
        schedule,
        components,
        definition: Arc::new(root.value.clone()),
    })
}

/// Functions that call each other in a circle.
fn circles(reader: &mut Reader, components: &Components) {
    let calls: BTreeMap<&str, BTreeSet<&str>> = components
        .functions
        .iter()
        .map(|(name, function)| {
            let mut called = BTreeSet::new();
            function.functions(&mut called);
            (name.as_str(), called)
        })
        .collect();
    for name in calls.keys() {
        let (mut seen, mut next) = (BTreeSet::new(), vec![*name]);
        while let Some(function) = next.pop() {
            for called in calls.get(function).into_iter().flatten() {
                if called == name {
                    let pointer = format!("/use/functions/{}", crate::step::escape(name));
                    reader.fault(Fault::new(
                        FaultKind::BadValue,
                        pointer,
                        format!("the function `{name}` calls itself"),
                    ));
                    return;
                }
                if seen.insert(*called) {
                    next.push(called);
                }
            }
        }
    }
}
