//! TOML.

use serde_json::{Map, Number, Value};
use toml::{Table, Value as Toml};

use crate::{Fault, malformed};

pub(crate) fn read(text: &str) -> Result<Value, Fault> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let (line, column) = error.span().map_or((0, 0), |span| place(text, span.start));
        malformed(line, column, &error.message())
    })?;
    from(Toml::Table(table), "$")
}

pub(crate) fn write(value: Value) -> Result<String, Fault> {
    let Toml::Table(table) = into(value, "$")? else {
        return Err(Fault::Inexpressible("$: a TOML text is a table, which is an object".to_owned()));
    };
    toml::to_string(&table).map_err(|error| Fault::Inexpressible(error.to_string()))
}

/// Line and column, from 1, of a byte.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Dates and times become texts, as TOML writes them.
fn from(value: Toml, at: &str) -> Result<Value, Fault> {
    Ok(match value {
        Toml::String(text) => text.into(),
        Toml::Integer(number) => number.into(),
        Toml::Float(number) => match Number::from_f64(number) {
            Some(number) => number.into(),
            None => return Err(Fault::Inexpressible(format!("{at}: {number} is no number elsewhere"))),
        },
        Toml::Boolean(yes) => yes.into(),
        Toml::Datetime(time) => time.to_string().into(),
        Toml::Array(items) => {
            let items = items.into_iter().enumerate();
            items.map(|(index, item)| from(item, &format!("{at}[{index}]"))).collect::<Result<_, _>>()?
        }
        Toml::Table(table) => {
            let entries = table.into_iter().map(|(name, value)| {
                let value = from(value, &format!("{at}.{name}"))?;
                Ok((name, value))
            });
            Value::Object(entries.collect::<Result<Map<_, _>, Fault>>()?)
        }
    })
}

fn into(value: Value, at: &str) -> Result<Toml, Fault> {
    Ok(match value {
        Value::Null => return Err(Fault::Inexpressible(format!("{at}: TOML knows no null"))),
        Value::Bool(yes) => Toml::Boolean(yes),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Toml::Integer(whole),
            (None, Some(float)) if !number.is_u64() => Toml::Float(float),
            _ => return Err(Fault::Inexpressible(format!("{at}: {number} is too large for TOML"))),
        },
        Value::String(text) => Toml::String(text),
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            Toml::Array(items.map(|(index, item)| into(item, &format!("{at}[{index}]"))).collect::<Result<_, _>>()?)
        }
        Value::Object(entries) => {
            let entries = entries.into_iter().map(|(name, value)| {
                let value = into(value, &format!("{at}.{name}"))?;
                Ok((name, value))
            });
            Toml::Table(entries.collect::<Result<Table, Fault>>()?)
        }
    })
}
