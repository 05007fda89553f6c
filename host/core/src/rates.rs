//! How many requests a key or an application may make in a minute.
//!
//! Each replica counts for itself: the rate of a whole installation is the rate times its replicas.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_mins(1);

/// A rate of requests: so many at once, and as many again spread evenly over a minute. Taking one is lock-free.
///
/// This is the generic cell rate algorithm (ITU-T I.371): one number, the moment at which everything taken so far would
/// have been taken one by one.
#[derive(Debug)]
pub(crate) struct Rate {
    whose: &'static str,
    per_minute: NonZeroU32,
    begun: Instant,
    /// Nanoseconds after `begun`.
    due: AtomicU64,
}

/// How much of a rate is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// Whose rate it is: `key` or `app`.
    pub whose: &'static str,
    /// Requests in a minute.
    pub per_minute: u32,
    /// Requests that may be made at once.
    pub remaining: u32,
    /// Until all of them may be.
    pub reset: Duration,
}

/// A request above the rate. Nothing of it was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {} may make {} requests a minute", if state.whose == "key" { "key" } else { "application" }, state.per_minute)]
pub struct RateExceeded {
    /// The rate.
    pub state: RateState,
    /// When the next request may be made.
    pub retry_after: Duration,
}

impl Rate {
    pub(crate) fn new(whose: &'static str, per_minute: NonZeroU32) -> Self {
        Self { whose, per_minute, begun: Instant::now(), due: AtomicU64::new(0) }
    }

    pub(crate) fn per_minute(&self) -> NonZeroU32 {
        self.per_minute
    }

    /// Takes one request.
    pub(crate) fn take(&self) -> Result<RateState, RateExceeded> {
        self.take_at(nanos(self.begun.elapsed()))
    }

    fn take_at(&self, now: u64) -> Result<RateState, RateExceeded> {
        let (window, each) = (nanos(WINDOW), nanos(WINDOW) / u64::from(self.per_minute.get()));
        let next = |due: u64| {
            let next = due.max(now) + each;
            (next <= now + window).then_some(next)
        };
        match self.due.fetch_update(Relaxed, Relaxed, next) {
            Ok(due) => Ok(self.state((due.max(now) + each).saturating_sub(now), each)),
            Err(due) => {
                let retry_after = Duration::from_nanos((due + each).saturating_sub(now + window));
                Err(RateExceeded { state: self.state(due.saturating_sub(now), each), retry_after })
            }
        }
    }

    /// The state when so many nanoseconds of requests are taken.
    fn state(&self, taken: u64, each: u64) -> RateState {
        let left = nanos(WINDOW).saturating_sub(taken) / each;
        RateState {
            whose: self.whose,
            per_minute: self.per_minute.get(),
            remaining: u32::try_from(left).unwrap_or(u32::MAX).min(self.per_minute.get()),
            reset: Duration::from_nanos(taken),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_above_the_rate_is_told_when_to_come_back() {
        let rate = Rate::new("key", NonZeroU32::new(3).unwrap());
        let left: Vec<_> = (0..3).map(|_| rate.take_at(SECOND).unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = rate.take_at(SECOND).unwrap_err();
        assert_eq!((refused.state.per_minute, refused.state.remaining, refused.state.reset), (3, 0, WINDOW));
        assert_eq!(refused.retry_after, Duration::from_secs(20));
        assert_eq!(refused.to_string(), "the key may make 3 requests a minute");
        assert!(rate.take_at(20 * SECOND).is_err());
        assert_eq!(rate.take_at(21 * SECOND).unwrap().remaining, 0);
        assert_eq!(rate.take_at(200 * SECOND).unwrap().remaining, 2);
    }

    proptest! {
        #[test]
        fn no_minute_has_more_than_twice_the_rate_and_who_waits_is_let_in(
            per_minute in 1_u32..100, gaps in prop::collection::vec(0_u64..5 * SECOND, 1..300)
        ) {
            let rate = Rate::new("app", NonZeroU32::new(per_minute).unwrap());
            let (mut now, mut taken) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                match rate.take_at(now) {
                    Ok(_) => taken.push(now),
                    Err(refused) => {
                        now += nanos(refused.retry_after);
                        prop_assert!(rate.take_at(now).is_ok());
                        taken.push(now);
                    }
                }
            }
            for (first, begin) in taken.iter().enumerate() {
                let within = taken[first..].iter().take_while(|at| **at < begin + 60 * SECOND).count();
                prop_assert!(within <= 2 * per_minute as usize, "{within} in a minute");
            }
        }
    }
}
