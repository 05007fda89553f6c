//! Which times of the day are due. A decision on values alone.

use nexus_model::MissedRuns;
use time::{Duration, OffsetDateTime};

/// How late a time may be noticed and still count as noticed.
const GRACE: Duration = Duration::MINUTE;

/// What to do about a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing has come since the last time.
    Nothing,
    /// This time has come.
    Run(OffsetDateTime),
    /// This time was missed, and nothing is made up for.
    Missed(OffsetDateTime),
}

/// What to do now: `latest` is the last time of the schedule up to `now`, `done` the last one that was dealt with. Of
/// several that have come since, the last one counts.
pub(crate) fn due(
    latest: Option<OffsetDateTime>,
    done: OffsetDateTime,
    now: OffsetDateTime,
    missed: MissedRuns,
) -> Due {
    match latest.filter(|latest| *latest > done) {
        None => Due::Nothing,
        Some(latest) if now - latest <= GRACE || missed == MissedRuns::RunOnce => Due::Run(latest),
        Some(latest) => Due::Missed(latest),
    }
}

#[cfg(test)]
mod tests {
    use nexus_definitions::Schedule;
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_was_missed_is_skipped_or_made_up_for_once() {
        let schedule = Schedule::parse("0 8 * * *", "UTC").unwrap();
        let done = datetime!(2026-03-01 08:00 UTC);
        let at = |now: OffsetDateTime, missed| due(schedule.latest_until(now), done, now, missed);
        assert_eq!(at(datetime!(2026-03-02 07:59:59 UTC), MissedRuns::RunOnce), Due::Nothing);
        let next = datetime!(2026-03-02 08:00 UTC);
        assert_eq!(at(datetime!(2026-03-02 08:00:30 UTC), MissedRuns::Skip), Due::Run(next));
        assert_eq!(at(datetime!(2026-03-02 09:00 UTC), MissedRuns::Skip), Due::Missed(next));
        let last = datetime!(2026-03-05 08:00 UTC);
        assert_eq!(at(datetime!(2026-03-05 20:00 UTC), MissedRuns::RunOnce), Due::Run(last), "the last of four");
    }

    proptest! {
        /// However often and irregularly somebody looks, each time is dealt with once, in order, and is one of the
        /// schedule's; who looks every half minute misses none.
        #[test]
        fn each_time_is_dealt_with_once(looks in prop::collection::vec(1..4_000_i64, 1..60), run_once: bool, often: bool) {
            let schedule = Schedule::parse("*/10 * * * *", "Europe/Berlin").unwrap();
            let missed = if run_once { MissedRuns::RunOnce } else { MissedRuns::Skip };
            let begin = datetime!(2026-03-28 22:00 UTC);
            let (mut now, mut done, mut ran, mut passed) = (begin, begin, Vec::new(), 0);
            for look in looks {
                now += Duration::seconds(if often { look % 30 + 1 } else { look });
                match due(schedule.latest_until(now), done, now, missed) {
                    Due::Nothing => {}
                    Due::Run(time) => {
                        prop_assert!(time > done && time <= now);
                        prop_assert_eq!(schedule.latest_until(time), Some(time));
                        done = time;
                        ran.push(time);
                    }
                    Due::Missed(time) => {
                        prop_assert!(!run_once && now - time > GRACE);
                        done = time;
                        passed += 1;
                    }
                }
            }
            prop_assert!(ran.is_sorted_by(|one, other| one < other));
            if often {
                prop_assert_eq!(passed, 0);
                let mut expected = Vec::new();
                let mut at = begin;
                while let Some(next) = schedule.next_after(at).filter(|next| *next <= now) {
                    expected.push(next);
                    at = next;
                }
                prop_assert_eq!(ran, expected);
            }
        }
    }
}
