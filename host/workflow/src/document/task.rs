//! Tasks: what all have in common, and which kinds there are.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::{
    CallKind, Catch, Components, Duration, ErrorTemplate, ForEach, Listening, Running, Schema, TaskList, components,
    kind,
    list::Siblings,
    node::{Node, Position},
    places::{self, Place},
    reader::Reader,
    schema,
};
use crate::{
    expression::{Expression, Template},
    fault::{Fault, FaultKind, listed},
};

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Where it stands, as a JSON Pointer.
    pub pointer: String,
    /// Whether it is run at all.
    pub condition: Option<Arc<Expression>>,
    /// What its input must be, and what becomes of it.
    pub input: Transform,
    /// What becomes of its output, and what that must be.
    pub output: Transform,
    /// What becomes of the context, and what that must be.
    pub export: Transform,
    /// After what time it fails.
    pub timeout: Option<Duration>,
    /// What comes after it.
    pub then: Flow,
    /// Anything else.
    pub metadata: Option<Value>,
    /// What it does.
    pub kind: TaskKind,
}

/// A schema and a mapping of a value.
#[derive(Debug, Clone, Default)]
pub struct Transform {
    /// What the value must be: before the mapping of an input, after that of an output or context.
    pub schema: Option<Schema>,
    /// What becomes of it; the same if nothing is said.
    pub mapping: Option<Template>,
}

/// What comes after a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// The next task of the list.
    #[default]
    Continue,
    /// What comes after the list.
    Exit,
    /// Nothing: the workflow is done.
    End,
    /// The task of the list with this index.
    Task(usize),
}

/// What a task does.
#[derive(Debug, Clone)]
pub enum TaskKind {
    /// Calls something.
    Call(CallKind),
    /// Runs tasks one after the other.
    Do(TaskList),
    /// Runs tasks at the same time.
    Fork {
        /// The tasks.
        branches: TaskList,
        /// Whether only the first to succeed counts.
        compete: bool,
    },
    /// Publishes an event: its attributes.
    Emit(Template),
    /// Runs tasks for each item of a list.
    For {
        /// The variable that has the item.
        each: String,
        /// The variable that has its index.
        at: String,
        /// The list.
        over: Arc<Expression>,
        /// What must hold to go on.
        condition: Option<Arc<Expression>>,
        /// The tasks.
        tasks: TaskList,
    },
    /// Waits for events.
    Listen(Listening, Option<ForEach>),
    /// Fails.
    Raise(Arc<ErrorTemplate>),
    /// Runs a workflow, container, script or shell command.
    Run(Running),
    /// Sets its output.
    Set(Template),
    /// Decides what comes next.
    Switch(Vec<Case>),
    /// Runs tasks and handles their errors.
    Try(TaskList, Catch),
    /// Waits.
    Wait(Duration),
}

/// A case of a `switch`.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What must hold; the default case if nothing is said.
    pub when: Option<Arc<Expression>>,
    /// What comes next.
    pub then: Flow,
}

impl Task {
    /// The functions that it or a task in it calls.
    pub(super) fn functions<'a>(&'a self, found: &mut BTreeSet<&'a str>) {
        let lists: Vec<&TaskList> = match &self.kind {
            TaskKind::Call(CallKind::Function { name, .. }) => {
                found.insert(name);
                Vec::new()
            }
            TaskKind::Do(tasks) | TaskKind::For { tasks, .. } | TaskKind::Fork { branches: tasks, .. } => vec![tasks],
            TaskKind::Listen(_, Some(each)) => vec![&each.tasks],
            TaskKind::Try(tasks, catch) => std::iter::once(tasks).chain(&catch.tasks).collect(),
            _ => Vec::new(),
        };
        for task in lists.into_iter().flat_map(|list| &list.tasks) {
            task.functions(found);
        }
    }
}

