//! Reads a `.prompt.yml` file for one operation.

use std::sync::Arc;

use nexus_model::{MessageTemplate, ModelParameters, Prompt, Role, canonical_json};
use serde_json::Value;

use crate::{
    document::Document,
    explain::Form,
    fault::{FaultCode, Faults, Finding, quoted},
    nearest::{listed, nearest},
    scalar_place, template, template_check,
};

/// What a prompt is checked against.
pub(crate) struct Against<'a> {
    pub(crate) form: &'a Form,
    pub(crate) models: Option<&'a [String]>,
    /// The operation's schemas, where they are without faults.
    pub(crate) input: Option<&'a Value>,
    pub(crate) output: Option<&'a Value>,
}

/// Checks and reads a prompt; what is wrong with it goes to `faults`.
pub(crate) fn read(path: &str, document: &Document, against: &Against<'_>, faults: &mut Faults) -> Option<Arc<Prompt>> {
    against.form.check(document, faults);
    check_model(document, against.models, faults);
    check_parameters(document, faults);
    check_messages(document, against.input, faults);
    check_output(document, against.output, faults);
    let text = |name: &str| document.value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let messages = serde_json::from_value::<Vec<MessageTemplate>>(document.value.get("messages")?.clone()).ok()?;
    Some(Arc::new(Prompt {
        path: path.to_owned(),
        name: text("name"),
        description: text("description"),
        model: text("model"),
        parameters: parameters(document.value.get("modelParameters"))?,
        messages,
    }))
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

fn check_model(document: &Document, models: Option<&[String]>, faults: &mut Faults) {
    let (Some(models), Some(model)) = (models, document.value.get("model").and_then(Value::as_str)) else { return };
    if !model.is_empty() && !models.iter().any(|known| known == model) {
        let known = || models.iter().map(String::as_str);
        let finding = Finding::new(FaultCode::UnknownModel, format!("the server has no model {}", quoted(model)))
            .expected(listed(known()))
            .nearest(nearest(model, known()));
        faults.add(document.fault_at_value("/model", finding));
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
        let scalar = document.root.follow(&pointer).node;
        for (range, finding) in template_check::check(content, &environment, input) {
            let span = scalar_place::within(document.text(), scalar, content, &range);
            faults.add(document.fault_at(span, &pointer, finding));
        }
    }
}

/// A prompt's own `jsonSchema` must be the operation's output schema, bare or in the wrapper `{name, strict, schema}`.
fn check_output(document: &Document, output: Option<&Value>, faults: &mut Faults) {
    let own = match document.value.get("jsonSchema") {
        Some(Value::String(text)) => serde_json::from_str::<Value>(text).map_err(|error| error.to_string()),
        Some(own @ Value::Object(_)) => Ok(own.clone()),
        _ => return,
    };
    let finding = match (own, output) {
        (Err(error), _) => Finding::new(FaultCode::BadSchema, format!("`jsonSchema` is not valid JSON: {error}")),
        (Ok(own), Some(output)) if canonical_json(unwrapped(&own)) != canonical_json(output) => {
            Finding::new(FaultCode::BadValue, "`jsonSchema` is not the operation's output schema")
                .expected("the same schema, or none")
        }
        _ => return,
    };
    faults.add(document.fault_at_key("/jsonSchema", finding));
}

fn unwrapped(own: &Value) -> &Value {
    match own.get("schema") {
        Some(schema) if own.get("name").is_some_and(Value::is_string) => schema,
        _ => own,
    }
}
