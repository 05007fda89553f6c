//! Values as YAML text.

use serde_json::{Map, Value};

use crate::yaml_scalar;

/// In what order fields of a plugin or a server are written; others come behind, by name.
const ORDER: [&str; 22] = [
    "component",
    "digest",
    "image",
    "url",
    "source",
    "command",
    "env",
    "auth",
    "grants",
    "http",
    "tcp",
    "volume",
    "config",
    "state",
    "folder",
    "logging",
    "clocks",
    "random",
    "tools",
    "events",
    "models",
    "caller",
];

/// A key and its value as lines that begin with `indent` spaces: mappings as blocks, all else on one line.
pub(super) fn block(key: &str, value: &Value, indent: usize) -> String {
    let head = format!("{:indent$}{}:", "", text(key));
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let lines = ordered(fields).map(|(key, value)| block(key, value, indent + 2));
            format!("{head}\n{}", lines.collect::<String>())
        }
        _ => format!("{head} {}\n", flow(value)),
    }
}

/// A key and its value within braces.
pub(super) fn field(key: &str, value: &Value) -> String {
    format!("{}: {}", text(key), flow(value))
}

/// A value on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let fields: Vec<_> = ordered(fields).map(|(key, value)| field(key, value)).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn ordered(fields: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let place = |key: &str| ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len());
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(key, _)| place(key));
    fields.into_iter()
}

/// Text as it may stand anywhere: plain where that is beyond doubt, otherwise in double quotes as JSON has it, which
/// YAML reads the same.
fn text(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte))
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && yaml_scalar::plain(text) == Ok(Value::String(text.to_owned()));
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}
