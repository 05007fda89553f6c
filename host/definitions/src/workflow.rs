//! Reads the workflow of an operation, and makes operations of its prompts.

mod agents;
mod calls;
mod circles;
mod lookup;
mod prompts;
mod schedule;

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::{
    AgentTask, FileTree, InterruptedPolicy, Operation, OperationName, Optimize, SecretName, WorkflowDefinition,
    canonical_json, sha256_hex,
};
use nexus_workflow::{CallKind, FaultKind, Grants, NexusFunction, Task, TaskKind, TaskList, Template, Workflow};
use serde_json::{Value, json};

use crate::{
    document::{Document, Format},
    explain::type_of,
    fault::{FaultCode, Faults, Finding, quoted},
    limits,
    nearest::{listed, nearest},
    prompt::{self, Against, Answer, Forms, PromptFile},
    referenced::referenced,
    schema_file::{SchemaFiles, usable},
    tree::join,
};

pub use agents::{LimitFault, agent_limits};
pub(crate) use calls::{Around, check};
pub use lookup::{server_of_transport, workflow_operation};
pub(crate) use schedule::triggers;

/// How names of workflows' files end.
pub(crate) const ENDINGS: [&str; 3] = [".yaml", ".yml", ".json"];

/// What workflows are read with.
pub(crate) struct Sources<'a> {
    pub(crate) files: &'a FileTree,
    pub(crate) models: Option<&'a [String]>,
    pub(crate) forms: &'a Forms,
    pub(crate) schemas: &'a mut SchemaFiles,
    /// The prompts of steps that were read, each once. `None`: it has faults.
    pub(crate) prompts: &'a mut BTreeMap<String, Option<PromptFile>>,
}

/// A workflow that was read. What it says of the rest of the application is not looked at yet.
pub(crate) struct Read {
    pub(crate) operation: OperationName,
    pub(crate) document: Document,
    pub(crate) workflow: Workflow,
    pub(crate) definition: Arc<WorkflowDefinition>,
    /// The operations made of its steps.
    pub(crate) steps: Vec<Operation>,
}

/// Reads a file that is there; what is wrong with it goes to `faults`.
pub(crate) fn read(
    sources: &mut Sources<'_>,
    (operation, optimize): (&OperationName, Optimize),
    path: &str,
    faults: &mut Faults,
) -> Option<Read> {
    let format = Format::of(path);
    let document = Document::open(sources.files, path, format, faults)?;
    let workflow = match Workflow::read(&document.value, Grants::default()) {
        Ok(workflow) => workflow,
        Err(found) => {
            for fault in found {
                tell(&document, fault, faults);
            }
            return None;
        }
    };
    let mut reader = Reader { sources, document: &document, faults };
    reader.secrets(&workflow);
    let mut steps = Vec::new();
    let (mut prompts, mut agents, mut interrupted) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let tasks = tasks(&workflow);
    for task in &tasks {
        let pointer = || task.pointer.clone();
        interrupted.extend(reader.interrupted(task).map(|policy| (pointer(), policy)));
        match &task.kind {
            TaskKind::Call(CallKind::Nexus(NexusFunction::Prompt, with)) => {
                if steps.len() == limits::PROMPT_STEPS {
                    let finding = Finding::new(FaultCode::TooLarge, "the workflow has too many steps `call: prompt`");
                    reader.at_key(&task.pointer, finding.expected(format!("at most {}", limits::PROMPT_STEPS)));
                } else if let Some(step) = reader.prompt_step(task, with, operation, optimize) {
                    prompts.insert(pointer(), step.name.clone());
                    steps.push(step);
                }
            }
            TaskKind::Call(CallKind::Nexus(NexusFunction::Agent, with)) => {
                agents.insert(pointer(), reader.agent(task, with));
            }
            _ => {}
        }
    }
    let info = &workflow.document;
    let digest = sha256_hex(canonical_json(&document.value));
    let definition = WorkflowDefinition {
        path: path.to_owned(),
        document: Arc::new(document.value.clone()),
        version: version(&digest, &steps, &agents),
        digest,
        reference: (info.namespace.clone(), info.name.clone(), info.version.clone()),
        prompts,
        agents,
        listens: tasks.iter().any(|task| matches!(task.kind, TaskKind::Listen(..))),
        interrupted,
    };
    let operation = operation.clone();
    Some(Read { operation, document, workflow, definition: Arc::new(definition), steps })
}

