//! The operations made of tasks `call: prompt`.

use std::sync::Arc;

use nexus_model::{Implementation, Operation, OperationName, Optimize, Prompt, StepOf};
use nexus_workflow::{Task, Template};
use serde_json::{Value, json};

use super::{Reader, Said, place, said};
use crate::fault::{FaultCode, Finding, quoted};

/// The longest name of an operation.
const NAME_BYTES: usize = 63;

impl Reader<'_, '_> {
    /// The operation that a task `call: prompt` is: any input, answered by the prompt, with the schema of its answer.
    pub(super) fn prompt_step(
        &mut self,
        task: &Task,
        with: &Template,
        operation: &OperationName,
        optimize: Optimize,
    ) -> Option<Operation> {
        let name = step_name(operation, &task.name);
        if name.is_none() {
            let message = format!("no name of an operation can be made of {}", quoted(&task.name));
            let finding = Finding::new(FaultCode::BadName, message);
            let expected = format!("a task's name with letters or digits, and room for them after `{operation}-`");
            self.at_key(&task.pointer, finding.expected(expected));
        }
        let model = self.model(task, with);
        if let Said::Computed = said(with, "model") {
            self.computed(&place(task, "model"), "the alias of a model");
        }
        let own = self.output(task, with);
        let file = self.prompt(task, with)?;
        let prompt = match model {
            Some(model) => Arc::new(Prompt { model, ..(*file.prompt).clone() }),
            None => file.prompt,
        };
        Some(Operation {
            name: name?,
            description: prompt.description.clone(),
            input: Arc::new(json!({})),
            output: own.or(file.answer).unwrap_or_else(|| Arc::new(Value::Object(serde_json::Map::new()))),
            implementation: Implementation::Prompt(prompt),
            optimize,
            step: Some(StepOf { operation: operation.clone(), pointer: task.pointer.clone() }),
        })
    }
}

/// The operation's name and the task's, as one name: `sortMail` of `desk` is `desk-sort-mail`.
fn step_name(operation: &OperationName, task: &str) -> Option<OperationName> {
    let mut name = format!("{operation}-");
    let begin = name.len();
    let mut before = '-';
    for c in task.chars() {
        let begins_word = c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit());
        if (begins_word || !c.is_ascii_alphanumeric()) && !name.ends_with('-') {
            name.push('-');
        }
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    name.truncate(NAME_BYTES);
    let name = name.trim_end_matches('-');
    if name.len() <= begin { None } else { name.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::{OperationName, step_name};

    #[test]
    fn names_of_steps_are_names_of_operations() {
        let desk = "desk".parse().unwrap();
        for (task, name) in [
            ("sortMail", Some("desk-sort-mail")),
            ("sort_mail 2", Some("desk-sort-mail-2")),
            ("HTTPStatus", Some("desk-httpstatus")),
            ("--a--", Some("desk-a")),
            ("größe", Some("desk-gr-e")),
            ("…", None),
            ("", None),
        ] {
            assert_eq!(step_name(&desk, task).as_ref().map(OperationName::as_str), name, "{task}");
        }
        let long = "a".repeat(63).parse().unwrap();
        assert_eq!(step_name(&long, "b"), None);
        assert_eq!(step_name(&desk, &"b".repeat(100)).map(|name| name.as_str().len()), Some(63));
    }
}
