//! What an evaluator says of an answer.

use std::collections::BTreeMap;

use minijinja::{Environment, value::Serde};
use nexus_model::{AnswerCheck, Evaluator, JsonCheck, JudgeCheck, Message, Role, TestCase, TextCheck, canonical_json};
use serde_json::Value;

use crate::{
    fault::quoted,
    template::{self, INPUT},
    template_tags::tags,
};

/// What is said of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// What it is worth, from 0 to 1, and why. It passes above 0.
    Scored(f64, String),
    /// A model has to be asked.
    Ask(Judgement),
}

/// What a model is asked about an answer, and what its reply is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The alias of the model.
    pub model: String,
    /// What it is asked.
    pub messages: Vec<Message>,
    /// What it may say, and what that is worth.
    pub choices: Vec<(String, f64)>,
}

impl Verdict {
    /// Whether the answer passes, if that is known.
    pub fn passes(&self) -> Option<bool> {
        match self {
            Self::Scored(score, _) => Some(*score > 0.0),
            Self::Ask(_) => None,
        }
    }

    fn failed(why: impl Into<String>) -> Self {
        Self::Scored(0.0, why.into())
    }

    fn of(holds: bool, what: String) -> Self {
        if holds { Self::Scored(1.0, what) } else { Self::failed(format!("not so: {what}")) }
    }
}

impl Judgement {
    /// What the model's reply says of the answer: the first choice that is in it, in small letters or capitals.
    pub fn verdict(&self, reply: &str) -> Verdict {
        let reply = reply.to_lowercase();
        match self.choices.iter().find(|(choice, _)| reply.contains(&choice.to_lowercase())) {
            Some((choice, score)) => Verdict::Scored(*score, format!("the model says {}", quoted(choice))),
            None => Verdict::failed(format!("the model says none of its choices: {}", quoted(&reply))),
        }
    }
}

/// What an evaluator says of an answer to a test. A pure function: where a model has to be asked, it says what.
///
/// A template that cannot be rendered for this test fails it.
pub fn evaluate(evaluator: &Evaluator, test: &TestCase, output: &Value) -> Verdict {
    let said = output.as_str().map_or_else(|| output.to_string(), str::to_owned);
    let filler = Filler::new(test, &said);
    let verdict = match &evaluator.check {
        AnswerCheck::Text(check) => filler.text(check, &said),
        AnswerCheck::Json(check) => filler.json(check, output),
        AnswerCheck::Judge(judge) => filler.judge(judge),
    };
    verdict.unwrap_or_else(Verdict::failed)
}

/// Fills templates in with what is known of a test and its answer.
struct Filler {
    environment: Environment<'static>,
    context: minijinja::Value,
}

impl Filler {
    fn new(test: &TestCase, completion: &str) -> Self {
        let value = |value: &Value| minijinja::Value::from(Serde(value.clone()));
        let mut context: BTreeMap<String, minijinja::Value> =
            test.fields.iter().map(|(name, field)| (name.clone(), value(field))).collect();
        context.insert(INPUT.to_owned(), value(&test.input));
        context.insert("completion".to_owned(), minijinja::Value::from(completion));
        Self { environment: template::environment(), context: minijinja::Value::from(context) }
    }

    fn text(&self, check: &TextCheck, answer: &str) -> Result<Verdict, String> {
        let small = |text: &str| text.to_lowercase();
        Ok(match check {
            TextCheck::Equals(wanted) => {
                let wanted = self.filled(wanted)?;
                Verdict::of(answer == wanted, format!("it is {}", quoted(&wanted)))
            }
            TextCheck::Contains(wanted) => {
                let wanted = self.filled(wanted)?;
                Verdict::of(small(answer).contains(&small(&wanted)), format!("it contains {}", quoted(&wanted)))
            }
            TextCheck::StartsWith(wanted) => {
                let wanted = self.filled(wanted)?;
                Verdict::of(small(answer).starts_with(&small(&wanted)), format!("it begins with {}", quoted(&wanted)))
            }
            TextCheck::EndsWith(wanted) => {
                let wanted = self.filled(wanted)?;
                Verdict::of(small(answer).ends_with(&small(&wanted)), format!("it ends with {}", quoted(&wanted)))
            }
        })
    }

    fn json(&self, check: &JsonCheck, answer: &Value) -> Result<Verdict, String> {
        let Some(answer) = answer.pointer(&check.at) else {
            return Err(format!("the answer has nothing at {}", quoted(&check.at)));
        };
        let wanted = self.resolved(&check.wanted)?;
        let shown = quoted(&wanted.to_string());
        Ok(if check.partly {
            Verdict::of(contains(answer, &wanted), format!("it contains {shown}"))
        } else {
            Verdict::of(canonical_json(answer) == canonical_json(&wanted), format!("it is {shown}"))
        })
    }

    fn judge(&self, judge: &JudgeCheck) -> Result<Verdict, String> {
        let message = |role, content| Message { role, content };
        let instructions = judge.instructions.clone().map(|text| message(Role::System, text));
        let question = message(Role::User, self.filled(&judge.prompt)?);
        let messages = instructions.into_iter().chain([question]).collect();
        Ok(Verdict::Ask(Judgement { model: judge.model.clone(), messages, choices: judge.choices.clone() }))
    }

    fn filled(&self, content: &str) -> Result<String, String> {
        template::filled(&self.environment, content, &self.context)
    }

