//! Points in time, as the port tells them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A point in time: milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    /// This much later; the farthest that there is if it would be beyond.
    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// As ISO 8601 in UTC, with milliseconds.
    pub fn iso8601(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
    }

    /// As expressions see it: `iso8601`, `epoch.seconds` and `epoch.milliseconds`.
    pub(crate) fn descriptor(self) -> Value {
        json!({
            "iso8601": self.iso8601(),
            "epoch": {"seconds": self.0.div_euclid(1000), "milliseconds": self.0},
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Moment;

    #[test]
    fn moments_are_told_in_iso_8601_and_never_overflow() {
        assert_eq!(Moment(1_641_024_000_123).iso8601(), "2022-01-01T08:00:00.123Z");
        assert_eq!(Moment(i64::MAX - 1).plus(Duration::MAX), Moment(i64::MAX));
        assert_eq!(Moment(i64::MAX).iso8601(), "1970-01-01T00:00:00Z");
    }
}
