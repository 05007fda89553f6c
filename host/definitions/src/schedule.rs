//! When a time of the day comes.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use time::OffsetDateTime;

use crate::nearest::nearest;

/// A cron expression in a time zone.
///
/// Clocks that are put forward or back: what falls into the gap comes at its end, what comes twice comes the first time,
/// but every so many minutes or hours stays every so many.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

/// Why something is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression is none.
    #[error("{0}")]
    Cron(String),
    /// The expression is one, but names days that never come.
    #[error("this time never comes")]
    Never,
    /// The zone is not in the database.
    #[error("`{name}` is not a time zone")]
    TimeZone {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
}

impl Schedule {
    /// Reads five fields (minute, hour, day of month, month, day of week) or a word as `@daily`, and a zone of the IANA
    /// time zone database.
    ///
    /// # Errors
    /// One of the two cannot be read, or the time never comes.
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, ScheduleError> {
        let database = jiff::tz::db();
        let zone = database.get(time_zone).map_err(|_| ScheduleError::TimeZone {
            name: time_zone.to_owned(),
            nearest: nearest(
                time_zone,
                database.available().map(|name| name.to_string()).collect::<Vec<_>>().iter().map(String::as_str),
            ),
        })?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser
            .parse(cron)
            .map_err(|error| ScheduleError::Cron(error.to_string().trim_end_matches('.').to_owned()))?;
        let schedule = Self { cron, zone };
        schedule.next_after(OffsetDateTime::UNIX_EPOCH).map(|_| schedule).ok_or(ScheduleError::Never)
    }

    /// The first time after this one.
    pub fn next_after(&self, time: OffsetDateTime) -> Option<OffsetDateTime> {
        from_zoned(&self.cron.find_next_occurrence(&self.to_zoned(time)?, false).ok()?)
    }

    /// The last time up to this one, itself included.
    pub fn latest_until(&self, time: OffsetDateTime) -> Option<OffsetDateTime> {
        from_zoned(&self.cron.find_previous_occurrence(&self.to_zoned(time)?, true).ok()?)
    }

    fn to_zoned(&self, time: OffsetDateTime) -> Option<Zoned> {
        Some(Timestamp::from_second(time.unix_timestamp()).ok()?.to_zoned(self.zone.clone()))
    }
}

fn from_zoned(zoned: &Zoned) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(zoned.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::{Duration, OffsetDateTime, macros::datetime};

    use super::{Schedule, ScheduleError};

    fn berlin(cron: &str) -> Schedule {
        Schedule::parse(cron, "Europe/Berlin").unwrap()
    }

    #[test]
    fn a_zone_keeps_its_hours_over_the_year() {
        let daily = berlin("0 8 * * *");
        assert_eq!(daily.next_after(datetime!(2026-01-10 08:00 UTC)), Some(datetime!(2026-01-11 07:00 UTC)));
        assert_eq!(daily.next_after(datetime!(2026-07-10 08:00 UTC)), Some(datetime!(2026-07-11 06:00 UTC)));
        assert_eq!(daily.latest_until(datetime!(2026-01-10 07:00 UTC)), Some(datetime!(2026-01-10 07:00 UTC)));
        assert_eq!(daily.latest_until(datetime!(2026-01-10 06:59 UTC)), Some(datetime!(2026-01-09 07:00 UTC)));
    }

    #[test]
    fn clocks_that_are_put_forward_and_back_lose_and_double_nothing() {
        // 2026-03-29, 02:00 becomes 03:00 in Berlin; 2026-10-25, 03:00 becomes 02:00.
        let nightly = berlin("30 2 * * *");
        assert_eq!(nightly.next_after(datetime!(2026-03-28 12:00 UTC)), Some(datetime!(2026-03-29 01:00 UTC)));
        let first = nightly.next_after(datetime!(2026-10-24 12:00 UTC)).unwrap();
        assert_eq!(first, datetime!(2026-10-25 00:30 UTC));
        assert_eq!(nightly.next_after(first), Some(datetime!(2026-10-26 01:30 UTC)));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for bad in ["", "* * * *", "* * * * * *", "61 * * * *", "a b c d e", "@never"] {
            assert!(matches!(Schedule::parse(bad, "UTC"), Err(ScheduleError::Cron(_))), "{bad}");
        }
        assert_eq!(Schedule::parse("0 0 30 2 *", "UTC").unwrap_err(), ScheduleError::Never);
        let unknown = Schedule::parse("0 0 * * *", "Europe/Berln").unwrap_err();
        assert!(matches!(unknown, ScheduleError::TimeZone { nearest: Some(near), .. } if near == "Europe/Berlin"));
        assert!(Schedule::parse("@daily", "UTC").is_ok());
    }

    proptest! {
        #[test]
        fn next_and_latest_agree(
            cron in prop::sample::select(vec!["0 8 * * *", "*/7 * * * *", "30 2 * * *", "0 0 29 2 *", "15 */3 * * 1-5"]),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
            second in 1_700_000_000_i64..1_900_000_000,
        ) {
            let schedule = Schedule::parse(cron, zone).unwrap();
            let time = OffsetDateTime::from_unix_timestamp(second).unwrap();
            let next = schedule.next_after(time).unwrap();
            prop_assert!(next > time);
            prop_assert_eq!(schedule.latest_until(next), Some(next));
            let latest = schedule.latest_until(time).unwrap();
            prop_assert!(latest <= time);
            prop_assert_eq!(schedule.next_after(latest - Duration::SECOND), Some(latest));
        }
    }
}
