//! What the coder answers, and what can be said of it without running it.

use nexus_model::{Refusal, Trace};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Names that generated code may not contain, not even in a comment or a string. The engine has none of them that does
/// harm; code that reaches for one is not the pure function that was asked for.
pub(crate) const FORBIDDEN: &[&str] = &[
    "eval",
    "Function",
    "Date",
    "random",
    "import",
    "require",
    "constructor",
    "__proto__",
    "globalThis",
    "Proxy",
    "Reflect",
    "WebAssembly",
    "async",
    "await",
    "Promise",
    "setTimeout",
    "process",
    "performance",
    "Intl",
];
/// The largest source.
const MAX_SOURCE: usize = 64 << 10;
/// The fewest tests that a candidate brings.
const MIN_TESTS: usize = 3;
/// The most of them that are run.
const MAX_TESTS: usize = 50;
/// A literal of an input shorter than this says nothing.
const TELLING_CHARS: usize = 12;

/// A test that a candidate brings along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnTest {
    /// An input.
    pub(crate) input: Value,
    /// What the code must say to it: `{"ok": value}` or `{"abstain": true}`.
    pub(crate) expect: Expectation,
}

/// What a test expects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Expectation {
    /// This value.
    Ok {
        /// The value.
        ok: Value,
    },
    /// An abstention, for whatever reason.
    Abstain {
        /// Anything.
        abstain: Value,
    },
}

/// Code and the tests that came with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Candidate {
    /// JavaScript that defines `run(input)`.
    pub(crate) source: String,
    /// Its own tests.
    pub(crate) tests: Vec<OwnTest>,
}

#[derive(Deserialize)]
struct CoderAnswer {
    code: Vec<String>,
    tests: Vec<OwnTest>,
}

/// The JSON Schema of a coder's answer. The code is a list of lines: easier to write as JSON, and to read.
pub(crate) fn answer_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["code", "tests"],
        "properties": {
            "code": { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 2000 },
            "tests": {
                "type": "array", "minItems": 1, "maxItems": 200,
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["input", "expect"],
                    "properties": { "input": {}, "expect": { "type": "object", "minProperties": 1, "maxProperties": 1 } }
                }
            }
        }
    })
}

pub(crate) fn refusal(reason: &str, detail: impl Into<String>) -> Refusal {
    Refusal { reason: reason.to_owned(), detail: detail.into() }
}

/// Reads a coder's answer.
pub(crate) fn read(answer: &Value) -> Result<Candidate, Refusal> {
    let answer = CoderAnswer::deserialize(answer)
        .map_err(|error| refusal("parse", format!("the answer is not of the form that was asked for: {error}")))?;
    let mut source = answer.code.join("\n");
    source.push('\n');
    let mut tests = answer.tests;
    tests.truncate(MAX_TESTS);
    Ok(Candidate { source, tests })
}

/// What speaks against a candidate before it runs. `shown` are the traces that the coder has seen.
pub(crate) fn inspect(candidate: &Candidate, shown: &[Trace]) -> Result<(), Refusal> {
    if candidate.source.len() > MAX_SOURCE {
        return Err(refusal("parse", format!("the code has {} bytes, at most {MAX_SOURCE}", candidate.source.len())));
    }
    if candidate.tests.len() < MIN_TESTS {
        return Err(refusal(
            "own_tests",
            format!("{} tests came with the code, at least {MIN_TESTS}", candidate.tests.len()),
        ));
    }
    let found: Vec<_> = forbidden_names(&candidate.source).collect();
    if !found.is_empty() {
        return Err(refusal("forbidden_name", format!("the code contains {}", found.join(", "))));
    }
    let copied = copied_literals(&candidate.source, shown);
    // A stray match may be chance (a phrase that the rule itself names); a table of answers is not.
    let allowed = 2.max(shown.len() / 20);
    if copied > allowed {
        let detail = format!("{copied} of {} examples stand in the code word for word, at most {allowed}", shown.len());
        return Err(refusal("memorised", detail));
    }
    Ok(())
}

fn forbidden_names(source: &str) -> impl Iterator<Item = &'static str> {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let words: std::collections::HashSet<&str> = source.split(|c| !part_of_name(c)).collect();
    // An escape in a name would hide it.
    let escapes = source.contains("\\u{") || source.contains("\\u00");
    FORBIDDEN.iter().copied().filter(move |name| words.contains(name)).chain(escapes.then_some("an escaped character"))
}

/// How many of the traces have a text in their input that stands in the source word for word.
fn copied_literals(source: &str, shown: &[Trace]) -> usize {
    shown
        .iter()
        .filter(|trace| {
            longest_text(&trace.input).is_some_and(|t| t.chars().count() >= TELLING_CHARS && source.contains(t))
        })
        .count()
}

fn longest_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(items) => items.iter().filter_map(longest_text).max_by_key(|text| text.len()),
        Value::Object(fields) => fields.values().filter_map(longest_text).max_by_key(|text| text.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use nexus_model::{Origin, Usage};

    use super::*;

    fn candidate(source: &str) -> Candidate {
        let test = OwnTest { input: json!(1), expect: Expectation::Ok { ok: json!(1) } };
        Candidate { source: source.to_owned(), tests: vec![test; 3] }
    }

    fn reason(source: &str, shown: &[Trace]) -> String {
        inspect(&candidate(source), shown).unwrap_err().reason
    }

    #[test]
    fn an_answer_is_read() {
        let answer = json!({
            "code": ["function run(input) {", "  return {ok: input};", "}"],
            "tests": [{"input": 1, "expect": {"ok": 1}}, {"input": 2, "expect": {"abstain": true}}]
        });
        assert!(jsonschema::is_valid(&answer_schema(), &answer));
        let candidate = read(&answer).unwrap();
        assert_eq!(candidate.source, "function run(input) {\n  return {ok: input};\n}\n");
        assert_eq!(candidate.tests[1].expect, Expectation::Abstain { abstain: json!(true) });
        assert_eq!(read(&json!({"code": "x"})).unwrap_err().reason, "parse");
    }

    #[test]
    fn forbidden_names_are_found_as_names_only() {
        for source in ["eval('1')", "new Date()", "x['constructor']", "Math.random()", "\\u0065val(1)", "/* await */"] {
            assert_eq!(reason(source, &[]), "forbidden_name", "{source}");
        }
        assert!(inspect(&candidate("const evaluate = 1, updateDate_ = 2, dated = /\\d+/;"), &[]).is_ok());
    }

    #[test]
    fn a_table_of_answers_is_found() {
        let shown: Vec<Trace> = (0..10)
            .map(|n| Trace {
                input: json!({"text": format!("the order number {n}, please")}),
                output: json!(n),
                origin: Origin::Call,
                usage: Usage::default(),
                latency_us: 0,
            })
            .collect();
        let line = |n| format!("case 'the order number {n}, please': return {n};");
        let table = |n| (0..n).map(line).collect::<Vec<_>>().concat();
        assert!(inspect(&candidate(&table(2)), &shown).is_ok());
        assert_eq!(reason(&table(3), &shown), "memorised");
    }
}
