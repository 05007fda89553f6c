//! Machine code of single functions, so that a snapshot of the engine compiles nothing but what is new.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::{Buf, BufMut, Bytes};
use wasmtime::CacheStore;

/// Compiled functions by the key that Cranelift gives them: what was known at the start, and what came since.
///
/// Some functions get another key each time and are compiled again: a key also depends on what the same thread compiled
/// before, because Cranelift 0.135 keeps a function's exception tables for the next one (`DataFlowGraph::clear`), and
/// which thread compiles what is chance. That costs less than compiling one function after another would.
#[derive(Debug, Default)]
pub(crate) struct FunctionCache {
    known: HashMap<Bytes, Bytes>,
    new: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl FunctionCache {
    /// Reads what [`FunctionCache::encode`] wrote. What cannot be read is compiled again.
    pub(crate) fn decode(mut encoded: Bytes) -> Self {
        let mut known = HashMap::new();
        while let Some(entry) = entry(&mut encoded) {
            known.insert(entry.0, entry.1);
        }
        Self { known, new: Mutex::default() }
    }

    /// All that came since the start.
    pub(crate) fn encode(&self) -> Bytes {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        let mut encoded = Vec::new();
        for (key, code) in new.iter() {
            encoded.put_u64_le(key.len() as u64);
            encoded.put_u64_le(code.len() as u64);
            encoded.extend_from_slice(key);
            encoded.extend_from_slice(code);
        }
        encoded.into()
    }
}

fn entry(encoded: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let key = usize::try_from(encoded.try_get_u64_le().ok()?).ok()?;
    let code = usize::try_from(encoded.try_get_u64_le().ok()?).ok()?;
    (key.checked_add(code)? <= encoded.len()).then(|| (encoded.split_to(key), encoded.split_to(code)))
}

impl CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        if let Some(code) = self.known.get(key) {
            return Some(Cow::Borrowed(code));
        }
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.get(key).map(|code| Cow::Owned(code.clone()))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        self.new.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_vec(), value);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_comes_back() {
        let cache = FunctionCache::default();
        assert!(cache.insert(b"key", b"code".to_vec()));
        let encoded = cache.encode();
        let again = FunctionCache::decode(encoded.clone());
        assert_eq!(again.get(b"key").as_deref(), Some(b"code".as_slice()));
        assert!(FunctionCache::decode(encoded.slice(..encoded.len() - 1)).get(b"key").is_none());
    }
}
