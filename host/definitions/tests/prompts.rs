//! Prompts of GitHub's and of Prompty's form, and their tests.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;

use nexus_definitions::{Fault, Verdict, evaluate, load, render};
use nexus_model::{FileTree, Implementation, Prompt, Role};
use serde_json::{Value, json};

const APP: &str = "apiVersion: nexus/v1
kind: Application
metadata: { name: sample }
spec:
  operations:
    sort: { input: in.json, output: out.json, prompt: PROMPT }
";

/// The prompt in a file of this name, of an operation with these schemas.
fn read(name: &str, text: &str, input: &Value, output: &Value) -> Result<Arc<Prompt>, Vec<Fault>> {
    let app = APP.replace("PROMPT", name);
    let (input, output) = (input.to_string(), output.to_string());
    let files = [("app.yaml", app.as_str()), (name, text), ("in.json", &input), ("out.json", &output)];
    let files: FileTree = files.into_iter().map(|(name, text)| (name.to_owned(), Arc::from(text.as_bytes()))).collect();
    let app = load(&files)?;
    match &app.operations[&"sort".parse().unwrap()].implementation {
        Implementation::Prompt(prompt) => Ok(Arc::clone(prompt)),
        other => panic!("{other:?}"),
    }
}

fn label() -> Value {
    json!({ "type": "object", "required": ["label"], "properties": { "label": { "type": "string" } } })
}

const GITHUB: &str = "name: Summarise
model: small
messages:
  - { role: system, content: You summarise. }
  - { role: user, content: \"Summarise:\\n{{input}}\" }
testData:
  - { input: The fox jumped., expected: Summary - A fox. }
  - { input: A dog. }
evaluators:
  - { name: begins well, string: { startsWith: summary - } }
  - { name: as expected, string: { equals: \"{{expected}}\" } }
";

#[test]
fn a_prompt_of_github_is_asked_and_tested_as_it_says() {
    let text = json!({ "type": "string" });
    let prompt = read("a.prompt.yml", GITHUB, &text, &text).unwrap();
    let [fox, dog] = prompt.tests.cases.as_slice() else { panic!("{:?}", prompt.tests) };
    assert_eq!((&fox.input, fox.expected.as_ref()), (&json!("The fox jumped."), Some(&json!("Summary - A fox."))));
    assert_eq!((&dog.input, dog.expected.as_ref()), (&json!("A dog."), None));
    assert_eq!(render(&prompt, &fox.input).unwrap()[1].content, "Summarise:\nThe fox jumped.");
    let passes = |case, answer: &str| {
        let of = |evaluator| evaluate(evaluator, case, &json!(answer)).passes();
        prompt.tests.evaluators.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(passes(fox, "Summary - A fox."), [Some(true), Some(true)]);
    assert_eq!(passes(fox, "SUMMARY - a fox."), [Some(true), Some(false)]);
    let Verdict::Scored(score, why) = evaluate(&prompt.tests.evaluators[1], dog, &json!("A dog.")) else { panic!() };
    assert!(score == 0.0 && why.contains("undefined"), "{why}");
}

const PROMPTY: &str = "---\r
name: Sort\r
model:\r
  id: small\r
  options: { temperature: 0.5, maxOutputTokens: 70, topP: 0.5 }\r
inputs:\r
  text: { type: string, sample: fine }\r
template: { format: { kind: jinja2 }, parser: { kind: prompty } }\r
---\r
You sort.\r
Well.\r
\r
User:\r
fine\r
assistant:\r
good\r
# user:\r
  {{text}}\r
";

#[test]
fn a_prompt_of_prompty_is_the_same_prompt_in_another_form() {
    let input = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
    let prompt = read("sort.prompty", PROMPTY, &input, &label()).unwrap();
    assert_eq!((prompt.name.as_str(), prompt.model.as_str()), ("Sort", "small"));
    let parameters = &prompt.parameters;
    assert_eq!((parameters.temperature, parameters.max_tokens, parameters.top_p), (Some(0.5), Some(70), Some(0.5)));
    let said: Vec<_> = prompt.messages.iter().map(|message| (message.role, message.content.as_str())).collect();
    let wanted =
        [(Role::System, "You sort.\nWell."), (Role::User, "fine"), (Role::Assistant, "good"), (Role::User, "{{text}}")];
    assert_eq!(said, wanted);
    assert_eq!(prompt.tests.cases[0].input, json!({ "text": "fine" }));
    let other = "name: Sort\nmodel: small\nmodelParameters: { temperature: 0.5, maxTokens: 70, topP: 0.5 }\nmessages:\n  \
                 - { role: system, content: \"You sort.\\nWell.\" }\n  - { role: user, content: fine }\n  \
                 - { role: assistant, content: good }\n  - { role: user, content: \"{{text}}\" }\n";
    let other = read("sort.prompt.yml", other, &input, &label()).unwrap();
    assert_eq!(prompt.version_parts("m"), other.version_parts("m"));
}

#[test]
fn what_a_prompt_says_of_its_answer_must_have_room_in_the_operations_schema() {
    let any = json!({});
    let with = |format: &str, output: &Value| {
        let text = format!("model: small\nmessages: [{{ role: user, content: a }}]\nresponseFormat: {format}\n");
        read("a.prompt.yml", &text, &any, output).is_ok()
    };
    let (text, either) = (json!({ "type": "string" }), json!({ "type": ["string", "object"] }));
    for (format, output, fits) in [
        ("text", &text, true),
        ("text", &label(), false),
        ("text", &either, true),
        ("text", &any, true),
        ("json_object", &text, false),
        ("json_object", &label(), true),
        ("json_schema", &label(), true),
        ("json_schema", &text, true),
        ("xml", &text, false),
    ] {
        assert_eq!(with(format, output), fits, "{format} {output}");
    }
}
