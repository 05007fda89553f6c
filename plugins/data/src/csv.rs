//! CSV: a list of objects, whose names are the first line.

use std::collections::HashSet;

use csv::{ReaderBuilder, Writer};
use serde_json::{Map, Value};

use crate::{Fault, MAX_ANSWER, malformed, too_large};

pub(crate) fn read(text: &str) -> Result<Value, Fault> {
    let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
    let names = reader.headers().map_err(|error| fault(&error))?.clone();
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(malformed(1, 0, &format!("two columns have the name `{name}`")));
    }
    let rows = reader.records().map(|row| {
        let row = row.map_err(|error| fault(&error))?;
        let cells = names.iter().zip(&row).map(|(name, cell)| (name.to_owned(), Value::from(cell)));
        Ok(Value::Object(cells.collect::<Map<_, _>>()))
    });
    rows.collect()
}

/// The columns are all names that occur, in the order in which they do first. What a row does not have is empty.
pub(crate) fn write(value: &Value) -> Result<String, Fault> {
    let rows = rows(value)?;
    let mut names = Map::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        names.entry(name).or_insert(Value::Null);
    }
    if names.is_empty() {
        return Ok(String::new());
    }
    // A cell is at least what separates it from the next.
    if names.len().saturating_mul(rows.len()) > MAX_ANSWER {
        return Err(too_large());
    }
    let mut writer = Writer::from_writer(Vec::new());
    let unwritable = |error: csv::Error| Fault::Inexpressible(error.to_string());
    writer.write_record(names.keys()).map_err(unwritable)?;
    for (index, row) in rows.iter().enumerate() {
        let cells = names.keys().map(|name| cell(row.get(name), index, name)).collect::<Result<Vec<_>, _>>()?;
        writer.write_record(cells).map_err(unwritable)?;
    }
    let bytes = writer.into_inner().map_err(|error| Fault::Inexpressible(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| Fault::Inexpressible(error.to_string()))
}

fn fault(error: &csv::Error) -> Fault {
    let line = error.position().map_or(0, csv::Position::line);
    let reason = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} cells, and there are {expected_len} columns")
        }
        _ => error.to_string(),
    };
    malformed(line, 0, &reason)
}

fn rows(value: &Value) -> Result<Vec<&Map<String, Value>>, Fault> {
    let refused = |at: &str| Fault::Inexpressible(format!("{at}: a table is a list of objects"));
    let rows = value.as_array().ok_or_else(|| refused("$"))?.iter().enumerate();
    rows.map(|(index, row)| row.as_object().ok_or_else(|| refused(&format!("$[{index}]")))).collect()
}

fn cell(value: Option<&Value>, row: usize, name: &str) -> Result<String, Fault> {
    match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => Ok(value.to_string()),
        Some(Value::Array(_) | Value::Object(_)) => {
            Err(Fault::Inexpressible(format!("$[{row}].{name}: a cell holds no list and no object")))
        }
    }
}
