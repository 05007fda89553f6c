//! The traces that the oracle learns from: one per distinct input of an operation's version.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use nexus_model::{
    Durability, Key, OperationRef, RuntimeStore, StoreError, Trace, VersionHash, Write, canonical_json, sha256_hex,
};

/// Traces that are kept of one version. More would not make its code better, only its store larger.
const MAX_TRACES: usize = 2_000;
/// Versions whose inputs are known in memory; the others are read again when they are asked for.
const MAX_VERSIONS: usize = 10_000;

type Slot = (OperationRef, VersionHash);

/// Traces, durable within a second.
pub(crate) struct TraceBook {
    runtime: Arc<dyn RuntimeStore>,
    /// The distinct inputs of each version, as far as it has been looked at.
    seen: Mutex<HashMap<Slot, HashSet<String>>>,
}

impl TraceBook {
    pub(crate) fn new(runtime: Arc<dyn RuntimeStore>) -> Self {
        Self { runtime, seen: Mutex::default() }
    }

    /// Keeps a trace, unless its input is known already or the version has all the traces it needs.
    pub(crate) async fn offer(
        &self,
        operation: &OperationRef,
        version: &VersionHash,
        trace: &Trace,
    ) -> Result<(), StoreError> {
        let slot = (operation.clone(), version.clone());
        self.look(&slot).await?;
        let input = input_hash(trace);
        if !self.claim(&slot, &input) {
            return Ok(());
        }
        let value = serde_json::to_vec(trace).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let write = Write::Set { key: key(&slot, &input), value, ttl: None };
        let kept = self.runtime.write(vec![write], Durability::Soon).await;
        if kept.is_err() {
            self.with(&slot, |inputs| inputs.remove(&input));
        }
        kept
    }

    /// How many distinct inputs are known of a version.
    pub(crate) async fn count(&self, operation: &OperationRef, version: &VersionHash) -> Result<u64, StoreError> {
        let slot = (operation.clone(), version.clone());
        self.look(&slot).await?;
        Ok(self.with(&slot, |inputs| inputs.len()).unwrap_or_default() as u64)
    }

    /// All traces of a version, in the order of their inputs' hashes.
    pub(crate) async fn read(
        &self,
        operation: &OperationRef,
        version: &VersionHash,
    ) -> Result<Vec<(String, Trace)>, StoreError> {
        let slot = (operation.clone(), version.clone());
        let entries = self.runtime.list(&key(&slot, ""), None, MAX_TRACES).await?;
        entries
            .into_iter()
            .map(|entry| {
                let trace: Trace = serde_json::from_slice(&entry.value)
                    .map_err(|error| StoreError::Unavailable(format!("the trace `{}`: {error}", entry.key)))?;
                Ok((input_hash(&trace), trace))
            })
            .collect()
    }

    /// Makes sure that the inputs of a version are known in memory.
    async fn look(&self, slot: &Slot) -> Result<(), StoreError> {
        if self.with(slot, |_| ()).is_some() {
            return Ok(());
        }
        let entries = self.runtime.list(&key(slot, ""), None, MAX_TRACES).await?;
        let inputs = entries.iter().filter_map(|entry| entry.key.rsplit(':').next()).map(str::to_owned).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_VERSIONS {
            seen.clear();
        }
        seen.entry(slot.clone()).or_insert(inputs);
        Ok(())
    }

    /// Whether this input is new and there is room for it; it counts as known from now on.
    fn claim(&self, slot: &Slot, input: &str) -> bool {
        self.with(slot, |inputs| inputs.len() < MAX_TRACES && inputs.insert(input.to_owned())).unwrap_or_default()
    }

    fn with<T>(&self, slot: &Slot, act: impl FnOnce(&mut HashSet<String>) -> T) -> Option<T> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get_mut(slot).map(act)
    }
}

/// What makes an input distinct: SHA-256 of its canonical form.
fn input_hash(trace: &Trace) -> String {
    sha256_hex(canonical_json(&trace.input))
}

fn key((operation, version): &Slot, input: &str) -> Key {
    let version = version.0.get(..16).unwrap_or(&version.0);
    Key::of_app(&operation.app, "trace", format!("{}:{version}:{input}", operation.operation))
}

#[cfg(test)]
mod tests {
    use nexus_model::{Origin, Usage};
    use nexus_state::memory::MemoryRuntime;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn an_input_counts_once_and_its_first_answer_stays() {
        let runtime: Arc<dyn RuntimeStore> = Arc::new(MemoryRuntime::default());
        let book = TraceBook::new(Arc::clone(&runtime));
        let operation = OperationRef { app: "a".parse().unwrap(), operation: "o".parse().unwrap() };
        let version = VersionHash::from("0123456789abcdef0123".to_owned());
        for (input, output) in [(json!({"x": 1}), 1), (json!({"x": 1.0}), 2), (json!({"x": 2}), 3)] {
            let trace =
                Trace { input, output: json!(output), origin: Origin::Call, usage: Usage::default(), latency_us: 1 };
            book.offer(&operation, &version, &trace).await.unwrap();
        }
        assert_eq!(book.count(&operation, &version).await.unwrap(), 2);
        // Another host on the same store sees the same.
        let other = TraceBook::new(runtime);
        assert_eq!(other.count(&operation, &version).await.unwrap(), 2);
        let mut outputs: Vec<_> =
            other.read(&operation, &version).await.unwrap().into_iter().map(|(_, trace)| trace.output).collect();
        outputs.sort_by_key(ToString::to_string);
        assert_eq!(outputs, [json!(1), json!(3)]);
        let changed = VersionHash::from("fedcba9876543210".to_owned());
        assert_eq!(other.count(&operation, &changed).await.unwrap(), 0);
    }
}
