//! How many pieces of data lie unread.
//!
//! Windows bound bytes, and a piece costs more than its bytes: a window full of single bytes would be a hundred times as large
//! in memory. So pieces are counted too, and nothing more is taken from a relay while too many lie unread.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

/// Pieces that may lie unread in all streams together.
const MAX_CRUMBS: u32 = 16 << 10;

/// The counts of one relay. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Crumbs(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    of: HashMap<u32, u32>,
    all: u32,
    waiting: Option<Waker>,
}

impl Crumbs {
    /// A stream is opened. `false` if there is one of this number already, or there are `most`.
    pub(super) fn open(&self, stream: u32, most: usize) -> bool {
        let mut counts = self.counts();
        if counts.of.contains_key(&stream) || counts.of.len() >= most {
            return false;
        }
        counts.of.insert(stream, 0);
        true
    }

    /// A piece has come. Those of streams that are closed are thrown away unread.
    pub(super) fn came(&self, stream: u32) {
        let mut counts = self.counts();
        if let Some(count) = counts.of.get_mut(&stream) {
            *count += 1;
            counts.all += 1;
        }
    }

    /// A piece was read.
    pub(super) fn read(&self, stream: u32) {
        let mut counts = self.counts();
        if let Some(count) = counts.of.get_mut(&stream).filter(|count| **count > 0) {
            *count -= 1;
            counts.fewer(1);
        }
    }

    /// Nobody reads the stream any more.
    pub(super) fn close(&self, stream: u32) {
        let mut counts = self.counts();
        let left = counts.of.remove(&stream).unwrap_or_default();
        counts.fewer(left);
    }

    /// Whether nothing more may be taken now. Then whoever asks is woken when it may.
    pub(super) fn are_too_many(&self, cx: &Context<'_>) -> bool {
        let mut counts = self.counts();
        let full = counts.all >= MAX_CRUMBS;
        counts.waiting = full.then(|| cx.waker().clone());
        full
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn fewer(&mut self, by: u32) {
        self.all -= by;
        if self.all < MAX_CRUMBS
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn who_has_too_many_waits_until_some_are_read() {
        let crumbs = Crumbs::default();
        let cx = Context::from_waker(Waker::noop());
        assert!(crumbs.open(1, 2) && crumbs.open(3, 2));
        assert!(!crumbs.open(5, 2) && !crumbs.open(1, 3));
        for _ in 0..MAX_CRUMBS {
            assert!(!crumbs.are_too_many(&cx));
            crumbs.came(1);
        }
        assert!(crumbs.are_too_many(&cx));
        crumbs.read(1);
        assert!(!crumbs.are_too_many(&cx));
        crumbs.came(3);
        assert!(crumbs.are_too_many(&cx));
        crumbs.close(1);
        assert!(!crumbs.are_too_many(&cx));
        // What comes for a stream that is closed counts nothing, and is never read.
        crumbs.came(1);
        crumbs.read(1);
        crumbs.close(3);
        assert_eq!(crumbs.counts().all, 0);
    }
}
