//! Values of JSON as values of jq, and back.

use jaq_json::Val;
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use crate::limits::DEPTH;

/// A value of JSON as jq has it.
pub(super) fn to_jq(value: &Value) -> Result<Val, String> {
    Val::deserialize(value).map_err(|error: serde_json::Error| error.to_string())
}

/// A value of jq as JSON, if it has at most `bytes` bytes and is nested no deeper than [`DEPTH`].
///
/// Whole numbers lose their `.0`, as jq prints them; `nan` is `null`, as jq prints it.
pub(super) fn from_jq(value: &Val, bytes: usize) -> Result<Value, String> {
    let mut left = bytes;
    convert(value, DEPTH, &mut left).map_err(|problem| match problem {
        Problem::Bytes => format!("its output has more than {bytes} bytes"),
        Problem::Depth => format!("its output is nested more than {DEPTH} deep"),
        Problem::Key => "its output has a key that is no string".to_owned(),
    })
}

enum Problem {
    Bytes,
    Depth,
    Key,
}

fn convert(value: &Val, depth: usize, left: &mut usize) -> Result<Value, Problem> {
    let deeper = depth.checked_sub(1).ok_or(Problem::Depth)?;
    let mut take = |bytes: usize| -> Result<(), Problem> {
        *left = left.checked_sub(bytes).ok_or(Problem::Bytes)?;
        Ok(())
    };
    Ok(match value {
        Val::Null => take(4).map(|()| Value::Null)?,
        Val::Bool(value) => take(4).map(|()| Value::Bool(*value))?,
        Val::Num(number) => {
            let text = number.to_string();
            take(text.len())?;
            read_number(&text)
        }
        Val::TStr(bytes) | Val::BStr(bytes) => {
            take(bytes.len() + 2)?;
            Value::String(String::from_utf8_lossy(bytes).into_owned())
        }
        Val::Arr(items) => {
            take(items.len() + 2)?;
            Value::Array(items.iter().map(|item| convert(item, deeper, left)).collect::<Result<_, _>>()?)
        }
        Val::Obj(fields) => {
            take(2)?;
            let mut object = Map::new();
            for (key, field) in fields.iter() {
                let Val::TStr(key) = key else { return Err(Problem::Key) };
                *left = left.checked_sub(key.len() + 4).ok_or(Problem::Bytes)?;
                object.insert(String::from_utf8_lossy(key).into_owned(), convert(field, deeper, left)?);
            }
            Value::Object(object)
        }
    })
}

fn read_number(text: &str) -> Value {
    /// Below this, whole numbers are exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    if let Ok(whole) = text.parse::<u64>() {
        return whole.into();
    }
    let Ok(number) = text.parse::<f64>() else { return Value::Null };
    let number = if number.is_infinite() { f64::MAX.copysign(number) } else { number };
    if number.fract() == 0.0 && number.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
        let whole = number as i64;
        return whole.into();
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