/// All tasks of a workflow, those of its functions among them.
fn tasks(workflow: &Workflow) -> Vec<&Task> {
    fn list<'w>(tasks: &'w TaskList, found: &mut Vec<&'w Task>) {
        tasks.tasks.iter().for_each(|one| task(one, found));
    }
    fn task<'w>(one: &'w Task, found: &mut Vec<&'w Task>) {
        found.push(one);
        match &one.kind {
            TaskKind::Do(tasks) | TaskKind::For { tasks, .. } | TaskKind::Fork { branches: tasks, .. } => {
                list(tasks, found);
            }
            TaskKind::Listen(_, Some(each)) => list(&each.tasks, found),
            TaskKind::Try(tasks, catch) => {
                list(tasks, found);
                catch.tasks.iter().for_each(|tasks| list(tasks, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    list(&workflow.tasks, &mut found);
    workflow.components.functions.values().for_each(|function| task(function, &mut found));
    found
}

fn version(digest: &str, steps: &[Operation], agents: &BTreeMap<String, AgentTask>) -> String {
    let steps: BTreeMap<_, _> = steps.iter().map(|step| (step.name.as_str(), step.version("").to_string())).collect();
    let agent = |agent: &AgentTask| {
        let prompt = agent.prompt.as_ref().map(|prompt| prompt.version_parts(&prompt.model));
        json!({ "prompt": prompt, "output": agent.output.as_deref() })
    };
    let agents: BTreeMap<_, _> = agents.iter().map(|(pointer, one)| (pointer.as_str(), agent(one))).collect();
    sha256_hex(canonical_json(&json!({ "document": digest, "steps": steps, "agents": agents })))
}

/// A fault of the document in the words of this crate.
fn tell(document: &Document, fault: nexus_workflow::Fault, faults: &mut Faults) {
    let code = match fault.kind {
        FaultKind::UnknownField => FaultCode::UnknownField,
        FaultKind::MissingField => FaultCode::MissingField,
        FaultKind::WrongType => FaultCode::WrongType,
        FaultKind::BadValue => FaultCode::BadValue,
        FaultKind::OutOfRange => FaultCode::OutOfRange,
        FaultKind::BadExpression => FaultCode::BadExpression,
        FaultKind::BadSchema => FaultCode::BadSchema,
        FaultKind::UnknownName => FaultCode::UnknownName,
        FaultKind::Unsupported => FaultCode::Unsupported,
    };
    let finding =
        Finding { expected: fault.expected.unwrap_or_default(), ..Finding::new(code, one_line(&fault.message)) };
    let finding = finding.nearest(fault.meant);
    let of_key = matches!(fault.kind, FaultKind::UnknownField | FaultKind::MissingField | FaultKind::Unsupported);
    faults.add(if of_key {
        document.fault_at_key(&fault.pointer, finding)
    } else {
        document.fault_at_value(&fault.pointer, finding)
    });
}

fn one_line(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a task says of a field of `with`.
enum Said<'w> {
    Nothing,
    /// This, whatever the data.
    Literal(&'w Value),
    /// What an expression says.
    Computed,
}

fn said<'w>(with: &'w Template, name: &str) -> Said<'w> {
    let literal = |value: Option<&'w Value>| value.map_or(Said::Nothing, Said::Literal);
    match with {
        Template::Plain(fields) => literal(fields.get(name)),
        Template::Fields(fields) => match fields.iter().find(|(field, _)| field == name) {
            Some((_, template)) => template.as_plain().map_or(Said::Computed, Said::Literal),
            None => Said::Nothing,
        },
        _ => Said::Computed,
    }
}

/// Where a field of `with` stands.
fn place(task: &Task, name: &str) -> String {
    join(&format!("{}/with", task.pointer), name)
}

struct Reader<'a, 's> {
    sources: &'a mut Sources<'s>,
    document: &'a Document,
    faults: &'a mut Faults,
}

impl Reader<'_, '_> {
    fn at_value(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.document.fault_at_value(pointer, finding));
    }

    fn at_key(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.document.fault_at_key(pointer, finding));
    }

    fn wrong_type(&mut self, pointer: &str, value: &Value, expected: &str) {
        let name = pointer.rsplit('/').next().unwrap_or_default();
        let finding = Finding::new(FaultCode::WrongType, format!("{} is {}", quoted(name), type_of(value)));
        self.at_value(pointer, finding.expected(expected));
    }

    /// Says so of what must be known before anything runs.
    fn computed(&mut self, pointer: &str, expected: &str) {
        let message = "an expression cannot say this: it must be known before anything runs";
        self.at_value(pointer, Finding::new(FaultCode::BadValue, message).expected(expected));
    }

    fn secrets(&mut self, workflow: &Workflow) {
        for (number, name) in workflow.components.secrets.iter().enumerate() {
            if let Err(error) = name.parse::<SecretName>() {
                let finding = Finding::new(FaultCode::BadName, format!("{} is not a valid name", quoted(&error.name)));
                let expected = "1 to 63 of a-z, 0-9 and `-`, beginning with a letter and not ending with `-`";
                self.at_value(&format!("/use/secrets/{number}"), finding.expected(expected));
            }
        }
    }

    /// What a task says is to become of a call whose end nobody knows.
    fn interrupted(&mut self, task: &Task) -> Option<InterruptedPolicy> {
        const POLICIES: [&str; 3] = ["retry", "retry-anew", "fail"];
        let said = task.metadata.as_ref()?.get("interrupted")?;
        let at = format!("{}/metadata/interrupted", task.pointer);
        let has_effect = match &task.kind {
            TaskKind::Call(call) => !matches!(call, CallKind::Function { .. }),
            TaskKind::Emit(_) | TaskKind::Run(_) => true,
            _ => false,
        };
        if !has_effect {
            let finding = Finding::new(FaultCode::BadValue, "this task calls nothing itself");
            self.at_key(&at, finding.expected("`interrupted` at tasks `call`, `emit` and `run`, or at the function"));
            return None;
        }
        if let Ok(policy) = serde_json::from_value(said.clone()) {
            return Some(policy);
        }
        let shown = said.as_str().map_or_else(|| type_of(said).to_owned(), quoted);
        let finding = Finding::new(FaultCode::BadValue, format!("`interrupted` is {shown}"));
        let near = nearest(said.as_str().unwrap_or_default(), POLICIES);
        self.at_value(&at, finding.expected(listed(POLICIES)).nearest(near));
        None
    }

    /// The prompt that a task names.
    fn prompt(&mut self, task: &Task, with: &Template) -> Option<PromptFile> {
        let at = place(task, "prompt");
        match said(with, "prompt") {
            Said::Nothing => None,
            Said::Computed => {
                self.computed(&at, "the path of a file, as `prompts/classify.prompt.yml`");
                None
            }
            Said::Literal(Value::String(_)) => {
                let path = referenced(self.document, self.sources.files, &at, &prompt::ENDINGS, self.faults)?;
                if let Some(read) = self.sources.prompts.get(&path) {
                    return read.clone();
                }
                let Sources { files, models, forms, .. } = *self.sources;
                let any = json!({});
                let against = Against { forms, models, input: Some(&any), output: Answer::Own };
                let read = prompt::open(files, &path, against, self.faults);
                self.sources.prompts.insert(path, read.clone());
                read
            }
            Said::Literal(other) => {
                self.wrong_type(&at, other, "the path of a file, as `prompts/classify.prompt.yml`");
                None
            }
        }
    }

    /// The schema of an answer that a task says itself: a file's, or one that stands there.
    fn output(&mut self, task: &Task, with: &Template) -> Option<Arc<Value>> {
        let at = place(task, "output");
        match said(with, "output") {
            Said::Nothing => None,
            Said::Literal(Value::String(_)) => {
                let path = referenced(self.document, self.sources.files, &at, &[".json"], self.faults)?;
                self.sources.schemas.read(self.sources.files, &path, self.faults)
            }
            Said::Literal(Value::Object(_)) => usable(self.document.part(&at)?, self.faults),
            Said::Literal(other) => {
                self.wrong_type(&at, other, "the path of a JSON Schema file, or a schema");
                None
            }
            Said::Computed => {
                self.computed(&at, "the path of a JSON Schema file, or a schema");
                None
            }
        }
    }

    /// The model that a task names, if it does without an expression.
    fn model(&mut self, task: &Task, with: &Template) -> Option<String> {
        let at = place(task, "model");
        match said(with, "model") {
            Said::Literal(Value::String(model)) => {
                prompt::check_model(self.document, &at, self.sources.models, self.faults);
                Some(model.clone())
            }
            Said::Literal(other) => {
                self.wrong_type(&at, other, "the alias of a model in the server's settings");
                None
            }
            Said::Nothing | Said::Computed => None,
        }
    }
}