const KINDS: [(&str, &Place); 12] = [
    ("call", &places::CALL),
    ("do", &places::DO),
    ("fork", &places::FORK_TASK),
    ("emit", &places::EMIT_TASK),
    ("for", &places::FOR_TASK),
    ("listen", &places::LISTEN_TASK),
    ("raise", &places::RAISE_TASK),
    ("run", &places::RUN_TASK),
    ("set", &places::SET),
    ("switch", &places::SWITCH),
    ("try", &places::TRY),
    ("wait", &places::WAIT),
];

pub(super) fn read(
    reader: &mut Reader,
    name: &str,
    node: &Node<'_>,
    components: &Components,
    siblings: &Siblings,
) -> Option<Task> {
    if !reader.is_object(node) {
        return None;
    }
    // `for` has a `do` too.
    let words = || KINDS.iter().map(|(word, _)| *word);
    let said: Vec<_> = KINDS.iter().filter(|(word, _)| node.get(word).is_some()).collect();
    let (word, place) = match said.as_slice() {
        [only] => **only,
        [("do", _), each @ ("for", _)] => **each,
        [] => {
            let fault = Fault::new(FaultKind::MissingField, &node.at, "nothing says what kind of task this is");
            let meant = node.fields().map(|(name, _)| name).find(|name| !places::TASK.fields.contains(name));
            reader.fault(fault.expected(listed(words())).among(meant.unwrap_or_default(), words()));
            return None;
        }
        several => {
            let message = format!("this is several kinds of task: {}", listed(several.iter().map(|(word, _)| *word)));
            reader.fault(Fault::new(FaultKind::BadValue, &node.at, message).expected("one kind"));
            return None;
        }
    };
    reader.object_of(node, &[place, &places::TASK]);
    let condition = reader.optional_expression(node.get("if"), Position::Before);
    let input = transform(reader, node.get("input"), &places::INPUT, Position::Before);
    let output = transform(reader, node.get("output"), &places::OUTPUT, Position::Within);
    let export = transform(reader, node.get("export"), &places::EXPORT, Position::Export);
    let timeout = timeout(reader, node.get("timeout"), components, Position::Within);
    let then = node.get("then").and_then(|node| flow(reader, &node, siblings)).unwrap_or_default();
    if let Some(metadata) = node.get("metadata") {
        reader.is_object(&metadata);
    }
    let kind = kind::read(reader, word, node, components, siblings);
    Some(Task {
        name: name.to_owned(),
        pointer: node.at.clone(),
        condition,
        input,
        output,
        export,
        timeout,
        then,
        metadata: node.value.get("metadata").cloned(),
        kind: kind?,
    })
}

pub(super) fn flow(reader: &mut Reader, node: &Node<'_>, siblings: &Siblings) -> Option<Flow> {
    match reader.text(node)? {
        "continue" => Some(Flow::Continue),
        "exit" => Some(Flow::Exit),
        "end" => Some(Flow::End),
        name => siblings.find(reader, node, name).map(Flow::Task),
    }
}

/// `input`, `output` or `export`.
pub(super) fn transform(reader: &mut Reader, node: Option<Node<'_>>, place: &Place, position: Position) -> Transform {
    let Some(node) = node else { return Transform::default() };
    if !reader.object(&node, place) {
        return Transform::default();
    }
    let schema = schema::read(reader, node.get("schema"));
    let mapping = node.get("from").or_else(|| node.get("as")).and_then(|node| reader.mapping(&node, position));
    Transform { schema, mapping }
}

/// `timeout`: a duration, or the name of one.
pub(super) fn timeout(
    reader: &mut Reader,
    node: Option<Node<'_>>,
    components: &Components,
    position: Position,
) -> Option<Duration> {
    let node = node?;
    match node.value.as_str() {
        Some(name) => {
            reader.named(&node, "timeouts", name);
            components.timeouts.get(name).cloned()
        }
        None => components::after(reader, &node, position),
    }
}