    /// A value with its templates filled in.
    fn resolved(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => match alone(text) {
                Some(expression) => self.value(text, expression)?,
                None => Value::String(self.filled(text)?),
            },
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.resolved(item)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, field)| Ok((name.clone(), self.resolved(field)?)));
                Value::Object(fields.collect::<Result<_, String>>()?)
            }
            plain => plain.clone(),
        })
    }

    /// What an expression is. What is too much as a template is as an expression.
    fn value(&self, template: &str, expression: &str) -> Result<Value, String> {
        self.filled(template)?;
        let read = self.environment.compile_expression(expression).and_then(|read| read.eval(self.context.clone()));
        let value = read.map_err(|error| template::reason(&error))?;
        serde_json::to_value(&value).map_err(|error| error.to_string())
    }
}

/// The expression of a text that is one `{{ … }}` and nothing else.
fn alone(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let one = tags(text).len() == 1 && !inside.starts_with(['-', '+', '%', '#']);
    one.then(|| inside.trim_end_matches('-'))
}

/// Whether a value has all that another has, and perhaps more fields and items.
fn contains(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(fields), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| fields.get(name).is_some_and(|field| contains(field, wanted)))
        }
        (Value::Array(items), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| items.iter().any(|item| contains(item, wanted)))
        }
        _ => canonical_json(value) == canonical_json(wanted),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case(expected: Value) -> TestCase {
        let fields = json!({ "input": { "text": "fine" }, "expected": expected });
        let input = fields["input"].clone();
        TestCase { input, expected: Some(expected), fields: fields.as_object().cloned().unwrap_or_default() }
    }

    fn passes(check: AnswerCheck, expected: Value, output: &Value) -> Option<bool> {
        evaluate(&Evaluator { name: "e".to_owned(), check }, &case(expected), output).passes()
    }

    #[test]
    fn texts_are_compared_as_they_say() {
        type Of = fn(String) -> TextCheck;
        let all: [(Of, &str, bool); 8] = [
            (TextCheck::Equals, "Good {{ input.text }}", true),
            (TextCheck::Equals, "good {{ input.text }}", false),
            (TextCheck::Contains, "OOD {{ expected }}", true),
            (TextCheck::Contains, "bad", false),
            (TextCheck::StartsWith, "good", true),
            (TextCheck::StartsWith, "fine", false),
            (TextCheck::EndsWith, "FINE", true),
            (TextCheck::EndsWith, "{{ nothing }}", false),
        ];
        for (of, template, holds) in all {
            let check = AnswerCheck::Text(of(template.to_owned()));
            assert_eq!(passes(check, json!("fine"), &json!("Good fine")), Some(holds), "{template}");
        }
        let check = AnswerCheck::Text(TextCheck::Contains("\"a\":1".to_owned()));
        assert_eq!(passes(check, json!(null), &json!({ "a": 1 })), Some(true), "of other answers, their JSON");
    }

    #[test]
    fn values_are_compared_whole_or_in_part() {
        let answer = json!({ "label": "good", "why": ["a", "b"], "n": 1 });
        for (at, wanted, partly, holds) in [
            ("", json!({ "label": "good", "why": ["a", "b"], "n": 1.0 }), false, true),
            ("", json!({ "label": "good" }), false, false),
            ("", json!({ "label": "{{ expected.label }}", "why": ["b"] }), true, true),
            ("", json!({ "why": ["c"] }), true, false),
            ("/why", json!("{{ expected.why }}"), false, true),
            ("/n", json!("{{ expected.why|length - 1 }}"), false, true),
            ("/n", json!("1"), false, false),
            ("/none", json!(1), false, false),
        ] {
            let check = AnswerCheck::Json(JsonCheck { at: at.to_owned(), wanted: wanted.clone(), partly });
            let expected = json!({ "label": "good", "why": ["a", "b"] });
            assert_eq!(passes(check, expected, &answer), Some(holds), "{at} {wanted}");
        }
    }

    #[test]
    fn a_judge_is_asked_and_the_first_choice_in_its_reply_counts() {
        let judge = JudgeCheck {
            model: "large".to_owned(),
            instructions: Some("Be {{ fair }}.".to_owned()),
            prompt: "Is {{ completion }} like {{ expected }}?".to_owned(),
            choices: vec![("Yes".to_owned(), 0.5), ("no".to_owned(), 0.0)],
        };
        let evaluator = Evaluator { name: "e".to_owned(), check: AnswerCheck::Judge(judge) };
        let Verdict::Ask(judgement) = evaluate(&evaluator, &case(json!("a")), &json!("b")) else { panic!("a score") };
        let told: Vec<&str> = judgement.messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(told, ["Be {{ fair }}.", "Is b like a?"]);
        assert_eq!(judgement.verdict("YES, no doubt").passes(), Some(true));
        assert_eq!(judgement.verdict("No.").passes(), Some(false));
        assert!(matches!(judgement.verdict("perhaps"), Verdict::Scored(score, _) if score == 0.0));
    }

    #[test]
    fn work_is_bounded() {
        let many = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let long = format!("{{{{ input{} }}}}", ".a".repeat(100_000));
        for template in [many.to_owned(), long] {
            let check = AnswerCheck::Json(JsonCheck { at: String::new(), wanted: json!(template), partly: false });
            assert_eq!(passes(check, json!(1), &json!(1)), Some(false));
        }
    }
}
