//! Which prompts are meant.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use nexus_definitions::nearest;
use nexus_model::{App, AppName, FileTree, Implementation, Prompt};

use crate::asking::{Task, TaskError, load};

/// Which prompts are meant: all that no field excludes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// Those that this operation asks.
    pub(crate) operation: Option<&'a str>,
    /// The one in this file: its path within the application's folder, or one that ends with the folder and that.
    pub(crate) prompt: Option<&'a str>,
    /// They ask the model of this alias instead of their own.
    pub(crate) model: Option<&'a str>,
}

impl Wanted<'_> {
    fn is_at(&self, app: &AppName, path: &str) -> bool {
        self.prompt.is_none_or(|wanted| {
            let wanted = Path::new(wanted);
            wanted == Path::new(path) || wanted.ends_with(Path::new(app.as_str()).join(path))
        })
    }

    fn is_of(&self, operation: &str) -> bool {
        self.operation.is_none_or(|wanted| wanted == operation)
    }
}

/// What there is of what is wanted.
pub(crate) struct Found {
    /// Operations, steps of workflows included. What two of an application ask alike is there once.
    pub(crate) tasks: Vec<Task>,
    /// Prompts of agents that have test data, as `app/path`: they have no answer without the agent's tools.
    pub(crate) left_out: BTreeSet<String>,
}

/// Finds prompts of applications. That nothing is where something is named is an error, which says what was probably meant.
pub(crate) fn find(apps: &BTreeMap<AppName, FileTree>, wanted: Wanted<'_>) -> Result<Found, TaskError> {
    let mut found = Found { tasks: Vec::new(), left_out: BTreeSet::new() };
    let mut known = Known::default();
    for (name, files) in apps {
        let app = load(name, files)?;
        for operation in app.operations.values() {
            let Implementation::Prompt(prompt) = &operation.implementation else { continue };
            known.add(operation.name.as_str(), prompt);
            if !wanted.is_of(operation.name.as_str()) || !wanted.is_at(name, &prompt.path) {
                continue;
            }
            let is_there = |task: &Task| {
                task.reference.app == *name && task.prompt == *prompt && task.operation.output == operation.output
            };
            if !found.tasks.iter().any(is_there) {
                found.tasks.push(Task::of(name, operation, wanted.model.map(str::to_owned))?);
            }
        }
        let agents = prompts_of_agents(&app).filter(|(operation, prompt)| {
            !prompt.tests.cases.is_empty() && wanted.is_of(operation) && wanted.is_at(name, &prompt.path)
        });
        found.left_out.extend(agents.map(|(_, prompt)| format!("{name}/{}", prompt.path)));
    }
    if found.tasks.is_empty() && found.left_out.is_empty() {
        known.must_have(wanted)?;
    }
    Ok(found)
}

/// The prompts that agents of an application begin with, each with its operation.
fn prompts_of_agents(app: &App) -> impl Iterator<Item = (&str, &Prompt)> {
    app.operations.values().flat_map(|operation| {
        let agents = match &operation.implementation {
            Implementation::Workflow(workflow) => Some(workflow.agents.values()),
            _ => None,
        };
        let prompts = agents.into_iter().flatten().filter_map(|agent| agent.prompt.as_deref());
        prompts.map(move |prompt| (operation.name.as_str(), prompt))
    })
}

/// The names that could have been given.
#[derive(Default)]
struct Known {
    operations: BTreeSet<String>,
    prompts: BTreeSet<String>,
}

impl Known {
    fn add(&mut self, operation: &str, prompt: &Prompt) {
        self.operations.insert(operation.to_owned());
        self.prompts.insert(prompt.path.clone());
    }

    /// What was named is not there.
    fn must_have(&self, wanted: Wanted<'_>) -> Result<(), TaskError> {
        let missing = |what: &str, name: &str, known: &BTreeSet<String>| {
            let meant = nearest(name, known.iter().map(String::as_str));
            let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            Err(TaskError::Operation(format!("{what} `{name}`{meant}")))
        };
        match wanted {
            Wanted { operation: Some(name), .. } if !self.operations.contains(name) => {
                missing("no prompt is asked by an operation", name, &self.operations)
            }
            Wanted { prompt: Some(path), operation: Some(operation), .. } => {
                missing(&format!("the operation `{operation}` does not ask"), path, &self.prompts)
            }
            Wanted { prompt: Some(path), .. } => missing("no operation asks a prompt", path, &self.prompts),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use nexus_model::{AppName, FileTree};

    use super::{Found, Wanted, find};

    const APP: &str = "apiVersion: nexus/v1
kind: Application
metadata: { name: mail }
spec:
  operations:
    sort: { input: any.json, output: any.json, prompt: prompts/sort.prompt.yml }
    again: { input: any.json, output: any.json, prompt: prompts/sort.prompt.yml }
    answer: { input: any.json, output: any.json, prompt: prompts/answer.prompt.yml }
";
    const PROMPT: &str = "name: P\nmodel: small\nmessages: [{ role: user, content: \"{{ input.text }}\" }]\n";

    fn names(wanted: Wanted<'_>) -> Result<Vec<String>, String> {
        let file = |name: &str, text: &str| (name.to_owned(), Arc::from(text.as_bytes()));
        let files: FileTree = [
            file("app.yaml", APP),
            file("any.json", "{}"),
            file("prompts/sort.prompt.yml", PROMPT),
            file("prompts/answer.prompt.yml", PROMPT),
        ]
        .into();
        let apps: BTreeMap<AppName, FileTree> = [("mail".parse().unwrap(), files)].into();
        let Found { tasks, left_out } = find(&apps, wanted).map_err(|error| error.to_string())?;
        assert!(left_out.is_empty());
        Ok(tasks.iter().map(|task| format!("{} {}", task.reference.operation, task.alias())).collect())
    }

    #[test]
    fn prompts_are_found_by_operation_and_by_file_and_each_once() {
        assert_eq!(names(Wanted::default()).unwrap(), ["again small", "answer small"]);
        let of_sort = Wanted { operation: Some("sort"), model: Some("large"), ..Wanted::default() };
        assert_eq!(names(of_sort).unwrap(), ["sort large"]);
        for path in ["prompts/answer.prompt.yml", "/somewhere/mail/prompts/answer.prompt.yml"] {
            let at = Wanted { prompt: Some(path), ..Wanted::default() };
            assert_eq!(names(at).unwrap(), ["answer small"], "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error_that_says_what_was_meant() {
        let operation = |name| names(Wanted { operation: Some(name), ..Wanted::default() }).unwrap_err();
        assert!(operation("anser").contains("did you mean `answer`?"), "{}", operation("anser"));
        let prompt = |path| names(Wanted { prompt: Some(path), ..Wanted::default() }).unwrap_err();
        let said = prompt("prompts/sorts.prompt.yml");
        assert!(said.contains("did you mean `prompts/sort.prompt.yml`?"), "{said}");
        let other = Wanted { operation: Some("sort"), prompt: Some("prompts/answer.prompt.yml"), ..Wanted::default() };
        assert!(names(other).unwrap_err().contains("`sort` does not ask"));
    }
}
