//! The end of what a sandbox complains about.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// Bytes that are kept.
const KEPT: usize = 4 << 10;

/// The last few KiB of a stream. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    pub(crate) fn push(&self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(KEPT)..];
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = (kept.len() + new.len()).saturating_sub(KEPT);
        kept.drain(..over);
        kept.extend(new);
    }

    /// What is kept, with a mark for whatever is not UTF-8.
    pub(crate) fn text(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let tail = Tail::default();
        tail.push(b"first ");
        tail.push(&[b'x'; KEPT]);
        tail.push(b" last");
        let text = tail.text();
        assert_eq!(text.len(), KEPT);
        assert!(text.starts_with('x') && text.ends_with(" last"));
        tail.push(&[b'y'; 3 * KEPT]);
        assert_eq!(tail.text(), "y".repeat(KEPT));
    }
}
