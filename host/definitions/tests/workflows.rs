//! What workflows become: operations of their prompts, agents, triggers; and that steps are found where executions have them.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    sync::Mutex,
};

use async_trait::async_trait;
use nexus_definitions::{FaultCode, limits, load, server_of_transport, workflow_operation};
use nexus_model::{
    App, EventFilter, FileTree, Implementation, InterruptedPolicy, MissedRuns, Operation, OperationName, OptimizeMode,
    PluginName, TriggerInput, TriggerOn, WorkflowDefinition,
};
use nexus_workflow::{
    Call, Decision, DirectEvaluator, Effect, Effects, ErrorType, Failure, Grants, McpTransport, Moment, NexusFunction,
    Outcome, Progress, Resource, Start, StepId, Workflow, WorkflowError, run,
};
use serde_json::{Value, json};

fn files() -> FileTree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid/workflow");
    let mut files = FileTree::new();
    for folder in ["", "workflows", "prompts", "schemas"] {
        for entry in fs::read_dir(root.join(folder)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let path = entry.path();
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, Arc::from(fs::read(&path).unwrap()));
            }
        }
    }
    files
}

/// The files with a text in one of them put in the place of another.
fn changed(path: &str, from: &str, to: &str) -> FileTree {
    let mut files = files();
    let text = String::from_utf8(files[path].to_vec()).unwrap();
    assert!(text.contains(from), "{path} has no {from}");
    files.insert(path.to_owned(), Arc::from(text.replace(from, to).as_bytes()));
    files
}

fn operation<'a>(app: &'a App, name: &str) -> &'a Operation {
    &app.operations[&name.parse().unwrap()]
}

fn workflow<'a>(app: &'a App, name: &str) -> &'a WorkflowDefinition {
    match &operation(app, name).implementation {
        Implementation::Workflow(workflow) => workflow,
        other => panic!("{other:?}"),
    }
}

