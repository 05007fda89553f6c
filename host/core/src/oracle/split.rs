//! Which traces the coder may see.

use nexus_model::Trace;
use serde_json::Value;

/// The traces of one version, split by the hash of their inputs: who falls where does not depend on when it came.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// Shown to the coder: 60 %.
    pub(crate) examples: Vec<Trace>,
    /// Candidates are scored on these: 20 %. A counterexample that is shown becomes an example.
    pub(crate) repair: Vec<Trace>,
    /// Sealed: no coder ever sees one of these: 20 %.
    pub(crate) gate: Vec<Trace>,
}

impl Split {
    /// Makes examples of the inputs of the repair set that the coder is shown.
    pub(crate) fn reveal<'a>(&mut self, inputs: impl Iterator<Item = &'a Value>) {
        for input in inputs {
            if let Some(at) = self.repair.iter().position(|trace| &trace.input == input) {
                self.examples.push(self.repair.remove(at));
            }
        }
    }
}

/// Splits traces, given with the SHA-256 of their inputs in hexadecimal. Each part is in the order of the hashes.
pub(crate) fn split(mut traces: Vec<(String, Trace)>) -> Split {
    traces.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut parts = Split::default();
    for (hash, trace) in traces {
        // The last digits, so that the order (which goes by the first) says nothing about the part.
        match u32::from_str_radix(hash.get(56..).unwrap_or_default(), 16).unwrap_or_default() % 10 {
            0..=5 => parts.examples.push(trace),
            6..=7 => parts.repair.push(trace),
            _ => parts.gate.push(trace),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use nexus_model::{Origin, Usage, sha256_hex};
    use serde_json::json;

    use super::*;

    fn trace(n: u32) -> (String, Trace) {
        let (input, output) = (json!(n), json!(0));
        (
            sha256_hex(n.to_string()),
            Trace { input, output, origin: Origin::Call, usage: Usage::default(), latency_us: 0 },
        )
    }

    #[test]
    fn what_is_shown_is_an_example_from_then_on() {
        let mut parts = split((0..100).map(trace).collect());
        let (examples, repair) = (parts.examples.len(), parts.repair.len());
        let shown = [parts.repair[0].input.clone(), parts.repair[3].input.clone(), parts.examples[0].input.clone()];
        parts.reveal(shown.iter());
        assert_eq!((parts.examples.len(), parts.repair.len()), (examples + 2, repair - 2));
        assert!(parts.repair.iter().all(|trace| !shown.contains(&trace.input)));
    }

    #[test]
    fn the_parts_are_as_large_as_said_and_do_not_depend_on_the_order() {
        let parts = split((0..5_000).map(trace).collect());
        assert!((2_850..3_150).contains(&parts.examples.len()), "{}", parts.examples.len());
        assert!((900..1_100).contains(&parts.repair.len()), "{}", parts.repair.len());
        assert_eq!(parts.examples.len() + parts.repair.len() + parts.gate.len(), 5_000);
        let backwards = split((0..5_000).rev().map(trace).collect());
        assert_eq!((parts.examples, parts.repair, parts.gate), (backwards.examples, backwards.repair, backwards.gate));
    }
}
