//! Values that are known to be secret, recognised without being kept.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    ops::Range,
};

/// Shorter values would mask ordinary text.
pub(crate) const MIN_BYTES: usize = 8;
/// Values that are known at the most; beyond that, the one that was learnt first is forgotten.
const MAX_KNOWN: usize = 16_384;

/// Each value as its length and two hashes under a key of this process, however long it is: what knows all secrets must not
/// be where they can be read.
#[derive(Default)]
pub(crate) struct KnownValues {
    key: RandomState,
    /// By the hash of a value's first [`MIN_BYTES`] bytes.
    values: HashMap<u64, Vec<Whole>>,
    pairs: Pairs,
    learnt: VecDeque<(u64, Whole)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Whole {
    length: usize,
    hash: u64,
}

impl KnownValues {
    pub(crate) fn len(&self) -> usize {
        self.learnt.len()
    }

    pub(crate) fn knows(&self, value: &[u8]) -> bool {
        self.hashes(value).is_none_or(|(begin, whole)| self.values.get(&begin).is_some_and(|all| all.contains(&whole)))
    }

    /// Learns a value of [`MIN_BYTES`] or more.
    pub(crate) fn learn(&mut self, value: &[u8]) {
        let Some((begin, whole)) = self.hashes(value).filter(|_| !self.knows(value)) else { return };
        self.values.entry(begin).or_default().push(whole);
        self.pairs.put(value);
        self.learnt.push_back((begin, whole));
        if self.learnt.len() > MAX_KNOWN {
            self.forget_first();
        }
    }

    /// Where values stand in the text. Those that overlap or touch are one place.
    pub(crate) fn places(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut places: Vec<Range<usize>> = Vec::new();
        if self.values.is_empty() {
            return places;
        }
        let begins = text.windows(MIN_BYTES).enumerate().filter(|(_, begin)| self.pairs.has(begin));
        for (at, begin) in begins {
            let Some(length) = self.longest(begin, &text[at..]) else { continue };
            match places.last_mut() {
                Some(last) if at <= last.end => last.end = last.end.max(at + length),
                _ => places.push(at..at + length),
            }
        }
        places
    }

    /// The length of the longest value that the text begins with.
    fn longest(&self, begin: &[u8], text: &[u8]) -> Option<usize> {
        let all = self.values.get(&self.key.hash_one(begin))?.iter();
        let found =
            all.filter(|whole| text.get(..whole.length).is_some_and(|value| self.key.hash_one(value) == whole.hash));
        found.map(|whole| whole.length).max()
    }

    fn hashes(&self, value: &[u8]) -> Option<(u64, Whole)> {
        let begin = self.key.hash_one(value.get(..MIN_BYTES)?);
        Some((begin, Whole { length: value.len(), hash: self.key.hash_one(value) }))
    }

    fn forget_first(&mut self) {
        let Some((begin, whole)) = self.learnt.pop_front() else { return };
        if let Some(all) = self.values.get_mut(&begin) {
            all.retain(|other| *other != whole);
            if all.is_empty() {
                self.values.remove(&begin);
            }
        }
    }
}

/// The pairs of bytes that values begin with, one bit each: most places of a text are passed over without a hash.
#[derive(Default)]
struct Pairs(Vec<u64>);

impl Pairs {
    fn put(&mut self, value: &[u8]) {
        self.0.resize(1 << 10, 0);
        let pair = pair(value);
        self.0[pair / 64] |= 1 << (pair % 64);
    }

    fn has(&self, text: &[u8]) -> bool {
        let pair = pair(text);
        self.0.get(pair / 64).is_some_and(|bits| bits >> (pair % 64) & 1 == 1)
    }
}

fn pair(text: &[u8]) -> usize {
    text.iter().take(2).fold(0, |pair, byte| pair << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{KnownValues, MAX_KNOWN};

    #[test]
    fn the_newest_are_known_and_no_more_than_there_is_room_for() {
        let mut known = KnownValues::default();
        let value = |number: usize| format!("value number {number}").into_bytes();
        for number in 0..=MAX_KNOWN {
            known.learn(&value(number));
            known.learn(&value(number));
        }
        assert_eq!((known.len(), known.values.len().min(MAX_KNOWN)), (MAX_KNOWN, known.values.len()));
        assert!(!known.knows(&value(0)) && known.knows(&value(1)) && known.knows(&value(MAX_KNOWN)));
        assert!(known.places(&value(0)).is_empty(), "what is forgotten is text again");
    }

    proptest! {
        #[test]
        fn every_value_is_found_wherever_it_stands(
            values in prop::collection::vec("[ab]{8,12}", 1..6),
            text in "[ab ]{0,80}",
        ) {
            let mut known = KnownValues::default();
            for value in &values {
                known.learn(value.as_bytes());
            }
            let places = known.places(text.as_bytes());
            for at in 0..text.len() {
                let within = values.iter().any(|value| {
                    let from = (at + 1).saturating_sub(value.len())..=at;
                    from.into_iter().any(|from| text[from..].starts_with(value.as_str()))
                });
                prop_assert_eq!(within, places.iter().any(|place| place.contains(&at)), "{} in {:?}", at, text);
            }
        }
    }
}
