//! What is worked on next, so that what belongs together stays in order. A decision on values alone.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Instant,
};

/// Items in lanes: of one lane one item is out at one time, and the next follows when that one is done. Of all lanes a
/// bounded number is out.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    queues: HashMap<String, VecDeque<T>>,
    ready: VecDeque<String>,
    /// Lanes whose first item is tried again later; the number keeps equal times apart.
    waiting: BTreeMap<(Instant, u64), String>,
    waits: u64,
    held: usize,
    out: usize,
    most_held: usize,
    most_out: usize,
}

impl<T> Lanes<T> {
    /// No items; at most `most_out` are out at one time and at most `most_held` here altogether.
    pub(crate) fn new(most_out: usize, most_held: usize) -> Self {
        Self {
            queues: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            waits: 0,
            held: 0,
            out: 0,
            most_held,
            most_out,
        }
    }

    /// How many more items there is room for.
    pub(crate) fn room(&self) -> usize {
        self.most_held.saturating_sub(self.held)
    }

    /// Whether nothing is here and nothing is out.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Puts an item at the end of its lane.
    pub(crate) fn push(&mut self, lane: String, item: T) {
        self.held += 1;
        if let Some(queue) = self.queues.get_mut(&lane) {
            queue.push_back(item);
        } else {
            self.queues.insert(lane.clone(), VecDeque::from([item]));
            self.ready.push_back(lane);
        }
    }

    /// The next item to work on, and its lane.
    pub(crate) fn next(&mut self) -> Option<(String, T)> {
        if self.out >= self.most_out {
            return None;
        }
        let lane = self.ready.pop_front()?;
        let item = self.queues.get_mut(&lane)?.pop_front()?;
        self.out += 1;
        Some((lane, item))
    }

    /// The lane's item that was out is done with.
    pub(crate) fn done(&mut self, lane: String) {
        self.out -= 1;
        self.held -= 1;
        if self.queues.get(&lane).is_some_and(VecDeque::is_empty) {
            self.queues.remove(&lane);
        } else {
            self.ready.push_back(lane);
        }
    }

    /// The lane's item that was out comes back, to be tried again at that time, before the rest of its lane.
    pub(crate) fn again(&mut self, lane: String, item: T, at: Instant) {
        self.out -= 1;
        self.queues.entry(lane.clone()).or_default().push_front(item);
        self.waits += 1;
        self.waiting.insert((at, self.waits), lane);
    }

    /// Makes ready what may be tried again by now.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            self.ready.push_back(first.remove());
        }
    }

    /// When there is something to wake.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        time::{Duration, Instant},
    };

    use proptest::prelude::*;

    use super::Lanes;

    const MOST_OUT: usize = 3;
    const MOST_HELD: usize = 8;

    proptest! {
        /// Whatever comes, fails and ends in whatever order: nothing is lost, each lane keeps its order, and the bounds
        /// hold.
        #[test]
        fn order_and_bounds_hold(steps in prop::collection::vec((0..4_u8, 0..4_u8), 1..200)) {
            let begin = Instant::now();
            let mut clock = 0;
            let mut lanes = Lanes::new(MOST_OUT, MOST_HELD);
            let mut out: Vec<(String, usize)> = Vec::new();
            let (mut pushed, mut finished): (usize, BTreeMap<String, Vec<usize>>) = (0, BTreeMap::new());
            let mut expected: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for (step, pick) in steps {
                let lane = format!("lane {pick}");
                match step {
                    0 if lanes.room() > 0 => {
                        lanes.push(lane.clone(), pushed);
                        expected.entry(lane).or_default().push(pushed);
                        pushed += 1;
                    }
                    1 => out.extend(lanes.next()),
                    2 if !out.is_empty() => {
                        let (lane, item) = out.remove(usize::from(pick) % out.len());
                        finished.entry(lane.clone()).or_default().push(item);
                        lanes.done(lane);
                    }
                    3 if !out.is_empty() => {
                        let (lane, item) = out.remove(usize::from(pick) % out.len());
                        lanes.again(lane, item, begin + Duration::from_secs(clock + u64::from(pick)));
                    }
                    _ => {
                        clock += 1;
                        lanes.wake(begin + Duration::from_secs(clock));
                    }
                }
                let distinct: BTreeSet<_> = out.iter().map(|(lane, _)| lane).collect();
                prop_assert_eq!(distinct.len(), out.len(), "one of a lane at a time");
                prop_assert!(out.len() <= MOST_OUT && lanes.room() <= MOST_HELD);
            }
            while !lanes.is_empty() {
                lanes.wake(begin + Duration::from_hours(1));
                out.extend(lanes.next());
                if let Some((lane, item)) = out.pop() {
                    finished.entry(lane.clone()).or_default().push(item);
                    lanes.done(lane);
                }
            }
            prop_assert_eq!(finished, expected);
            prop_assert_eq!(lanes.next_wake(), None);
            prop_assert_eq!(lanes.room(), MOST_HELD);
        }
    }
}
