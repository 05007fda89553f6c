//! What each kind of task says.

use std::sync::Arc;

use super::{
    Case, Components, ErrorTemplate, TaskKind, call, catch, components, duration, event,
    list::{self, Siblings, Targets},
    node::{Node, Position},
    places,
    reader::Reader,
    run_task,
    task::flow,
};
use crate::{fault::FaultKind, limits::BRANCHES};

pub(super) fn read(
    reader: &mut Reader,
    word: &str,
    task: &Node<'_>,
    components: &Components,
    siblings: &Siblings,
) -> Option<TaskKind> {
    let node = task.get(word)?;
    Some(match word {
        "call" => TaskKind::Call(call::read(reader, task, components)?),
        "do" => TaskKind::Do(list::read(reader, &node, components, Targets::Siblings)),
        "fork" => fork(reader, &node, components)?,
        "emit" => TaskKind::Emit(event::emitted(reader, &node)?),
        "for" => each(reader, task, &node, components)?,
        "listen" => event::listen(reader, task, &node, components)?,
        "raise" => TaskKind::Raise(raise(reader, &node, components)?),
        "run" => TaskKind::Run(run_task::read(reader, &node)?),
        "set" => {
            if !(node.value.is_object() || node.value.is_string()) {
                reader.wrong(&node, FaultKind::WrongType, "nothing can be set to this", "an object or an expression");
            }
            TaskKind::Set(reader.template(&node, Position::Within))
        }
        "switch" => TaskKind::Switch(cases(reader, &node, siblings)?),
        "try" => {
            let tasks = list::read(reader, &node, components, Targets::Siblings);
            TaskKind::Try(tasks, catch::read(reader, &task.get("catch")?, components)?)
        }
        _ => TaskKind::Wait(duration::read(reader, &node, Position::Within)?),
    })
}

fn fork(reader: &mut Reader, node: &Node<'_>, components: &Components) -> Option<TaskKind> {
    reader.object(node, &places::FORK);
    let compete = reader.boolean(node.get("compete"));
    let branches = node.get("branches")?;
    let tasks = list::read(reader, &branches, components, Targets::None);
    if branches.value.as_array().is_some_and(|all| !(1..=BRANCHES).contains(&all.len())) {
        reader.wrong(
            &branches,
            FaultKind::OutOfRange,
            "this is not a number of branches",
            format!("1 to {BRANCHES} branches"),
        );
    }
    Some(TaskKind::Fork { branches: tasks, compete })
}

fn each(reader: &mut Reader, task: &Node<'_>, node: &Node<'_>, components: &Components) -> Option<TaskKind> {
    reader.object(node, &places::FOR);
    let (each, at) = (reader.variable(node.get("each"), "item"), reader.variable(node.get("at"), "index"));
    let over = reader.optional_expression(node.get("in"), Position::Within);
    let (condition, tasks) = reader.with_variables(&[&each, &at], |reader| {
        let condition = reader.optional_expression(task.get("while"), Position::Within);
        (condition, task.get("do").map(|tasks| list::read(reader, &tasks, components, Targets::Siblings)))
    });
    Some(TaskKind::For { each, at, over: over?, condition, tasks: tasks? })
}

fn raise(reader: &mut Reader, node: &Node<'_>, components: &Components) -> Option<Arc<ErrorTemplate>> {
    reader.object(node, &places::RAISE);
    let error = node.get("error")?;
    match error.value.as_str() {
        Some(name) => {
            reader.named(&error, "errors", name);
            components.errors.get(name).cloned()
        }
        None => components::error(reader, &error).map(Arc::new),
    }
}

fn cases(reader: &mut Reader, node: &Node<'_>, siblings: &Siblings) -> Option<Vec<Case>> {
    if !reader.is_list(node) {
        return None;
    }
    let mut cases: Vec<Case> = Vec::new();
    for item in node.items() {
        let Some((name, case)) = list::named(reader, &item) else { continue };
        reader.object(&case, &places::CASE);
        if case.get("when").is_none() && cases.iter().any(|case| case.when.is_none()) {
            reader.wrong(&case, FaultKind::MissingField, "there is a default case already", "`when`");
        }
        let said = case.get("when").is_some();
        let when = reader.optional_expression(case.get("when"), Position::Within);
        let then = case.get("then").and_then(|node| flow(reader, &node, siblings));
        if said == when.is_some()
            && let Some(then) = then
        {
            cases.push(Case { name: name.to_owned(), when, then });
        }
    }
    if node.value.as_array().is_some_and(Vec::is_empty) {
        reader.wrong(node, FaultKind::BadValue, "there is no case", "at least one case");
    }
    Some(cases)
}
