//! Bounds of documents and executions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Nesting of a document and of every value that an execution handles.
pub(crate) const DEPTH: usize = 128;
/// Nodes of a document.
pub(crate) const DOCUMENT_NODES: usize = 100_000;
/// Expressions in a document.
pub(crate) const EXPRESSIONS: usize = 2_000;
/// Nesting of task lists in a document.
pub(crate) const TASK_DEPTH: usize = 16;
/// Faults of a document that are told.
pub(crate) const FAULTS: usize = 100;
/// Branches of a `fork`.
pub(crate) const BRANCHES: usize = 64;

/// Bounds of one execution. What goes over one ends the execution with an error of the type `runtime` that no `catch`
/// catches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Tasks that are begun, skipped ones and those of called functions among them.
    pub steps: u64,
    /// Iterations of one `for`, events of one `listen`, attempts of one `try`.
    pub iterations: u64,
    /// Tasks inside each other.
    pub nesting: usize,
    /// Bytes of JSON of any one value: an input, an output, the context, the answer to an effect.
    pub value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 100_000, iterations: 10_000, nesting: 40, value_bytes: 4 << 20 }
    }
}

/// Why a value is not handled: larger than `bytes`, or nested too deep. Ends early, and never recurses deeper than it
/// allows.
pub(crate) fn too_large(value: &Value, bytes: usize) -> Option<String> {
    let mut left = bytes;
    match weigh(value, DEPTH, &mut left) {
        Ok(()) => None,
        Err(Heavy::Bytes) => Some(format!("a value has more than {bytes} bytes of JSON")),
        Err(Heavy::Depth) => Some(format!("a value is nested more than {DEPTH} deep")),
    }
}

enum Heavy {
    Bytes,
    Depth,
}

fn weigh(value: &Value, depth: usize, left: &mut usize) -> Result<(), Heavy> {
    let Some(deeper) = depth.checked_sub(1) else { return Err(Heavy::Depth) };
    let own = match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.len() + 2,
        Value::Object(fields) => fields.keys().map(|key| key.len() + 4).sum::<usize>() + 2,
    };
    *left = left.checked_sub(own).ok_or(Heavy::Bytes)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| weigh(item, deeper, left)),
        Value::Object(fields) => fields.values().try_for_each(|field| weigh(field, deeper, left)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::too_large;

    #[test]
    fn large_and_deep_values_are_told_apart() {
        assert_eq!(too_large(&json!({"a": [1, 2, 3]}), 100), None);
        assert!(too_large(&json!("a".repeat(200)), 100).unwrap().contains("bytes"));
        let deep = (0..500).fold(Value::Null, |inner, _| json!([inner]));
        assert!(too_large(&deep, 1 << 20).unwrap().contains("deep"));
    }
}
