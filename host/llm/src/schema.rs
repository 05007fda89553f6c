//! Compiled schemas.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{Draft, PatternOptions, Validator};
use nexus_model::{canonical_json, sha256_hex};
use serde_json::Value;

/// How many validators are kept.
const KEPT: usize = 512;
/// How large a compiled pattern may be.
const PATTERN_BYTES: usize = 1 << 20;

/// Validators by the content of their schema, the newest [`KEPT`] of them.
#[derive(Debug, Default)]
pub(crate) struct Validators {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_hash: HashMap<String, Arc<Validator>>,
    oldest_first: VecDeque<String>,
}

impl Validators {
    /// The validator of a schema; the error says why it is no JSON Schema 2020-12.
    pub(crate) fn of(&self, schema: &Value) -> Result<Arc<Validator>, String> {
        let hash = sha256_hex(canonical_json(schema));
        if let Some(validator) = self.lock().by_hash.get(&hash) {
            return Ok(Arc::clone(validator));
        }
        let validator = Arc::new(compile(schema)?);
        self.lock().keep(hash, Arc::clone(&validator));
        Ok(validator)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dialect that definitions are checked with: offline, `format` asserted, patterns in linear time.
fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES))
        .build(schema)
        .map_err(|error| error.to_string())
}

impl Kept {
    fn keep(&mut self, hash: String, validator: Arc<Validator>) {
        if self.by_hash.insert(hash.clone(), validator).is_some() {
            return;
        }
        self.oldest_first.push_back(hash);
        if self.oldest_first.len() > KEPT
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_hash.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{KEPT, Validators};

    #[test]
    fn validators_are_shared_and_bounded() {
        let validators = Validators::default();
        let first = validators.of(&json!({ "type": "string", "minLength": 0 })).unwrap();
        assert!(Arc::ptr_eq(&first, &validators.of(&json!({ "minLength": 0.0, "type": "string" })).unwrap()));
        for n in 0..KEPT + 10 {
            validators.of(&json!({ "maxLength": n })).unwrap();
        }
        assert_eq!(validators.lock().by_hash.len(), KEPT);
        assert_eq!(validators.lock().oldest_first.len(), KEPT);
        assert!(validators.of(&json!({ "type": 1 })).is_err());
        assert!(!validators.of(&json!({ "format": "date" })).unwrap().is_valid(&json!("31 June")));
        assert!(validators.of(&json!({ "$ref": "https://schemas.invalid/x" })).is_err());
    }
}
