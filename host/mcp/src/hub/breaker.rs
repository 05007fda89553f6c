//! When a server that fails is asked again: a circuit breaker, without a clock of its own.

use std::time::{Duration, Instant};

/// How a server that fails is left alone.
#[derive(Debug, Clone, Copy)]
pub struct BreakerPolicy {
    /// Calls that may fail one after the other before nobody is let through. A connection that cannot be made is enough.
    pub failures: u32,
    /// How long nobody is let through at first; twice as long each time that it fails again.
    pub first: Duration,
    /// How long at most.
    pub longest: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 3, first: Duration::from_millis(500), longest: Duration::from_mins(1) }
    }
}

/// Counts failures, and says who is let through.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    /// How long the one who tries is waited for.
    trial: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All are let through.
    Closed { failures: u32 },
    /// Nobody is.
    Open { until: Instant, openings: u32 },
    /// One was, and how it went is not known yet.
    Trying { until: Instant, openings: u32 },
}

impl Breaker {
    /// Lets all through. The one who tries a server again has `trial` to tell how it went, then another may.
    pub(crate) fn new(policy: BreakerPolicy, trial: Duration) -> Self {
        Self { policy, trial, state: State::Closed { failures: 0 } }
    }

    /// Lets through who asks now, or says when to ask again.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, .. } | State::Trying { until, .. } if now < until => Err(until - now),
            State::Open { openings, .. } | State::Trying { openings, .. } => {
                self.state = State::Trying { until: now + self.trial, openings };
                Ok(())
            }
        }
    }

    /// When who asks now would be let through; nothing changes by asking.
    pub(crate) fn closed_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until, .. } if now < until => Some(until - now),
            _ => None,
        }
    }

    /// The server answered.
    pub(crate) fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A call failed. `share` of the pause, from 0 to 1, is left to chance. Answers whether nobody is let through from now on.
    pub(crate) fn failed(&mut self, now: Instant, share: f64) -> bool {
        match self.state {
            State::Closed { failures } if failures + 1 < self.policy.failures => {
                self.state = State::Closed { failures: failures + 1 };
                false
            }
            _ => self.gave_up(now, share),
        }
    }

    /// No connection could be made. Answers whether nobody is let through from now on, and was before.
    pub(crate) fn gave_up(&mut self, now: Instant, share: f64) -> bool {
        let openings = match self.state {
            State::Closed { .. } => 1,
            State::Trying { openings, .. } => openings.saturating_add(1),
            // Whoever was let through before it opened tells nothing new.
            State::Open { .. } => return false,
        };
        self.state = State::Open { until: now + self.pause(openings, share), openings };
        true
    }

    /// Between half of the pause and all of it.
    fn pause(&self, openings: u32, share: f64) -> Duration {
        let doubled = self.policy.first.saturating_mul(1 << openings.saturating_sub(1).min(20));
        doubled.min(self.policy.longest).mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRIAL: Duration = Duration::from_secs(10);

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Ask,
        Succeed,
        Fail(f64),
        GiveUp(f64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u64..20_000).prop_map(Step::Pass),
            Just(Step::Ask),
            Just(Step::Succeed),
            (0.0..1.0).prop_map(Step::Fail),
            (0.0..1.0).prop_map(Step::GiveUp),
        ]
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_longest_pause(steps in proptest::collection::vec(step(), 1..200)) {
            let policy = BreakerPolicy::default();
            let mut breaker = Breaker::new(policy, TRIAL);
            let mut now = Instant::now();
            for step in steps {
                match step {
                    Step::Pass(ms) => now += Duration::from_millis(ms),
                    Step::Ask => if let Err(wait) = breaker.admit(now) {
                        prop_assert!(wait <= policy.longest.max(TRIAL));
                        prop_assert!(!wait.is_zero());
                    },
                    Step::Succeed => breaker.succeeded(),
                    Step::Fail(share) => drop(breaker.failed(now, share)),
                    Step::GiveUp(share) => drop(breaker.gave_up(now, share)),
                }
            }
            // Whatever was: after the longest pause somebody is let through, and one success lets all through.
            now += policy.longest.max(TRIAL);
            prop_assert_eq!(breaker.admit(now), Ok(()));
            breaker.succeeded();
            prop_assert_eq!(breaker.admit(now), Ok(()));
            prop_assert_eq!(breaker.admit(now), Ok(()));
        }

        #[test]
        fn one_at_a_time_tries(fails in 1_u32..40, share in 0.0..1.0) {
            let mut breaker = Breaker::new(BreakerPolicy::default(), TRIAL);
            let mut now = Instant::now();
            let mut before = Duration::ZERO;
            for _ in 0..fails {
                prop_assert!(breaker.gave_up(now, share));
                prop_assert!(!breaker.gave_up(now, share), "what was on its way tells nothing new");
                let pause = breaker.admit(now).unwrap_err();
                prop_assert!(pause >= before, "pauses grow");
                before = pause;
                now += pause;
                prop_assert_eq!(breaker.admit(now), Ok(()));
                prop_assert!(breaker.admit(now).is_err(), "a second one waits");
            }
        }

        #[test]
        fn few_failures_are_forgiven(share in 0.0..1.0) {
            let policy = BreakerPolicy::default();
            let mut breaker = Breaker::new(policy, TRIAL);
            let now = Instant::now();
            for _ in 0..10 {
                for _ in 1..policy.failures {
                    prop_assert!(!breaker.failed(now, share));
                    prop_assert_eq!(breaker.admit(now), Ok(()));
                }
                breaker.succeeded();
            }
            for _ in 1..policy.failures {
                breaker.failed(now, share);
            }
            prop_assert!(breaker.failed(now, share));
            prop_assert!(breaker.admit(now).is_err());
        }
    }
}
