//! Containers that are known to be of Nexus.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::container::Kind;

/// The most that are remembered; the engine is asked about others.
const REMEMBERED: usize = 4096;

/// Ids of containers. An id is never another container's, so none is ever forgotten for being wrong.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    kinds: HashMap<String, Kind>,
    order: VecDeque<String>,
}

impl Known {
    pub(super) fn kind(&self, id: &str) -> Option<Kind> {
        self.lock().kinds.get(id).copied()
    }

    /// The oldest goes when there is no place.
    pub(super) fn remember(&self, id: &str, kind: Kind) {
        let mut remembered = self.lock();
        if remembered.kinds.insert(id.to_owned(), kind).is_some() {
            return;
        }
        remembered.order.push_back(id.to_owned());
        if remembered.order.len() > REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.kinds.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_a_bound() {
        let known = Known::default();
        for number in 0..REMEMBERED + 10 {
            known.remember(&number.to_string(), Kind::Sandbox);
            known.remember(&number.to_string(), Kind::Holder);
        }
        assert_eq!(known.kind("9"), None);
        assert_eq!(known.kind("10"), Some(Kind::Holder));
        assert_eq!(known.lock().kinds.len(), REMEMBERED);
        assert_eq!(known.lock().order.len(), REMEMBERED);
    }
}
