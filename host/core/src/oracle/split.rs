//! Which traces the coder may see.

use nexus_model::Trace;

/// The traces of one version, split by the hash of their inputs: who falls where does not depend on when it came.
#[derive(Debug, Default)]
pub(crate) struct Split {
    /// Shown to the coder: 60 %.
    pub(crate) examples: Vec<Trace>,
    /// Candidates are scored on these, and counterexamples shown: 20 %.
    pub(crate) repair: Vec<Trace>,
    /// Sealed: no coder ever sees one of these: 20 %.
    pub(crate) gate: Vec<Trace>,
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

    #[test]
    fn the_parts_are_as_large_as_said_and_do_not_depend_on_the_order() {
        let trace = |n: u32| {
            let trace = Trace {
                input: json!(n),
                output: json!(0),
                origin: Origin::Call,
                usage: Usage::default(),
                latency_us: 0,
            };
            (sha256_hex(n.to_string()), trace)
        };
        let parts = split((0..5_000).map(trace).collect());
        assert!((2_850..3_150).contains(&parts.examples.len()), "{}", parts.examples.len());
        assert!((900..1_100).contains(&parts.repair.len()), "{}", parts.repair.len());
        assert_eq!(parts.examples.len() + parts.repair.len() + parts.gate.len(), 5_000);
        let backwards = split((0..5_000).rev().map(trace).collect());
        assert_eq!((parts.examples, parts.repair, parts.gate), (backwards.examples, backwards.repair, backwards.gate));
    }
}
