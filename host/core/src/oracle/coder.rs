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

/// Counterexamples that a repair is shown.
const MAX_COUNTEREXAMPLES: usize = 12;
/// The longest that the coder may take.
const TIMEOUT: std::time::Duration = std::time::Duration::from_mins(10);

/// What came of the attempt before.
pub(crate) struct Previous<'a> {
    pub(crate) candidate: Option<&'a Candidate>,
    pub(crate) complaint: String,
    pub(crate) counterexamples: &'a [Counterexample],
}

/// The request for one attempt. The same operation, examples and history give the same request, to the letter.
pub(crate) fn request(
    model: &str,
    reference: &OperationRef,
    operation: &Operation,
    examples: &[Trace],
    attempt: u32,
    previous: Option<&Previous<'_>>,
) -> GenerateRequest {
    let mut user = format!("Operation: {reference} · Attempt: {attempt}\n\n");
    task(&mut user, operation);
    shown(&mut user, examples);
    if let Some(previous) = previous {
        history(&mut user, previous);
    }
    user.push_str("Answer now with the JSON object alone.\n");
    GenerateRequest {
        model: model.to_owned(),
        messages: vec![
            Message { role: Role::System, content: contract() },
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

fn contract() -> String {
    format!(
        "\
You write the code that takes over an operation from a language model. You are given the model's instructions, the JSON \
Schemas of input and output, and examples of inputs with the model's answers. Write one JavaScript function that gives \
the same answers.

The contract:
- Plain JavaScript (ES2023), no modules, no libraries. Define `function run(input)` at the top level; helper functions \
and constant tables beside it are welcome. `input` is the parsed input.
- `run` returns `{{ok: value}}`, where `value` satisfies the output schema, or `{{abstain: \"reason\"}}`.
- To abstain is a right answer: the language model is then asked. A wrong answer is served to a customer. Answer only \
what your code has fully understood: if any part of the input is left that your code cannot account for, abstain. But \
handle what is regular: code that answers fewer than half of all inputs is of no use.
- The judge compares your answers with the model's on inputs that you have not seen, field by field, exactly. Write the \
rules, not a table of the examples; code that contains the examples' texts is refused.
- A pure function: no clock, no randomness, no input or output, no state kept between calls. The calendar, if you need \
one, you compute with integers. At most a few milliseconds a call; no recursion without a bound; patterns that cannot \
backtrack without end.
- These names must not occur anywhere, not even in comments or strings: {}. No `\\u` escapes; write characters as they \
are.
- Bring at least three tests of your own, some of which abstain.

The answer is one JSON object: {{\"code\": [\"line 1\", \"line 2\", …], \"tests\": [{{\"input\": …, \"expect\": {{\"ok\": …}}}}, \
{{\"input\": …, \"expect\": {{\"abstain\": true}}}}]}}. The code is a list of its lines, each a JSON string (a backslash in \
the code is written twice). No text before or after the object, no code fence, no tools.",
        FORBIDDEN.join(", ")
    )
}

fn task(text: &mut String, operation: &Operation) {
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
    let count = previous.counterexamples.len();
    let _ = writeln!(text, "Counterexamples ({} of {count}):\n", count.min(MAX_COUNTEREXAMPLES));
    for example in previous.counterexamples.iter().take(MAX_COUNTEREXAMPLES) {
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
