//! What a plain scalar of YAML stands for.

use serde_json::{Number, Value};

use crate::fault::{FaultCode, Finding, quoted};

/// Reads a plain scalar by the core schema (YAML 1.2.2, 10.3.2), without infinities and NaN, which JSON does not have.
pub(crate) fn plain(text: &str) -> Result<Value, Finding> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text) {
            Parsed::Number(number) => Value::Number(number),
            Parsed::Text => Value::String(text.to_owned()),
            Parsed::NotInJson => {
                return Err(Finding::new(
                    FaultCode::Unsupported,
                    format!("{} is no number that JSON has", quoted(text)),
                ));
            }
        },
    };
    Ok(value)
}

enum Parsed {
    Number(Number),
    NotInJson,
    Text,
}

impl From<Option<Number>> for Parsed {
    fn from(number: Option<Number>) -> Self {
        number.map_or(Self::NotInJson, Self::Number)
    }
}

fn number(text: &str) -> Parsed {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Parsed::NotInJson;
    }
    if !is_decimal(unsigned) {
        return Parsed::Text;
    }
    let decimal = text.strip_prefix('+').unwrap_or(text);
    let integer = decimal.parse::<i64>().ok().map(Number::from);
    let integer = integer.or_else(|| decimal.parse::<u64>().ok().map(Number::from));
    integer.or_else(|| decimal.parse().ok().and_then(Number::from_f64)).into()
}

fn radix(digits: &str, radix: u32) -> Parsed {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Parsed::Text;
    }
    u64::from_str_radix(digits, radix).ok().map(Number::from).into()
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    mantissa_fits && exponent_fits
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::plain;
    use crate::yaml::parse;

    fn value(text: &str) -> Option<Value> {
        parse(text).root.map(|root| root.to_value())
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let text =
            "[1, -2, +3, 0x1F, 0o17, 1.5, .5, 1., 1e3, 18446744073709551615, ~, null, true, no, 1_000, 0x, e5, '1']";
        let expected = json!([
            1,
            -2,
            3,
            31,
            15,
            1.5,
            0.5,
            1.0,
            1000.0,
            18_446_744_073_709_551_615_u64,
            null,
            null,
            true,
            "no",
            "1_000",
            "0x",
            "e5",
            "1"
        ]);
        assert_eq!(value(text), Some(expected));
        assert_eq!(value("on: .nan"), None);
        assert!(["-.inf", "1e999", "0xfffffffffffffffff"].into_iter().all(|far| plain(far).is_err()));
        assert_eq!(value("1: a\nnull: b\n"), Some(json!({"1": "a", "null": "b"})));
    }
}
