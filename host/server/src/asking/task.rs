//! An operation that a model answers.

use std::{path::Path, sync::Arc};

use nexus_definitions::{Fault, PromptTemplate, load_named, schema_validator, violations};
use nexus_model::{App, AppName, FileTree, GenerateRequest, Implementation, Message, Operation, OperationRef, Prompt};
use nexus_state::folder::{FolderError, read_apps};
use serde_json::Value;

use super::TIMEOUT;

/// Why there is nothing to ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the application `{app}` has faults, the first: {first}; `nexus check` shows all")]
    Faults { app: String, first: Box<Fault> },
    #[error("{0}")]
    Operation(String),
}

/// Reads an application of a folder.
pub(crate) fn load(name: &AppName, files: &FileTree) -> Result<App, TaskError> {
    load_named(name, files).map_err(|faults| match faults.into_iter().next() {
        None => TaskError::Operation(format!("the application `{name}` cannot be read")),
        Some(first) => TaskError::Faults { app: name.to_string(), first: Box::new(first) },
    })
}

/// An operation that a model answers, ready to be asked.
pub(crate) struct Task {
    pub(crate) reference: OperationRef,
    pub(crate) operation: Operation,
    pub(crate) prompt: Arc<Prompt>,
    template: PromptTemplate,
    input: jsonschema::Validator,
    alias: String,
}

impl Task {
    /// Finds an operation in a folder of applications; `alias` names another model than its prompt does.
    pub(crate) fn find(apps: &Path, reference: &OperationRef, alias: Option<String>) -> Result<Self, TaskError> {
        let wrong = |message: String| TaskError::Operation(message);
        let all = read_apps(apps)?;
        let files = all.get(&reference.app);
        let files = files.ok_or_else(|| wrong(format!("there is no application `{}`", reference.app)))?;
        let app = load(&reference.app, files)?;
        let operation = app.operations.get(&reference.operation);
        let operation = operation.ok_or_else(|| wrong(format!("there is no operation `{reference}`")))?;
        Self::of(&reference.app, operation, alias)
    }

    /// An operation of an application; `alias` names another model than its prompt does.
    pub(crate) fn of(app: &AppName, operation: &Operation, alias: Option<String>) -> Result<Self, TaskError> {
        let wrong = |message: String| TaskError::Operation(message);
        let reference = OperationRef { app: app.clone(), operation: operation.name.clone() };
        let prompt = match &operation.implementation {
            Implementation::Prompt(prompt) => Arc::clone(prompt),
            Implementation::Component { .. } => {
                return Err(wrong(format!("`{reference}` asks no model: it is a component")));
            }
            Implementation::Worker(_) | Implementation::Workflow(_) => {
                return Err(wrong(format!("`{reference}` has no prompt of its own")));
            }
        };
        let template = PromptTemplate::compile(&prompt).map_err(|error| wrong(error.to_string()))?;
        let input = schema_validator(&operation.input).map_err(|error| wrong(error.to_string()))?;
        let alias = alias.unwrap_or_else(|| prompt.model.clone());
        Ok(Self { reference, operation: operation.clone(), prompt, template, input, alias })
    }

    /// The alias of the model that is asked.
    pub(crate) fn alias(&self) -> &str {
        &self.alias
    }

    /// What is wrong with an input.
    pub(crate) fn fault(&self, input: &Value) -> Option<String> {
        let found = violations(&self.input, input);
        found.first().map(|violation| format!("at `{}`: {}", violation.path, violation.message))
    }

    /// What is said to the model.
    pub(crate) fn messages(&self, input: &Value) -> Result<Vec<Message>, String> {
        self.template.render(input).map_err(|error| error.to_string())
    }

    /// What is asked of the model itself: no fall-back answers in its place.
    pub(crate) fn request(&self, input: &Value) -> Result<GenerateRequest, String> {
        Ok(GenerateRequest {
            model: self.alias.clone(),
            messages: self.messages(input)?,
            parameters: self.prompt.parameters,
            schema: Arc::clone(&self.operation.output),
            timeout: TIMEOUT,
            fallback: false,
        })
    }
}
