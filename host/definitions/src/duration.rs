//! Durations as definitions write them.

use std::time::Duration;

use crate::fault::{FaultCode, Finding, quoted};

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_mins(10);

/// Reads `500ms`, `30s`, `2m`: 1 ms to 10 min. `None` if it is not of this form.
pub(crate) fn parse(text: &str) -> Option<Result<Duration, Finding>> {
    let duration = read(text).filter(|_| !text.ends_with('h'))?;
    if (SHORTEST..=LONGEST).contains(&duration) {
        return Some(Ok(duration));
    }
    let finding = Finding::new(FaultCode::OutOfRange, format!("{} is out of range", quoted(text)));
    Some(Err(finding.expected("a duration from `1ms` to `10m`")))
}

/// Reads `500ms`, `30s`, `2m`, `1h`: from 1 ms up to `longest`. `None` if it is anything else.
pub(crate) fn up_to(text: &str, longest: Duration) -> Option<Duration> {
    read(text).filter(|duration| (SHORTEST..=longest).contains(duration))
}

fn read(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let count: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_secs(count.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(count.checked_mul(3600)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse, up_to};

    #[test]
    fn durations() {
        assert_eq!(parse("500ms"), Some(Ok(Duration::from_millis(500))));
        assert_eq!(parse("10m"), Some(Ok(Duration::from_mins(10))));
        for far in ["0s", "11m", "601s", "99999999999999999m"] {
            assert!(parse(far).is_none_or(|d| d.is_err()), "{far}");
        }
        for other in ["", "5", "s", "1h", "1 s", "-1s", "1.5s"] {
            assert_eq!(parse(other), None, "{other}");
        }
        let day = Duration::from_hours(24);
        assert_eq!(up_to("24h", day), Some(day));
        assert_eq!(up_to("0s", day).or(up_to("25h", day)).or(up_to("99999999999999999h", day)), None);
    }
}
