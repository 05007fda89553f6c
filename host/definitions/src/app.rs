//! Reads `app.yaml` and everything that it refers to.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
};

use nexus_model::{
    App, AppName, Budget, FileTree, Implementation, Limits, NanoUsd, Operation, OperationName, Optimize, OptimizeMode,
    Security, sha256_hex,
};
use serde_json::Value;

use crate::{
    APP_SCHEMA, PROMPT_SCHEMA, PROMPTY_SCHEMA, RESERVED_APP_NAMES, Surroundings,
    document::{self, Document, Format},
    duration,
    explain::Form,
    expose,
    fault::{Fault, FaultCode, Faults, Finding, quoted},
    image,
    json_schema::SchemaError,
    nearest::nearest,
    plugins,
    prompt::{self, Against, Answer, Forms, PromptFile},
    referenced,
    schema_file::SchemaFiles,
    servers, tool_use,
    tree::join,
    triggers,
    workflow::{self, Around, Sources},
};

const FILE: &str = "app.yaml";

/// See [`crate::load_with`].
pub(crate) fn read(files: &FileTree, surroundings: Surroundings<'_>) -> Result<App, Vec<Fault>> {
    let mut faults = Faults::default();
    let app = open(files, &mut faults).and_then(|document| {
        let (app_form, forms) = forms(&mut faults)?;
        app_form.check(&document, &mut faults);
        let reader = Reader {
            files,
            surroundings,
            document,
            forms,
            schemas: SchemaFiles::default(),
            prompts: BTreeMap::new(),
            prompts_of_steps: BTreeMap::new(),
            workflows: Vec::new(),
            workflow_files: BTreeMap::new(),
            faults: &mut faults,
        };
        reader.app()
    });
    match app {
        Some(app) if faults.is_empty() => Ok(app),
        _ if faults.is_empty() => Err(vec![document::missing(FILE, Finding::new(FaultCode::BadValue, "not readable"))]),
        _ => Err(faults.into_sorted()),
    }
}

fn open(files: &FileTree, faults: &mut Faults) -> Option<Document> {
    if !files.contains_key(FILE) {
        let finding = Finding::new(FaultCode::MissingFile, "the application has no `app.yaml`")
            .nearest(nearest(FILE, files.keys().map(String::as_str)));
        faults.add(document::missing(FILE, finding));
    }
    Document::open(files, FILE, Format::Yaml, faults)
}

/// The forms are part of the program, so that a test, not a user, sees a broken one.
fn forms(faults: &mut Faults) -> Option<(Form, Forms)> {
    let prompts = || Ok(Forms { github: Form::read(PROMPT_SCHEMA)?, prompty: Form::read(PROMPTY_SCHEMA)? });
    let read = || Ok::<_, SchemaError>((Form::read(APP_SCHEMA)?, prompts()?));
    read()
        .map_err(|error| faults.add(document::missing(FILE, Finding::new(FaultCode::BadSchema, error.to_string()))))
        .ok()
}

impl Surroundings<'_> {
    /// What is wrong with naming this application: nothing where it is known, or nobody says which there are.
    pub(crate) fn unknown_app(&self, name: &AppName) -> Option<Finding> {
        let known = self.apps.filter(|known| !known.contains(name))?;
        let message = format!("there is no application {}", quoted(name.as_str()));
        let finding = Finding::new(FaultCode::UnknownApp, message);
        Some(finding.nearest(nearest(name.as_str(), known.iter().map(AppName::as_str))))
    }
}

struct Reader<'a> {
    files: &'a FileTree,
    surroundings: Surroundings<'a>,
    document: Document,
    forms: Forms,
    schemas: SchemaFiles,
    prompts: BTreeMap<PromptKey, Option<PromptFile>>,
    prompts_of_steps: BTreeMap<String, Option<PromptFile>>,
    workflows: Vec<workflow::Read>,
    /// The files of workflows, and the operation of each.
    workflow_files: BTreeMap<String, String>,
    faults: &'a mut Faults,
}

/// A prompt's path and the paths of the input and output schemas that it is checked against.
type PromptKey = (String, Option<String>, Option<String>);

