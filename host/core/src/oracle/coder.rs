//! What the coder model is told.

use std::fmt::Write as _;

use super::{
    candidate::{Candidate, FORBIDDEN, answer_schema},
    compare::Counterexample,
};
use nexus_model::{
    GenerateRequest, Implementation, Message, ModelParameters, Operation, OperationRef, Role, Trace, canonical_json,
    sha256_hex,
};

/// The longest that the coder may take.
const TIMEOUT: std::time::Duration = std::time::Duration::from_mins(10);

/// What the judge will ask of the code, each a share between 0 and 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bar {
    /// Of the inputs that the code handles, how many it must answer as the model does.
    pub(crate) agreement: f64,
    /// Of all inputs, how many it must handle.
    pub(crate) coverage: f64,
}

/// What code is written for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) reference: &'a OperationRef,
    pub(crate) operation: &'a Operation,
    pub(crate) bar: Bar,
}

/// What came of the attempt before.
pub(crate) struct Previous<'a> {
    pub(crate) candidate: Option<&'a Candidate>,
    pub(crate) complaint: String,
    /// Some of the inputs that it did not answer as the model does.
    pub(crate) counterexamples: &'a [Counterexample],
    /// How many there were.
    pub(crate) found: usize,
}

/// The request for one attempt. The same operation, examples and history give the same request, to the letter.
pub(crate) fn request(
    model: &str,
    task: Task<'_>,
    examples: &[Trace],
    attempt: u32,
    previous: Option<&Previous<'_>>,
) -> GenerateRequest {
    let mut user = format!("Operation: {} · Attempt: {attempt}\n\n", task.reference);
    describe(&mut user, task.operation);
    shown(&mut user, examples);
    if let Some(previous) = previous {
        history(&mut user, previous);
    }
    user.push_str("Answer now with the JSON object alone.\n");
    GenerateRequest {
        model: model.to_owned(),
        messages: vec![
            Message { role: Role::System, content: contract(task.bar) },
            Message { role: Role::User, content: user },
        ],
        parameters: ModelParameters::default(),
        schema: std::sync::Arc::new(answer_schema()),
        timeout: TIMEOUT,
        fallback: true,
    }
}

/// SHA-256 of a request's messages in canonical form.
pub(crate) fn fingerprint(request: &GenerateRequest) -> String {
    let messages = serde_json::to_value(&request.messages).unwrap_or_default();
    sha256_hex(canonical_json(&messages))
}

fn contract(bar: Bar) -> String {
    format!(
        "\
You write the code that takes over an operation from a language model. You are given the model's instructions, the JSON \
Schemas of input and output, and examples of inputs with the model's answers. Write one JavaScript function that gives \
the same answers.

The contract:
- Plain JavaScript (ES2023), no modules, no libraries. Define `function run(input)` at the top level; helper functions \
and constant tables beside it are welcome. `input` is the parsed input.
- `run` returns `{{ok: value}}`, where `value` satisfies the output schema, or `{{abstain: \"reason\"}}`.
- To abstain is a right answer: the language model is then asked. A wrong answer is served to a customer. Where you \
cannot know what the model would say, abstain; where the input is regular, answer.
- The judge runs your code on inputs that you have not seen, from the same traffic, and compares field by field, exactly. \
It asks for both: at least {coverage} % of all inputs handled, and of those at least {agreement} % answered as the model \
does. Aim well above both. Inputs that you have not seen have words, spellings and layouts that no example has, so \
write rules for the whole kind (every number word, every unit, every way to begin and to close, whatever stands around the \
matter without changing it) and let only what may change the answer make you abstain. Code that fits the examples \
alone loses much of its coverage on new inputs.
- Write rules, not a table of the examples; code that contains the examples' texts is refused.
- A pure function: no clock, no randomness, no input or output, no state kept between calls. The calendar, if you need \
one, you compute with integers. At most a few milliseconds a call; no recursion without a bound; patterns that cannot \
backtrack without end.
- These names must not occur anywhere, not even in comments or strings: {}. No `\\u` escapes; write characters as they \
are.
- Bring at least three tests of your own, some of which abstain.

The answer is one JSON object: {{\"code\": [\"line 1\", \"line 2\", …], \"tests\": [{{\"input\": …, \"expect\": {{\"ok\": …}}}}, \
{{\"input\": …, \"expect\": {{\"abstain\": true}}}}]}}. The code is a list of its lines, each a JSON string (a backslash in \
the code is written twice). No text before or after the object, no code fence, no tools.",
        FORBIDDEN.join(", "),
        agreement = percent(bar.agreement),
        coverage = percent(bar.coverage),
    )
}

/// A share in percent, with at most one decimal.
fn percent(share: f64) -> f64 {
    (share * 1_000.0).round() / 10.0
}

fn describe(text: &mut String, operation: &Operation) {
    // Writing to a String does not fail; the results are dropped on purpose, here and below.
    let _ = writeln!(text, "# The operation\n\n{}\n", operation.description);
    if let Implementation::Prompt(prompt) = &operation.implementation {
        text.push_str("# The model's instructions\n\n");
        for message in &prompt.messages {
            let _ = writeln!(text, "[{}]\n{}\n", role(message.role), message.content.trim_end());
        }
    }
    let _ = writeln!(text, "# Input schema\n\n{}\n", canonical_json(&operation.input));
    let _ = writeln!(text, "# Output schema\n\n{}\n", canonical_json(&operation.output));
}

fn shown(text: &mut String, examples: &[Trace]) {
    let _ = writeln!(text, "# {} inputs and the model's answers\n", examples.len());
    for trace in examples {
        let _ = writeln!(text, "{} → {}", canonical_json(&trace.input), canonical_json(&trace.output));
    }
    text.push('\n');
}

fn history(text: &mut String, previous: &Previous<'_>) {
    if let Some(candidate) = previous.candidate {
        let _ = writeln!(text, "# The code of the attempt before\n\n{}", candidate.source);
        let tests = serde_json::to_value(&candidate.tests).unwrap_or_default();
        let _ = writeln!(text, "Its tests: {}\n", canonical_json(&tests));
    }
    let _ = writeln!(text, "# Why it was not good enough\n\n{}\n", previous.complaint);
    if previous.counterexamples.is_empty() {
        return;
    }
    let _ = writeln!(text, "Counterexamples ({} of {}):\n", previous.counterexamples.len(), previous.found);
    for example in previous.counterexamples {
        let _ = writeln!(
            text,
            "{} → the model: {}, your code: {}",
            canonical_json(&example.input),
            canonical_json(&example.expected),
            example.got
        );
    }
    let _ = writeln!(
        text,
        "\nMend the rule behind each of them, or abstain where no rule can be known, and answer with the whole code again.\n"
    );
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}
