//! Reads a prompt, of a `.prompt.yml` or a `.prompty` file.

mod prompty;
mod tests;

use std::sync::Arc;

use jsonschema::Validator;
use nexus_model::{FileTree, MessageTemplate, ModelParameters, Prompt, PromptExample, Role, canonical_json};
use serde_json::{Value, json};

use crate::{
    document::{Document, Format},
    explain::Form,
    fault::{FaultCode, Faults, Finding, quoted},
    json_schema::{schema_validator, violations},
    nearest::{listed, nearest},
    scalar_place,
    schema_file::usable,
    template,
    template_check::{self, Given},
};

/// How names of prompts' files end.
pub(crate) const ENDINGS: [&str; 3] = [".prompt.yml", ".prompt.yaml", PROMPTY];
const PROMPTY: &str = ".prompty";

/// The forms of prompts' files.
pub(crate) struct Forms {
    pub(crate) github: Form,
    pub(crate) prompty: Form,
}

/// What a prompt is checked against.
#[derive(Clone, Copy)]
pub(crate) struct Against<'a> {
    pub(crate) forms: &'a Forms,
    pub(crate) models: Option<&'a [String]>,
    /// The schema of its input, where that is without faults.
    pub(crate) input: Option<&'a Value>,
    pub(crate) output: Answer<'a>,
}

/// What a prompt's answer has to be.
#[derive(Clone, Copy)]
pub(crate) enum Answer<'a> {
    /// What the operation's schema says, where that is without faults.
    Of(Option<&'a Value>),
    /// What the prompt itself says.
    Own,
}

/// A prompt as it was read.
#[derive(Clone)]
pub(crate) struct PromptFile {
    pub(crate) prompt: Arc<Prompt>,
    /// The schema of its answer, if it says one.
    pub(crate) answer: Option<Arc<Value>>,
}

/// Reads a file that is there; what is wrong with it goes to `faults`.
pub(crate) fn open(files: &FileTree, path: &str, against: Against<'_>, faults: &mut Faults) -> Option<PromptFile> {
    let document = if path.ends_with(PROMPTY) {
        prompty::open(files, path, against, faults)?
    } else {
        Document::open(files, path, Format::Yaml, faults)?
    };
    read(path, &document, against, faults)
}

fn read(path: &str, document: &Document, against: Against<'_>, faults: &mut Faults) -> Option<PromptFile> {
    against.forms.github.check(document, faults);
    check_model(document, "/model", against.models, faults);
    check_parameters(document, faults);
    check_messages(document, against.input, faults);
    let answer = answer(document, against.output, faults);
    let output = match against.output {
        Answer::Of(output) => output,
        Answer::Own => answer.as_deref(),
    };
    let examples = examples(document, against.input, output, faults);
    let tests = tests::read(document, against, faults);
    let text = |name: &str| document.value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let messages = serde_json::from_value::<Vec<MessageTemplate>>(document.value.get("messages")?.clone()).ok()?;
    let prompt = Prompt {
        path: path.to_owned(),
        name: text("name"),
        description: text("description"),
        model: text("model"),
        parameters: parameters(document.value.get("modelParameters"))?,
        messages,
        examples,
        tests: Arc::new(tests),
    };
    Some(PromptFile { prompt: Arc::new(prompt), answer })
}

fn parameters(given: Option<&Value>) -> Option<ModelParameters> {
    let Some(given) = given else { return Some(ModelParameters::default()) };
    let number = |name: &str| given.get(name).and_then(Value::as_f64);
    let tokens = given.get("maxTokens").or_else(|| given.get("max_tokens"));
    // 200.0 is a whole number to JSON Schema; the range is checked there.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be 1 to 1,000,000")]
    let max_tokens = tokens.and_then(Value::as_f64).map(|tokens| tokens as u32);
    given.is_object().then(|| ModelParameters {
        temperature: number("temperature"),
        max_tokens,
        top_p: number("topP").or_else(|| number("top_p")),
    })
}

/// Checks that the server has the model that is named at `pointer`.
pub(crate) fn check_model(document: &Document, pointer: &str, models: Option<&[String]>, faults: &mut Faults) {
    let (Some(models), Some(model)) = (models, document.value.pointer(pointer).and_then(Value::as_str)) else { return };
    if !model.is_empty() && !models.iter().any(|known| known == model) {
        let known = || models.iter().map(String::as_str);
        let finding = Finding::new(FaultCode::UnknownModel, format!("the server has no model {}", quoted(model)))
            .expected(listed(known()))
            .nearest(nearest(model, known()));
        faults.add(document.fault_at_value(pointer, finding));
    }
}

fn check_parameters(document: &Document, faults: &mut Faults) {
    let Some(Value::Object(parameters)) = document.value.get("modelParameters") else { return };
    for (one, other) in [("maxTokens", "max_tokens"), ("topP", "top_p")] {
        if parameters.contains_key(one) && parameters.contains_key(other) {
            let message = format!("{} is the same as {}", quoted(other), quoted(one));
            let finding = Finding::new(FaultCode::DuplicateKey, message).expected("one of the two");
            faults.add(document.fault_at_key(&format!("/modelParameters/{other}"), finding));
        }
    }
}

fn check_messages(document: &Document, input: Option<&Value>, faults: &mut Faults) {
    let Some(Value::Array(messages)) = document.value.get("messages") else { return };
    let role = |message: &Value| serde_json::from_value::<Role>(message.get("role")?.clone()).ok();
    // A message whose role is misspelt may be the one that is missing.
    if !messages.is_empty() && messages.iter().all(|m| role(m).is_some_and(|role| role != Role::User)) {
        let finding = Finding::new(FaultCode::MissingField, "no message has the role `user`");
        faults.add(document.fault_at_key("/messages", finding.expected("at least one")));
    }
    let environment = template::environment();
    for (number, message) in messages.iter().enumerate() {
        let Some(content) = message.get("content").and_then(Value::as_str) else { continue };
        let pointer = format!("/messages/{number}/content");
        check_template(document, &pointer, content, (&environment, Given::Input(input)), faults);
    }
}