impl Reader<'_> {
    /// The application, as far as it can be read. Whatever has the wrong shape is a fault already.
    fn app(mut self) -> Option<App> {
        let limits = self.limits();
        let mut operations = self.operations();
        let plugins = plugins::read(&self.document, self.files, self.surroundings.models, self.faults);
        let servers = servers::read(&self.document, self.files, self.faults);
        let sandbox = image::pool(&self.document, self.faults);
        let tools = tool_use::read(&self.document, self.faults);
        let config = self.document.value.pointer("/spec/config").and_then(Value::as_object).cloned();
        let expose = expose::read(&self.document, self.faults);
        let mut triggers = triggers::read(&self.document, self.surroundings, operations.as_ref(), self.faults);
        let name = self.name();
        if let Some(operations) = &mut operations {
            let (document, name) = (&self.document, name.as_ref());
            let around = Around { document, name, operations, tools: &tools, servers: &servers };
            workflow::check(&around, &self.workflows, self.faults);
            triggers.extend(workflow::triggers(&self.workflows, &triggers, self.faults));
            let steps = self.workflows.iter().flat_map(|read| &read.steps);
            operations.extend(steps.map(|step| (step.name.clone(), step.clone())));
        }
        let security = self.security();
        let description = self.text("/metadata/description").unwrap_or_default();
        Some(App {
            name: name?,
            description,
            operations: operations?,
            plugins,
            expose,
            servers,
            tools,
            sandbox,
            config: config.unwrap_or_default(),
            limits,
            triggers,
            security,
        })
    }

    fn text(&self, pointer: &str) -> Option<String> {
        self.document.value.pointer(pointer)?.as_str().map(str::to_owned)
    }

    fn fault_at_value(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.document.fault_at_value(pointer, finding));
    }

    fn name(&mut self) -> Option<AppName> {
        let name: AppName = self.text("/metadata/name")?.parse().ok()?;
        if RESERVED_APP_NAMES.contains(&name.as_str()) {
            let message = format!("the name {} is reserved: the API has a path of this name", quoted(name.as_str()));
            self.fault_at_value("/metadata/name", Finding::new(FaultCode::BadName, message).expected("another name"));
        }
        if let Some(folder) = self.surroundings.folder
            && *folder != name
        {
            let message = format!("the name is {}, the folder's is {}", quoted(name.as_str()), quoted(folder.as_str()));
            self.fault_at_value(
                "/metadata/name",
                Finding::new(FaultCode::BadName, message).expected(quoted(folder.as_str())),
            );
        }
        Some(name)
    }

    fn limits(&mut self) -> Limits {
        let mut limits = Limits::default();
        match self.text("/spec/limits/timeout").and_then(|text| duration::parse(&text)) {
            Some(Ok(timeout)) => limits.timeout = timeout,
            Some(Err(finding)) => self.fault_at_value("/spec/limits/timeout", finding),
            None => {}
        }
        if let Some(concurrency) = self.document.value.pointer("/spec/limits/concurrency").and_then(whole) {
            limits.concurrency = concurrency;
        }
        let rate = self.document.value.pointer("/spec/limits/requests_per_minute").and_then(whole);
        limits.budget = budget(self.document.value.pointer("/spec/limits"));
        limits.requests_per_minute = rate.and_then(|rate| u32::try_from(rate).ok()).and_then(NonZeroU32::new);
        limits
    }

    fn security(&mut self) -> Security {
        let (may_call, callable_by) = (self.apps("may_call"), self.apps("callable_by"));
        Security { may_call, callable_by }
    }

    /// The applications that are named in a list of `security`; those that nobody knows are faults.
    fn apps(&mut self, list: &str) -> BTreeSet<AppName> {
        let at = format!("/spec/security/{list}");
        let given = self.document.value.pointer(&at).and_then(Value::as_array);
        let names: Vec<Option<AppName>> = given.into_iter().flatten().map(|name| name.as_str()?.parse().ok()).collect();
        for (index, name) in names.iter().enumerate() {
            if let Some(finding) = name.as_ref().and_then(|name| self.surroundings.unknown_app(name)) {
                self.fault_at_value(&format!("{at}/{index}"), finding);
            }
        }
        names.into_iter().flatten().collect()
    }

    fn operations(&mut self) -> Option<BTreeMap<OperationName, Operation>> {
        let Some(given) = self.document.value.pointer("/spec/operations") else { return Some(BTreeMap::new()) };
        let names: Vec<String> = given.as_object()?.keys().cloned().collect();
        let mut operations = BTreeMap::new();
        for name in names {
            if self.faults.is_full() {
                break;
            }
            let pointer = join("/spec/operations", &name);
            let operation = self.operation(&name, &pointer);
            if let (Ok(name), Some(operation)) = (name.parse(), operation) {
                operations.insert(name, operation);
            }
        }
        Some(operations)
    }

    fn operation(&mut self, name: &str, pointer: &str) -> Option<Operation> {
        let input = self.schema(&format!("{pointer}/input"));
        let output = self.schema(&format!("{pointer}/output"));
        let optimize = self.optimize(pointer);
        let workflow = self.workflow(name, pointer, optimize);
        let answered = self.implementation(pointer, input.as_deref(), output.as_deref());
        let implementation = workflow.or(answered);
        // The steps of a workflow have what it says; it is code itself.
        let mode = match &implementation {
            Some(Implementation::Workflow(_)) => OptimizeMode::Off,
            _ => optimize.mode,
        };
        Some(Operation {
            name: name.parse().ok()?,
            description: self.text(&format!("{pointer}/description")).unwrap_or_default(),
            input: input?,
            output: output?,
            implementation: implementation?,
            optimize: Optimize { mode, ..optimize },
            step: None,
        })
    }

    fn schema(&mut self, pointer: &str) -> Option<Arc<Value>> {
        let path = referenced::referenced(&self.document, self.files, pointer, &[".json"], self.faults)?;
        self.schemas.read(self.files, &path, self.faults)
    }

    fn implementation(
        &mut self,
        pointer: &str,
        input: Option<&Value>,
        output: Option<&Value>,
    ) -> Option<Implementation> {
        let fields = self.document.value.pointer(pointer)?.as_object()?;
        let has = |name: &str| fields.contains_key(name);
        let answers = ["prompt", "component", "worker", "workflow"];
        // A misspelt field has its own fault.
        let meant = fields.keys().any(|field| nearest(field, answers).is_some());
        let given: Vec<_> = answers.into_iter().filter(|name| has(name)).map(quoted).collect();
        let conflict = match given.len() {
            0 if !meant => Some((FaultCode::MissingField, "nothing answers this operation".to_owned())),
            0 | 1 => None,
            _ => Some((FaultCode::BadValue, format!("{} exclude each other", given.join(" and ")))),
        };
        if let Some((code, message)) = conflict {
            let finding = Finding::new(code, message).expected("one of `prompt`, `component`, `worker` and `workflow`");
            self.faults.add(self.document.fault_at_key(pointer, finding));
        }
        let by_component = has("component");
        let worker = self.worker(pointer);
        let component = by_component.then(|| self.component(&format!("{pointer}/component")));
        let prompt = self.prompt(pointer, input, output);
        worker.or_else(|| component.unwrap_or(prompt))
    }

    /// The workflow, whose steps are kept for when the whole application is known.
    fn workflow(&mut self, name: &str, pointer: &str, optimize: Optimize) -> Option<Implementation> {
        let at = format!("{pointer}/workflow");
        let path = referenced::referenced(&self.document, self.files, &at, &workflow::ENDINGS, self.faults)?;
        if let Some(other) = self.workflow_files.get(&path) {
            let message = format!("{} is the workflow of {} already", quoted(&path), quoted(other));
            let finding = Finding::new(FaultCode::DuplicateKey, message).expected("a file of its own");
            self.fault_at_value(&at, finding);
            return None;
        }
        self.workflow_files.insert(path.clone(), name.to_owned());
        let mut sources = Sources {
            files: self.files,
            models: self.surroundings.models,
            forms: &self.forms,
            schemas: &mut self.schemas,
            prompts: &mut self.prompts_of_steps,
        };
        let read = workflow::read(&mut sources, (&name.parse().ok()?, optimize), &path, self.faults)?;
        let definition = Arc::clone(&read.definition);
        self.workflows.push(read);
        Some(Implementation::Workflow(definition))
    }

    /// What a program in a sandbox is told; a fault where there is no sandbox.
    fn worker(&mut self, pointer: &str) -> Option<Implementation> {
        let at = format!("{pointer}/worker");
        let told = self.document.value.pointer(&at)?.clone();
        if self.document.value.pointer("/spec/sandbox").is_none() {
            let finding = Finding::new(FaultCode::MissingField, "the application has no sandbox to work in");
            self.faults.add(self.document.fault_at_key(&at, finding.expected("`spec.sandbox` with an `image`")));
        }
        Some(Implementation::Worker(Arc::new(told)))
    }

    fn prompt(&mut self, pointer: &str, input: Option<&Value>, output: Option<&Value>) -> Option<Implementation> {
        let at = format!("{pointer}/prompt");
        let path = referenced::referenced(&self.document, self.files, &at, &prompt::ENDINGS, self.faults)?;
        let schema = |field: &str| self.text(&format!("{pointer}/{field}"));
        let key = (path.clone(), schema("input"), schema("output"));
        let answered = |file: PromptFile| Implementation::Prompt(file.prompt);
        if let Some(read) = self.prompts.get(&key) {
            return read.clone().map(answered);
        }
        let (forms, models) = (&self.forms, self.surroundings.models);
        let against = Against { forms, models, input, output: Answer::Of(output) };
        let read = prompt::open(self.files, &path, against, self.faults);
        self.prompts.insert(key, read.clone());
        read.map(answered)
    }

    fn component(&mut self, pointer: &str) -> Option<Implementation> {
        let (path, bytes) = referenced::component(&self.document, self.files, pointer, self.faults)?;
        Some(Implementation::Component { path, digest: sha256_hex(bytes) })
    }

    fn optimize(&mut self, pointer: &str) -> Optimize {
        let at = format!("{pointer}/optimize");
        let given = self.document.value.pointer(&at);
        let field = |name: &str| given.and_then(|given| given.get(name));
        let mut optimize = Optimize::default();
        if let Some(mode) = field("mode").and_then(|mode| serde_json::from_value(mode.clone()).ok()) {
            optimize.mode = mode;
        }
        if let Some(agreement) = field("agreement").and_then(Value::as_f64) {
            optimize.agreement = agreement;
        }
        if let Some(min_inputs) = field("min_inputs").and_then(whole) {
            optimize.min_inputs = min_inputs;
        }
        let by_model = |field: &str| self.document.value.pointer(&format!("{pointer}/{field}")).is_none();
        if !by_model("component") || !by_model("worker") {
            if given.is_some() && field("mode").is_none_or(|mode| mode != "off") {
                let message = "`optimize` is for operations that a prompt answers; others are code already";
                self.faults.add(self.document.fault_at_key(&at, Finding::new(FaultCode::Unsupported, message)));
            }
            optimize.mode = OptimizeMode::Off;
        }
        optimize
    }
}

/// What an application may spend; what is out of range is a fault of the form already.
fn budget(limits: Option<&Value>) -> Budget {
    let field = |name: &str| limits.and_then(|limits| limits.get(name));
    let tokens = |name: &str| field(name).and_then(whole).map(|tokens| tokens as u64);
    let money = |name: &str| field(name).and_then(Value::as_f64).map(nano_usd);
    Budget {
        cost_per_day: money("cost_per_day_usd"),
        tokens_per_day: tokens("tokens_per_day"),
        cost_per_execution: money("cost_per_execution_usd"),
        tokens_per_execution: tokens("tokens_per_execution"),
    }
}

/// Dollars to the micro-dollar, exactly.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10¹² and rounded")]
pub(crate) fn nano_usd(usd: f64) -> NanoUsd {
    NanoUsd((usd.clamp(0.0, 1e6) * 1e6).round() as u64 * 1_000)
}

/// A whole number, also when it is written `30.0`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked by the form to be small and positive"
)]
fn whole(number: &Value) -> Option<usize> {
    number.as_f64().map(|number| number as usize)
}
