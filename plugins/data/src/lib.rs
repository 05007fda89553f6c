//! The plugin `data`: tables and trees that are written as text, converted and asked. What its tools do says `wit/data.wit`.
//!
//! Every format is read into one value and written from it, so that each knows nothing of the others.

mod csv;
mod json;
mod toml;
mod yaml;

use ::serde_json::Value;
use jsonpath_rust::query::js_path;

use self::bindings::{Fault, Format, Guest, Match, Mistake};

/// The most that a tool answers, in bytes.
const MAX_ANSWER: usize = 1 << 20;

struct Data;

nexus_guest::plugin!(Data, additional_derives: [PartialEq]);

impl Guest for Data {
    fn convert(text: String, source: Format, target: Format) -> Result<String, Fault> {
        let value = read(&text, source)?;
        let written = match target {
            Format::Csv => csv::write(&value)?,
            Format::Json => json::write(&value),
            Format::Toml => toml::write(value)?,
            Format::Yaml => yaml::write(&value)?,
        };
        if written.len() > MAX_ANSWER {
            return Err(too_large());
        }
        Ok(written)
    }

    fn query(text: String, source: Format, path: String) -> Result<Vec<Match>, Fault> {
        let value = read(&text, source)?;
        let found = js_path(&path, &value).map_err(|error| Fault::Path(error.to_string()))?;
        let mut matches = Vec::new();
        let mut size = 0;
        for one in found {
            let one = Match { value: one.val.to_string(), path: one.path };
            size += one.value.len() + one.path.len();
            if size > MAX_ANSWER {
                return Err(too_large());
            }
            matches.push(one);
        }
        Ok(matches)
    }
}

fn read(text: &str, format: Format) -> Result<Value, Fault> {
    match format {
        Format::Csv => csv::read(text),
        Format::Json => json::read(text),
        Format::Toml => toml::read(text),
        Format::Yaml => yaml::read(text),
    }
}

fn malformed(line: impl TryInto<u32>, column: impl TryInto<u32>, reason: &(impl ToString + ?Sized)) -> Fault {
    let (line, column) = (line.try_into().unwrap_or(u32::MAX), column.try_into().unwrap_or(u32::MAX));
    Fault::Malformed(Mistake { line, column, reason: reason.to_string() })
}

fn too_large() -> Fault {
    Fault::TooLarge(u32::try_from(MAX_ANSWER).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
