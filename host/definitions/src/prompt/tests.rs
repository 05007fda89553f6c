//! Reads `testData` and `evaluators`.

use std::collections::BTreeSet;

use nexus_model::{AnswerCheck, Evaluator, JsonCheck, JudgeCheck, PromptTests, TestCase, TextCheck};
use serde_json::{Map, Value};

use super::{Against, check_model, check_template, check_value};
use crate::{
    document::Document,
    fault::{FaultCode, Faults, Finding, quoted},
    json_schema::schema_validator,
    nearest::listed,
    template::{self, INPUT},
    template_check::Given,
    tree::join,
};

const EXPECTED: &str = "expected";
const COMPLETION: &str = "completion";

/// The tests, as far as they can be read. Whatever has the wrong shape is a fault already.
pub(super) fn read(document: &Document, against: Against<'_>, faults: &mut Faults) -> PromptTests {
    let list = |name: &str| document.value.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let schema = against.input.and_then(|schema| schema_validator(schema).ok());
    let mut cases = Vec::new();
    for (number, fields) in list("testData").iter().enumerate() {
        let Some(fields) = fields.as_object() else { continue };
        let (at, input) = input(fields);
        let at = format!("/testData/{number}{at}");
        check_value(document, &at, "the test", (&input, schema.as_ref()), faults);
        cases.push(TestCase { input, expected: fields.get(EXPECTED).cloned(), fields: fields.clone() });
    }
    let names = cases.iter().flat_map(|case| case.fields.keys().map(String::as_str)).chain([INPUT, EXPECTED]);
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    let mut reader = Reader { document, against, names, faults };
    let evaluators = (0..list("evaluators").len()).filter_map(|number| reader.evaluator(number)).collect();
    PromptTests { cases, evaluators }
}

/// The input of a test, and where it stands: `input` if there is no other field, otherwise all fields.
fn input(fields: &Map<String, Value>) -> (&'static str, Value) {
    let mut others = fields.clone();
    others.remove(EXPECTED);
    match others.get(INPUT) {
        Some(input) if others.len() == 1 => ("/input", input.clone()),
        _ => ("", Value::Object(others)),
    }
}

struct Reader<'a> {
    document: &'a Document,
    against: Against<'a>,
    /// What templates of evaluators are given.
    names: BTreeSet<String>,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn evaluator(&mut self, number: usize) -> Option<Evaluator> {
        const KINDS: [&str; 3] = ["string", "json", "llm"];
        let at = format!("/evaluators/{number}");
        let fields = self.document.value.pointer(&at)?.as_object()?;
        if let Some(Value::String(uses)) = fields.get("uses") {
            let message = format!("the evaluator {} is not there", quoted(uses));
            let finding = Finding::new(FaultCode::Unsupported, message);
            let finding = finding.expected("`llm` with a `modelId`, a `prompt` and `choices` of its own");
            self.faults.add(self.document.fault_at_value(&join(&at, "uses"), finding));
            return None;
        }
        let given: Vec<&str> = KINDS.into_iter().filter(|kind| fields.contains_key(*kind)).collect();
        let [kind] = given[..] else {
            let (code, message) = if given.is_empty() {
                (FaultCode::MissingField, "nothing is looked at".to_owned())
            } else {
                let names: Vec<String> = given.iter().map(|name| quoted(name)).collect();
                (FaultCode::BadValue, format!("{} exclude each other", names.join(" and ")))
            };
            let finding = Finding::new(code, message).expected(listed(KINDS));
            self.faults.add(self.document.fault_at_value(&at, finding));
            return None;
        };
        let name = fields.get("name")?.as_str()?.to_owned();
        let at = join(&at, kind);
        let check = match kind {
            "string" => AnswerCheck::Text(self.text_check(&at)?),
            "json" => AnswerCheck::Json(self.json_check(&at)?),
            _ => AnswerCheck::Judge(self.judge(&at)?),
        };
        Some(Evaluator { name, check })
    }

    fn value(&self, pointer: &str) -> Option<&Value> {
        self.document.value.pointer(pointer)
    }

    /// The template at `pointer`, checked.
    fn template(&mut self, pointer: &str) -> Option<String> {
        let content = self.value(pointer)?.as_str()?.to_owned();
        let environment = template::environment();
        let given = (&environment, Given::Names(&self.names));
        check_template(self.document, pointer, &content, given, self.faults);
        Some(content)
    }

    fn text_check(&mut self, at: &str) -> Option<TextCheck> {
        let kind = self.value(at)?.as_object()?.keys().next()?.clone();
        let of = match kind.as_str() {
            "equals" => TextCheck::Equals,
            "contains" => TextCheck::Contains,
            "startsWith" => TextCheck::StartsWith,
            "endsWith" => TextCheck::EndsWith,
            _ => return None,
        };
        self.template(&join(at, &kind)).map(of)
    }

    fn json_check(&mut self, at: &str) -> Option<JsonCheck> {
        let fields = self.value(at)?.as_object()?.clone();
        let of = fields.get("at").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, wanted, partly) = match (fields.get("equals"), fields.get("contains")) {
            (Some(wanted), None) => ("equals", wanted, false),
            (None, Some(wanted)) => ("contains", wanted, true),
            _ => {
                let finding = Finding::new(FaultCode::BadValue, "one thing is looked at");
                let finding = finding.expected("`equals` or `contains`");
                self.faults.add(self.document.fault_at_key(at, finding));
                return None;
            }
        };
        self.templates(&join(at, kind), wanted);
        Some(JsonCheck { at: of, wanted: wanted.clone(), partly })
    }

    /// Checks the templates in a value.
    fn templates(&mut self, at: &str, value: &Value) {
        match value {
            Value::String(_) => {
                self.template(at);
            }
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    self.templates(&format!("{at}/{number}"), item);
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.templates(&join(at, name), field);
                }
            }
            _ => {}
        }
    }

    fn judge(&mut self, at: &str) -> Option<JudgeCheck> {
        let text = |reader: &Self, name: &str| Some(reader.value(&join(at, name))?.as_str()?.to_owned());
        check_model(self.document, &join(at, "modelId"), self.against.models, self.faults);
        self.names.insert(COMPLETION.to_owned());
        let prompt = self.template(&join(at, "prompt"));
        self.names.remove(COMPLETION);
        let choices = self.value(&join(at, "choices"))?.as_array()?.iter();
        let choices = choices.map(|one| Some((one.get("choice")?.as_str()?.to_owned(), one.get("score")?.as_f64()?)));
        Some(JudgeCheck {
            model: text(self, "modelId")?,
            instructions: text(self, "systemPrompt"),
            prompt: prompt?,
            choices: choices.collect::<Option<_>>()?,
        })
    }
}
