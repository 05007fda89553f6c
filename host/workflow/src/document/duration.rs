//! Durations: fields, ISO 8601, or an expression.

use std::sync::Arc;

use super::{
    node::{Node, Position},
    places,
    reader::Reader,
};
use crate::{
    expression::{Expression, enclosed},
    fault::FaultKind,
};

/// How long.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// This long.
    Fixed(std::time::Duration),
    /// What the expression says: a text in ISO 8601, or an object as a document would have it.
    Computed(Arc<Expression>),
}

/// The longest: ten years.
const LONGEST: std::time::Duration = std::time::Duration::from_hours(10 * 365 * 24);
const EXPECTED: &str = "a duration such as `{seconds: 30}` or `PT30S`, of at most ten years";

pub(super) fn read(reader: &mut Reader, node: &Node<'_>, position: Position) -> Option<Duration> {
    if let Some(text) = node.value.as_str()
        && enclosed(text).is_some()
    {
        return reader.expression(node, position).map(Duration::Computed);
    }
    if node.value.is_object() {
        reader.object(node, &places::DURATION);
    }
    match from_value(node.value) {
        Ok(duration) => Some(Duration::Fixed(duration)),
        Err(why) => {
            reader.wrong(node, FaultKind::BadValue, why, EXPECTED);
            None
        }
    }
}

/// A duration as a text or as an object.
pub(crate) fn from_value(value: &serde_json::Value) -> Result<std::time::Duration, String> {
    let millis = match value {
        serde_json::Value::String(text) => iso8601(text)?,
        serde_json::Value::Object(fields) if !fields.is_empty() => {
            let mut sum = 0_u64;
            for (name, value) in fields {
                let unit = match name.as_str() {
                    "days" => 86_400_000,
                    "hours" => 3_600_000,
                    "minutes" => 60_000,
                    "seconds" => 1000,
                    "milliseconds" => 1,
                    _ => return Err("this is not a duration".to_owned()),
                };
                let count = value.as_u64().ok_or("durations are whole numbers that are not negative")?;
                sum = sum.saturating_add(count.saturating_mul(unit));
            }
            sum
        }
        _ => return Err("this is not a duration".to_owned()),
    };
    let duration = std::time::Duration::from_millis(millis);
    if duration > LONGEST { Err("this is too long".to_owned()) } else { Ok(duration) }
}

/// Milliseconds of `P1DT2H3M4.5S`, also with weeks. Years and months are refused: they have no fixed length.
fn iso8601(text: &str) -> Result<u64, String> {
    let wrong = || "this is not a duration in ISO 8601".to_owned();
    let rest = text.strip_prefix('P').ok_or_else(wrong)?;
    let (date, time) = rest.split_once('T').map_or((rest, None), |(date, time)| (date, Some(time)));
    if rest.is_empty() || time == Some("") {
        return Err(wrong());
    }
    let mut sum = 0_u64;
    for (part, units) in [(date, "YMWD"), (time.unwrap_or_default(), "HMS")] {
        let (mut part, mut units) = (part, units);
        while !part.is_empty() {
            let end = part.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (count, after) = part.split_at_checked(end).ok_or_else(wrong)?;
            let unit = after.chars().next().ok_or_else(wrong)?;
            let place = units.find(unit).ok_or_else(wrong)?;
            let in_date = units.contains('D') || units.contains('W');
            let millis = match unit {
                'Y' => return Err("a year has no fixed length: give days".to_owned()),
                'M' if in_date => return Err("a month has no fixed length: give days".to_owned()),
                'W' => 7.0 * 86_400_000.0,
                'D' => 86_400_000.0,
                'H' => 3_600_000.0,
                'M' => 60_000.0,
                _ => 1000.0,
            };
            let count: f64 = count.parse().map_err(|_| wrong())?;
            let milliseconds = (count * millis).round();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is whole and not negative; too much saturates"
            )]
            let milliseconds = milliseconds as u64;
            sum = sum.saturating_add(milliseconds);
            units = units.get(place + 1..).unwrap_or_default();
            part = after.get(1..).unwrap_or_default();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::from_value;

    #[test]
    fn durations_are_fields_or_iso_8601() {
        let fields = json!({"days": 1, "hours": 2, "minutes": 3, "seconds": 4, "milliseconds": 5});
        assert_eq!(from_value(&fields), Ok(Duration::from_millis(93_784_005)));
        for (text, seconds) in
            [("PT30S", 30), ("P1DT2H3M4S", 93_784), ("P2W", 1_209_600), ("PT0.5H", 1800), ("PT5M", 300)]
        {
            assert_eq!(from_value(&json!(text)), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in
            ["", "P", "PT", "30s", "P1H", "PT1D", "P1Y", "P1M", "PT1S1M", "P-1D", "PT.S", "P99999999999D", "é", "Pé"]
        {
            assert!(from_value(&json!(wrong)).is_err(), "{wrong}");
        }
        for wrong in
            [json!({}), json!({"seconds": -1}), json!({"seconds": 1.5}), json!({"weeks": 1}), json!(30), json!(null)]
        {
            assert!(from_value(&wrong).is_err(), "{wrong}");
        }
    }
}