#[test]
fn prompts_of_steps_are_operations() {
    let app = load(&files()).unwrap();
    let names: Vec<&str> = app.operations.keys().map(OperationName::as_str).collect();
    assert_eq!(names, ["classify", "desk", "desk-judge", "desk-sort-mail", "desk-summary", "note"]);
    let written: Vec<&str> = app.written_operations().map(|operation| operation.name.as_str()).collect();
    assert_eq!(written, ["classify", "desk", "note"]);
    let (desk, document) = (workflow(&app, "desk"), &workflow(&app, "desk").document);
    for (pointer, name) in &desk.prompts {
        let step = operation(&app, name.as_str()).step.as_ref().unwrap();
        assert_eq!((step.operation.as_str(), &step.pointer), ("desk", pointer));
        assert_eq!(document.pointer(pointer).unwrap()["call"], "prompt");
        assert_eq!(operation(&app, name.as_str()).optimize.mode, OptimizeMode::Auto);
        assert_eq!(operation(&app, name.as_str()).optimize.min_inputs, 50);
        assert_eq!(*operation(&app, name.as_str()).input, json!({}));
    }
    assert_eq!(operation(&app, "desk").optimize.mode, OptimizeMode::Off, "a workflow is code itself");
    let model = |name: &str| match &operation(&app, name).implementation {
        Implementation::Prompt(prompt) => prompt.model.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(model("desk-sort-mail"), "large", "what the step says");
    assert_eq!(model("desk-judge"), "small", "what the prompt says");
    let output = |name: &str| (*operation(&app, name).output).clone();
    assert_eq!(output("desk-sort-mail"), output("classify"), "a file's schema");
    assert_eq!(output("desk-judge")["required"], json!(["fair"]), "a schema that stands there");
    assert_eq!(output("desk-summary"), json!({}), "anything where nothing is said");
}

#[test]
fn what_a_prompt_says_of_its_answer_is_the_schema_of_a_step_that_does_not() {
    let path = "workflows/desk.yaml";
    let app = load(&changed(path, "        output: schemas/label.json\n  - both", "  - both")).unwrap();
    assert_eq!(*operation(&app, "desk-sort-mail").output, json!({ "type": "object" }), "by its `responseFormat`");
    let from = "prompt: prompts/sort.prompt.yml\n        input";
    let to = "prompt: prompts/classify.prompt.yml\n        input";
    let mut files = changed(path, "        output: schemas/label.json\n  - both", "  - both");
    let text = String::from_utf8(files[path].to_vec()).unwrap();
    files.insert(path.to_owned(), Arc::from(text.replace(from, to).as_bytes()));
    let app = load(&files).unwrap();
    assert_eq!(*operation(&app, "desk-sort-mail").output, *operation(&app, "classify").output, "by its `jsonSchema`");
}

#[test]
fn a_definition_says_what_the_host_needs() {
    let app = load(&files()).unwrap();
    let (desk, note) = (workflow(&app, "desk"), workflow(&app, "note"));
    assert!(desk.listens && !note.listens);
    let agent = &desk.agents["/do/3/answer"];
    assert_eq!(desk.agents.len(), 1);
    assert_eq!(agent.prompt.as_ref().unwrap().path, "prompts/short.prompty");
    assert_eq!(agent.output.as_ref().unwrap()["required"], json!(["label"]));
    let policies: Vec<_> = desk.interrupted.iter().map(|(pointer, policy)| (pointer.as_str(), *policy)).collect();
    assert_eq!(
        policies,
        [
            ("/do/3/answer", InterruptedPolicy::RetryAnew),
            ("/do/7/heard/foreach/do/0/told", InterruptedPolicy::Fail),
            ("/use/functions/lookUp", InterruptedPolicy::Fail),
        ]
    );
    let reference = |namespace: &str, name: &str, version: &str| {
        workflow_operation(&app, namespace, name, version).map(OperationName::as_str)
    };
    assert_eq!(reference("shop", "note", "latest"), Some("note"));
    assert_eq!(reference("shop", "note", "1.2.0"), Some("note"));
    assert_eq!(reference("shop", "note", "1.2.1"), None);
    assert_eq!(reference("else", "note", "latest"), None);
}

#[test]
fn servers_are_found_by_what_calls_say_of_them() {
    let app = load(&files()).unwrap();
    let found = |transport: McpTransport| server_of_transport(&app, &transport).map(PluginName::as_str);
    let http = |url: &str| McpTransport::Http {
        endpoint: Resource { url: url.to_owned(), authentication: None },
        headers: BTreeMap::default(),
        options: Value::Null,
    };
    let stdio = |words: &[&str]| McpTransport::Stdio {
        command: words[0].to_owned(),
        arguments: words[1..].iter().map(|word| (*word).to_owned()).collect(),
        environment: BTreeMap::default(),
        options: Value::Null,
    };
    assert_eq!(found(http("https://mcp.crm.example/mcp")), Some("crm"));
    assert_eq!(found(http("https://mcp.crm.example/mcp/")), None);
    assert_eq!(found(stdio(&["clock", "--utc"])), Some("clock"));
    assert_eq!(found(stdio(&["clock"])), None);
}

#[test]
fn schedules_are_triggers() {
    let app = load(&files()).unwrap();
    let triggers: Vec<_> = app.triggers.iter().map(|trigger| (trigger.name.as_str(), trigger)).collect();
    let [("desk-schedule", desk), ("note-schedule", note)] = triggers[..] else { panic!("{triggers:?}") };
    let exact = |attribute: &str, value: &str| EventFilter::Exact { attribute: attribute.into(), value: value.into() };
    let notes = EventFilter::Prefix { attribute: "type".into(), value: "note.".into() };
    let mails = EventFilter::All(vec![exact("source", "/inbox"), exact("type", "mail.received")]);
    let TriggerOn::Event { app: None, filter: EventFilter::Any(filters) } = &desk.on else { panic!("{desk:?}") };
    assert_eq!(filters.len(), 2);
    assert!(filters.contains(&EventFilter::All(vec![notes])), "{filters:?}");
    assert!(filters.iter().any(|filter| same(filter, &mails)), "{filters:?}");
    assert_eq!(desk.input, TriggerInput::Events);
    let cron = TriggerOn::Cron { cron: "0 8 * * 1-5".into(), time_zone: "UTC".into(), missed: MissedRuns::Skip };
    assert_eq!((&note.on, &note.input), (&cron, &TriggerInput::Data));
}

/// Whether two filters have the same parts, in any order.
fn same(one: &EventFilter, other: &EventFilter) -> bool {
    match (one, other) {
        (EventFilter::All(one), EventFilter::All(other)) => {
            one.len() == other.len() && one.iter().all(|part| other.contains(part))
        }
        _ => one == other,
    }
}

#[test]
fn versions_change_with_what_is_asked_and_with_nothing_else() {
    let versions = |files: &FileTree| {
        let app = load(files).unwrap();
        let of = |name: &str| operation(&app, name).version("").to_string();
        (of("desk"), of("desk-sort-mail"), of("classify"))
    };
    let (desk, sort, classify) = versions(&files());
    let sorted = versions(&changed("prompts/sort.prompt.yml", "Sort by", "Order by"));
    assert!(sorted.0 != desk && sorted.1 != sort && sorted.2 == classify, "a prompt");
    let tested = versions(&changed("prompts/classify.prompt.yml", "excellent", "splendid"));
    assert_eq!(tested, (desk.clone(), sort.clone(), classify.clone()), "a test");
    let shown = versions(&changed("prompts/classify.prompt.yml", "text: fine", "text: finest"));
    assert!(shown.2 != classify && (&shown.0, &shown.1) == (&desk, &sort), "an example");
    let written = versions(&changed("workflows/desk.yaml", "# All", "# What"));
    assert_eq!(written, (desk, sort, classify), "a comment");
}

#[test]
fn prompts_without_examples_keep_the_version_that_they_had_before_there_were_any() {
    let app = load(&files()).unwrap();
    let Implementation::Prompt(prompt) = &operation(&app, "desk-judge").implementation else { panic!("no prompt") };
    let messages =
        json!([{ "role": "system", "content": "Sort by {{ topic }}." }, { "role": "user", "content": "{{input}}" }]);
    assert_eq!(prompt.version_parts("m"), json!({ "model": "m", "parameters": {}, "messages": messages }));
}

#[test]
fn the_steps_of_a_workflow_that_are_operations_are_bounded() {
    let step = |n: usize| format!("  - s{n}: {{ call: prompt, with: {{ prompt: prompts/sort.prompt.yml }} }}\n");
    let document = "document: { dsl: 1.0.3, namespace: shop, name: desk, version: 1.0.0 }\ndo:\n";
    let with = |count: usize| {
        let mut files = changed("workflows/note.json", "keep", "keep");
        let text = document.to_owned() + &(0..count).map(step).collect::<String>();
        files.insert("workflows/desk.yaml".to_owned(), Arc::from(text.as_bytes()));
        load(&files)
    };
    assert_eq!(with(limits::PROMPT_STEPS).unwrap().operations.len(), limits::PROMPT_STEPS + 3);
    let faults = with(limits::PROMPT_STEPS + 1).unwrap_err();
    assert_eq!((faults.len(), faults[0].code, faults[0].line), (1, FaultCode::TooLarge, limits::PROMPT_STEPS + 3));
}

/// Answers every effect, and keeps the pointers of the prompts and agents among them. What is judged fails.
#[derive(Default)]
struct Pointers(Mutex<BTreeSet<String>>);

#[async_trait]
impl Effects for Pointers {
    async fn perform(&self, at: &StepId, effect: Effect, _: Option<Moment>) -> Outcome {
        let result = match effect {
            Effect::Call(Call::Function { function: NexusFunction::Prompt | NexusFunction::Agent, .. }) => {
                self.0.lock().unwrap().insert(at.pointer().to_owned());
                let fails = at.pointer().ends_with("/judge");
                if fails {
                    Err(Failure::Error(WorkflowError::new(ErrorType::Runtime, "no")))
                } else {
                    Ok(json!({ "lines": [1] }))
                }
            }
            Effect::Listen(_) => Ok(json!({ "type": "mail.answered", "source": "/", "id": "1", "specversion": "1.0" })),
            _ => Ok(json!({ "lines": [1] })),
        };
        Outcome { at: Moment::default(), result }
    }

    async fn recall(&self, _: &StepId) -> Option<Decision> {
        None
    }

    async fn decide(&self, _: &StepId, decision: Decision) -> Decision {
        decision
    }

    fn step(&self, _: &StepId, _: Progress) {}
}

#[test]
fn steps_have_the_pointers_that_executions_have() {
    let text = String::from_utf8(files()["workflows/desk.yaml"].to_vec()).unwrap();
    let text = text.replace("for: { in: \"${ .lines }\" }", "for: { in: \"${ [1, 2] }\" }");
    let files = {
        let mut files = files();
        files.insert("workflows/desk.yaml".to_owned(), Arc::from(text.as_bytes()));
        files
    };
    let app = load(&files).unwrap();
    let desk = workflow(&app, "desk");
    let read = Workflow::read(&desk.document, Grants::default()).unwrap();
    let start = Start::new("e", Moment::default(), json!({ "mail": "a", "sender": "b", "name": "c" }));
    let pointers = Pointers::default();
    let finished =
        futures::executor::block_on(run(&read, &start, &pointers, &DirectEvaluator { output_bytes: 1 << 20 }));
    finished.result.unwrap();
    let wanted: BTreeSet<String> = desk.prompts.keys().chain(desk.agents.keys()).cloned().collect();
    assert_eq!(*pointers.0.lock().unwrap(), wanted);
}