/// Checks the template at `pointer`, whose text is `content`.
fn check_template(
    document: &Document,
    pointer: &str,
    content: &str,
    (environment, given): (&minijinja::Environment<'_>, Given<'_>),
    faults: &mut Faults,
) {
    let scalar = document.root.follow(pointer).node;
    for (range, finding) in template_check::check(content, environment, given) {
        let span = scalar_place::within(document.text(), scalar, content, &range);
        faults.add(document.fault_at(span, pointer, finding));
    }
}

/// The schema of the answer that the prompt itself says. It must be the operation's, or have its place in that one.
fn answer(document: &Document, wanted: Answer<'_>, faults: &mut Faults) -> Option<Arc<Value>> {
    let format = document.value.get("responseFormat").and_then(Value::as_str);
    let own = own_schema(document, wanted, faults);
    if let Answer::Of(output) = wanted {
        check_format(document, format.zip(output), faults);
        return own;
    }
    match format {
        Some("text") if own.is_none() => Some(Arc::new(json!({ "type": "string" }))),
        Some("json_object") if own.is_none() => Some(Arc::new(json!({ "type": "object" }))),
        Some("json_schema") if document.value.get("jsonSchema").is_none() => {
            let finding = Finding::new(FaultCode::MissingField, "`json_schema` says nothing without a `jsonSchema`");
            faults
                .add(document.fault_at_value("/responseFormat", finding.expected("`jsonSchema`: the answer's schema")));
            None
        }
        _ => own,
    }
}

/// What `jsonSchema` says, bare or in the wrapper `{name, strict, schema}`.
fn own_schema(document: &Document, wanted: Answer<'_>, faults: &mut Faults) -> Option<Arc<Value>> {
    const AT: &str = "/jsonSchema";
    let given = document.value.get("jsonSchema")?;
    let own = match given {
        Value::String(text) => serde_json::from_str::<Value>(text).map_err(|error| error.to_string()),
        Value::Object(_) => Ok(given.clone()),
        _ => return None,
    };
    let finding = match (own, wanted) {
        (Err(error), _) => Finding::new(FaultCode::BadSchema, format!("`jsonSchema` is not valid JSON: {error}")),
        (Ok(own), Answer::Of(output)) => {
            let own = unwrapped(&own).1;
            if output.is_none_or(|output| canonical_json(own) == canonical_json(output)) {
                return Some(Arc::new(own.clone()));
            }
            Finding::new(FaultCode::BadValue, "`jsonSchema` is not the operation's output schema")
                .expected("the same schema, or none")
        }
        (Ok(own), Answer::Own) => {
            let (pointer, own) = unwrapped(&own);
            match schema_validator(own) {
                Ok(_) if given.is_object() => return usable(document.part(&format!("{AT}{pointer}"))?, faults),
                Ok(_) => return Some(Arc::new(own.clone())),
                Err(error) => Finding::new(FaultCode::BadSchema, error.message),
            }
        }
    };
    faults.add(document.fault_at_key(AT, finding));
    None
}

/// The schema itself, and where in `own` it is.
fn unwrapped(own: &Value) -> (&'static str, &Value) {
    match own.get("schema") {
        Some(schema) if own.get("name").is_some_and(Value::is_string) => ("/schema", schema),
        _ => ("", own),
    }
}

/// What the operation's schema has no room for cannot be asked of the model.
fn check_format(document: &Document, said: Option<(&str, &Value)>, faults: &mut Faults) {
    let Some((format, output)) = said else { return };
    let kind = if format == "text" { "string" } else { "object" };
    let has_room = match output.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
        Some(one) => one == kind,
        None => *output != Value::Bool(false),
    };
    if !has_room && format != "json_schema" {
        let message = format!("the operation's output schema has no room for {}", quoted(format));
        let finding = Finding::new(FaultCode::BadValue, message).expected("`json_schema`, or nothing");
        faults.add(document.fault_at_value("/responseFormat", finding));
    }
}

fn examples(
    document: &Document,
    input: Option<&Value>,
    output: Option<&Value>,
    faults: &mut Faults,
) -> Vec<PromptExample> {
    let given = document.value.get("examples").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (input, output) = (input.and_then(|s| schema_validator(s).ok()), output.and_then(|s| schema_validator(s).ok()));
    let mut examples = Vec::new();
    for (number, example) in given.iter().enumerate() {
        let Ok(example) = serde_json::from_value::<PromptExample>(example.clone()) else { continue };
        let at = format!("/examples/{number}");
        check_value(document, &format!("{at}/input"), "the example", (&example.input, input.as_ref()), faults);
        check_value(document, &format!("{at}/output"), "the example", (&example.output, output.as_ref()), faults);
        examples.push(example);
    }
    examples
}

/// Checks a value that stands at `pointer` against a schema, if there is one.
fn check_value(
    document: &Document,
    pointer: &str,
    what: &str,
    (value, schema): (&Value, Option<&Validator>),
    faults: &mut Faults,
) {
    for violation in schema.map_or_else(Vec::new, |schema| violations(schema, value)) {
        let message = format!("{what} breaks the operation's schema: {}", violation.message);
        let finding = Finding::new(FaultCode::BadValue, message);
        faults.add(document.fault_at_value(&format!("{pointer}{}", violation.path), finding));
    }
}
