//! How long an answer takes. Pure.

use std::{fmt, str::FromStr, time::Duration};

/// The most by which chance makes an answer quicker or slower.
const JITTER: f64 = 0.2;
/// The longest a stand-in waits.
const LONGEST: Duration = Duration::from_mins(10);

/// How long answers take; chance adds or takes up to a fifth, except from nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Latency {
    /// As long as each did when it was recorded.
    #[default]
    Recorded,
    /// No time.
    None,
    /// All the same.
    Fixed(Duration),
    /// As recorded, times a factor from 0 to 100.
    Scale(f64),
}

/// Why a latency was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no latency: use `recorded`, `none`, milliseconds up to 600000, or `scale:` and a factor up to 100")]
pub struct InvalidLatency(String);

impl Latency {
    /// How long an answer takes, for a draw from 0 up to 1.
    pub(super) fn of(self, recorded: Duration, draw: f64) -> Duration {
        let base = match self {
            Self::None => return Duration::ZERO,
            Self::Recorded => recorded,
            Self::Fixed(time) => time,
            Self::Scale(factor) => recorded.mul_f64(factor.clamp(0.0, 100.0)),
        };
        base.mul_f64(1.0 - JITTER + 2.0 * JITTER * draw.clamp(0.0, 1.0)).min(LONGEST)
    }
}

impl FromStr for Latency {
    type Err = InvalidLatency;

    fn from_str(text: &str) -> Result<Self, InvalidLatency> {
        let invalid = || InvalidLatency(text.to_owned());
        match text.strip_prefix("scale:") {
            Some(factor) => match factor.parse() {
                Ok(factor) if (0.0..=100.0).contains(&factor) => Ok(Self::Scale(factor)),
                _ => Err(invalid()),
            },
            None if text == "recorded" => Ok(Self::Recorded),
            None if text == "none" => Ok(Self::None),
            None => match text.parse().map(Duration::from_millis) {
                Ok(time) if time <= LONGEST => Ok(Self::Fixed(time)),
                _ => Err(invalid()),
            },
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded => f.write_str("recorded"),
            Self::None => f.write_str("none"),
            Self::Fixed(time) => write!(f, "{}", time.as_millis()),
            Self::Scale(factor) => write!(f, "scale:{factor}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Latency;

    #[test]
    fn latencies_are_as_told() {
        let recorded = Duration::from_millis(500);
        for (text, draw, millis) in [
            ("recorded", 0.5, 500),
            ("recorded", 0.0, 400),
            ("none", 0.9, 0),
            ("100", 0.5, 100),
            ("scale:0.1", 0.5, 50),
            ("scale:0", 0.5, 0),
        ] {
            let latency: Latency = text.parse().unwrap();
            assert_eq!(latency.of(recorded, draw).as_millis(), millis, "{text}");
            assert_eq!(latency.to_string(), text);
        }
        for text in ["", "fast", "-1", "600001", "scale:", "scale:-1", "scale:101", "scale:NaN"] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
    }
}
