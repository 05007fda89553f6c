//! Durations as people write them: `500ms`, `10s`, `5m`, `2h`, `30d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a whole number followed by `ms`, `s`, `m`, `h` or `d`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis);
    match (number.parse::<u64>(), unit) {
        (Ok(number), Some(millis)) => Ok(Duration::from_millis(number.saturating_mul(millis))),
        _ => Err(format!(
            "`{text}` is not a duration: write a whole number and a unit, as in `500ms`, `10s`, `5m`, `2h` or `30d`"
        )),
    }
}

/// Writes a duration in the largest unit that keeps it whole; below a millisecond is cut off.
pub fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, size) = UNITS.iter().rev().find(|(_, size)| millis >= *size && millis % size == 0).unwrap_or(&UNITS[0]);
    format!("{}{unit}", millis / size)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{format, parse};

    #[test]
    fn text_and_back() {
        for (text, millis) in
            [("0ms", 0), ("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("2h", 7_200_000), ("1500ms", 1_500)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)));
            assert_eq!(format(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "10", "s", "1.5s", "-1s", "10 s", "10 parsecs"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
