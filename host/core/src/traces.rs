//! The traces that the oracle learns from: one per distinct input of an operation's version.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use nexus_model::{Key, OperationRef, RuntimeStore, StoreError, Trace, VersionHash, Write, canonical_json, sha256_hex};
use tokio_util::task::TaskTracker;

use crate::write_behind::WriteBehind;

/// Traces that are kept of one version. More would not make its code better, only its store larger.
const MAX_TRACES: usize = 2_000;
/// Versions whose inputs are known in memory; the others are read again when they are asked for.
const MAX_VERSIONS: usize = 10_000;

type Slot = (OperationRef, VersionHash);

/// Traces, durable within a second. While the store is out of reach they wait in memory (see [`WriteBehind`]).
pub(crate) struct TraceBook {
    runtime: Arc<dyn RuntimeStore>,
    behind: WriteBehind,
    /// The distinct inputs of each version, as far as it has been looked at.
    seen: Mutex<HashMap<Slot, Inputs>>,
}

/// The distinct inputs of a version.
#[derive(Debug, Default)]
struct Inputs {
    /// Those whose traces can be read: what waits to be written is written first.
    kept: HashSet<String>,
    /// Those that are being handed over. They do not count yet: whoever counts may read at once.
    on_their_way: HashSet<String>,
}

impl Inputs {
    /// Whether this input is new and there is room for it.
    fn claim(&mut self, input: &str) -> bool {
        let room = self.kept.len() + self.on_their_way.len() < MAX_TRACES;
        room && !self.kept.contains(input) && self.on_their_way.insert(input.to_owned())
    }
}

/// An input that is being written; it is given back if that does not come to its end.
struct Claim<'a> {
    book: &'a TraceBook,
    slot: &'a Slot,
    input: &'a str,
}

impl Claim<'_> {
    fn keep(&self) {
        self.book.with(self.slot, |inputs| inputs.kept.insert(self.input.to_owned()));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.book.with(self.slot, |inputs| inputs.on_their_way.remove(self.input));
    }
}

impl TraceBook {
    pub(crate) fn start(
        runtime: Arc<dyn RuntimeStore>,
        lost: impl Fn(u64) + Send + Sync + 'static,
        tracker: &TaskTracker,
    ) -> Self {
        let behind = WriteBehind::start(Arc::clone(&runtime), lost, tracker);
        Self { runtime, behind, seen: Mutex::default() }
    }

    /// Keeps a trace, unless its input is known already or the version has all the traces it needs. Waits for the store
    /// only for the first trace of a version.
    pub(crate) async fn offer(
        &self,
        operation: &OperationRef,
        version: &VersionHash,
        trace: &Trace,
    ) -> Result<(), StoreError> {
        let slot = (operation.clone(), version.clone());
        self.look(&slot).await.inspect_err(|_| self.behind.count_lost())?;
        let input = input_hash(trace);
        if !self.with(&slot, |inputs| inputs.claim(&input)).unwrap_or_default() {
            return Ok(());
        }
        let claim = Claim { book: self, slot: &slot, input: &input };
        let value = serde_json::to_vec(trace).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let write = Write::Set { key: key(&slot, &input), value, ttl: None };
        if self.behind.keep(write) {
            claim.keep();
        }
        Ok(())
    }

    /// How many distinct inputs are known of a version.
    pub(crate) async fn count(&self, operation: &OperationRef, version: &VersionHash) -> Result<u64, StoreError> {
        let slot = (operation.clone(), version.clone());
        self.look(&slot).await?;
        Ok(self.with(&slot, |inputs| inputs.kept.len()).unwrap_or_default() as u64)
    }

    /// All traces of a version, in the order of their inputs' hashes.
    pub(crate) async fn read(
        &self,
        operation: &OperationRef,
        version: &VersionHash,
    ) -> Result<Vec<(String, Trace)>, StoreError> {
        let slot = (operation.clone(), version.clone());
        self.behind.settle().await?;
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
        seen.entry(slot.clone()).or_insert(Inputs { kept: inputs, ..Inputs::default() });
        Ok(())
    }

    fn with<T>(&self, slot: &Slot, act: impl FnOnce(&mut Inputs) -> T) -> Option<T> {
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
    async fn what_is_on_its_way_does_not_count() {
        let book = TraceBook::start(Arc::new(MemoryRuntime::default()), |_| {}, &TaskTracker::new());
        let operation = OperationRef { app: "a".parse().unwrap(), operation: "o".parse().unwrap() };
        let slot = (operation.clone(), VersionHash::from("0123456789abcdef0123".to_owned()));
        book.look(&slot).await.unwrap();
        let claimed = || book.with(&slot, |inputs| inputs.claim("x")).unwrap();
        assert!(claimed() && !claimed());
        assert_eq!(book.count(&operation, &slot.1).await.unwrap(), 0);
        let claim = Claim { book: &book, slot: &slot, input: "x" };
        drop(claim);
        assert!(claimed(), "what was not written may be offered again");
        let claim = Claim { book: &book, slot: &slot, input: "x" };
        claim.keep();
        drop(claim);
        assert!(!claimed());
        assert_eq!(book.count(&operation, &slot.1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_input_counts_once_and_its_first_answer_stays() {
        let runtime: Arc<dyn RuntimeStore> = Arc::new(MemoryRuntime::default());
        let tracker = TaskTracker::new();
        let book = TraceBook::start(Arc::clone(&runtime), |_| {}, &tracker);
        let operation = OperationRef { app: "a".parse().unwrap(), operation: "o".parse().unwrap() };
        let version = VersionHash::from("0123456789abcdef0123".to_owned());
        for (input, output) in [(json!({"x": 1}), 1), (json!({"x": 1.0}), 2), (json!({"x": 2}), 3)] {
            let trace =
                Trace { input, output: json!(output), origin: Origin::Call, usage: Usage::default(), latency_us: 1 };
            book.offer(&operation, &version, &trace).await.unwrap();
        }
        assert_eq!(book.count(&operation, &version).await.unwrap(), 2);
        // Another host on the same store sees the same.
        book.behind.settle().await.unwrap();
        let other = TraceBook::start(runtime, |_| {}, &tracker);
        assert_eq!(other.count(&operation, &version).await.unwrap(), 2);
        let mut outputs: Vec<_> =
            other.read(&operation, &version).await.unwrap().into_iter().map(|(_, trace)| trace.output).collect();
        outputs.sort_by_key(ToString::to_string);
        assert_eq!(outputs, [json!(1), json!(3)]);
        let changed = VersionHash::from("fedcba9876543210".to_owned());
        assert_eq!(other.count(&operation, &changed).await.unwrap(), 0);
    }
}
