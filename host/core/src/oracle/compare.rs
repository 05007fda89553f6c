//! Running a candidate and comparing what it says with what the model said.

use std::time::Duration;

use nexus_model::{Agreement, Component, ComponentAnswer, Trace, canonical_json};
use serde_json::Value;

use super::candidate::{Expectation, OwnTest};

/// An input on which code and model do not agree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counterexample {
    pub(crate) input: Value,
    /// The model's answer.
    pub(crate) expected: Value,
    /// What the code said, for a reader.
    pub(crate) got: String,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) agreement: Agreement,
    /// Wrong and failed answers, not abstentions.
    pub(crate) counterexamples: Vec<Counterexample>,
    /// Inputs on which the code abstained although the model answered, with the code's reasons.
    pub(crate) abstentions: Vec<Counterexample>,
    /// Answers that break the output schema.
    pub(crate) broke_schema: u64,
}

enum Verdict {
    Value(Value),
    Abstained(String),
    BrokeSchema(String),
    Failed(String),
}

/// Runs the code on every trace's input, each in a fresh instance.
pub(crate) async fn compare(
    code: &dyn Component,
    output: &jsonschema::Validator,
    traces: &[Trace],
    deadline: Duration,
) -> Comparison {
    let mut found = Comparison::default();
    for trace in traces {
        let verdict = ask(code, output, &trace.input, deadline).await;
        found.count(trace, verdict);
    }
    found
}

impl Comparison {
    fn count(&mut self, trace: &Trace, verdict: Verdict) {
        self.agreement.n += 1;
        let example = |got: String| Counterexample { input: trace.input.clone(), expected: trace.output.clone(), got };
        match verdict {
            Verdict::Value(value) => {
                self.agreement.handled += 1;
                if canonical_json(&value) == canonical_json(&trace.output) {
                    self.agreement.agreed += 1;
                } else {
                    self.counterexamples.push(example(canonical_json(&value)));
                }
            }
            Verdict::Abstained(reason) => {
                self.agreement.abstained += 1;
                self.abstentions.push(example(format!("abstained ({reason})")));
            }
            Verdict::BrokeSchema(text) => {
                self.agreement.failed += 1;
                self.broke_schema += 1;
                self.counterexamples.push(example(format!("{text} (breaks the output schema)")));
            }
            Verdict::Failed(reason) => {
                self.agreement.failed += 1;
                self.counterexamples.push(example(format!("failed: {reason}")));
            }
        }
    }
}

/// The first of the code's own tests that fails, told for a reader.
pub(crate) async fn failing_test(
    code: &dyn Component,
    output: &jsonschema::Validator,
    tests: &[OwnTest],
    deadline: Duration,
) -> Option<String> {
    for test in tests {
        let got = match (ask(code, output, &test.input, deadline).await, &test.expect) {
            (Verdict::Value(value), Expectation::Ok { ok }) if canonical_json(&value) == canonical_json(ok) => continue,
            (Verdict::Abstained(_), Expectation::Abstain { .. }) => continue,
            (Verdict::Value(value), _) => canonical_json(&value),
            (Verdict::Abstained(reason), _) => format!("abstained ({reason})"),
            (Verdict::BrokeSchema(text), _) => format!("{text}, which breaks the output schema"),
            (Verdict::Failed(reason), _) => format!("a failure: {reason}"),
        };
        let expected = serde_json::to_value(&test.expect).unwrap_or_default();
        return Some(format!("input {}: expected {expected}, got {got}", canonical_json(&test.input)));
    }
    None
}

async fn ask(code: &dyn Component, output: &jsonschema::Validator, input: &Value, deadline: Duration) -> Verdict {
    match code.run(&input.to_string(), deadline).await {
        Ok(ComponentAnswer::Value(text)) => match serde_json::from_str(&text) {
            Ok(value) if output.is_valid(&value) => Verdict::Value(value),
            _ => Verdict::BrokeSchema(text.chars().take(500).collect()),
        },
        Ok(ComponentAnswer::Abstain(reason)) => Verdict::Abstained(reason),
        Ok(ComponentAnswer::Failure(reason)) => Verdict::Failed(reason),
        Err(fault) => Verdict::Failed(fault.to_string()),
    }
}
