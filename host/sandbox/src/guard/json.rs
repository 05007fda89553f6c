//! JSON that can be read in one way only, and tables of what it may hold.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::refusal::{Refusal, excerpt};

/// Reads JSON in which no object has a key twice: of two, the engine may take the other one.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Refusal> {
    let read: Result<Strict, _> = serde_json::from_slice(bytes);
    read.map(|strict| strict.0).map_err(|error| Refusal::forbidden(format!("this is no proper JSON: {error}")))
}

/// Reads a JSON object.
pub(super) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match parse(bytes)? {
        Value::Object(object) => Ok(object),
        _ => Err(Refusal::forbidden("this is no JSON object")),
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if read.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{}` is there twice", excerpt(&key))));
            }
            read.insert(key, value);
        }
        Ok(Value::Object(read))
    }
}

/// One key that an object may have.
pub(super) struct Field {
    name: &'static str,
    needed: bool,
    holds: fn(&Value) -> bool,
    wanted: &'static str,
}

/// A key that has to be there.
pub(super) const fn needed(name: &'static str, holds: fn(&Value) -> bool, wanted: &'static str) -> Field {
    Field { name, needed: true, holds, wanted }
}

/// A key that can be left out.
pub(super) const fn optional(name: &'static str, holds: fn(&Value) -> bool, wanted: &'static str) -> Field {
    Field { name, needed: false, holds, wanted }
}

/// What is left of an object: the keys of the table, each with a value that it may have. A key that is not in the table is
/// left out if it says nothing, and refused otherwise. `place` names the object in messages.
pub(super) fn sift(table: &[Field], mut given: Map<String, Value>, place: &str) -> Result<Map<String, Value>, Refusal> {
    let mut kept = Map::new();
    for field in table {
        let name = field.name;
        match given.remove(name).filter(|value| !value.is_null()) {
            Some(value) if (field.holds)(&value) => {
                kept.insert(name.to_owned(), value);
            }
            Some(value) => {
                let value = excerpt(&value.to_string());
                return Err(Refusal::forbidden(format!(
                    "`{place}{name}` is {value}, and may only be {}",
                    field.wanted
                )));
            }
            None if field.needed => {
                return Err(Refusal::forbidden(format!("`{place}{name}` is missing: it has to be {}", field.wanted)));
            }
            None => {}
        }
    }
    match given.iter().find(|(_, value)| !says_nothing(value)) {
        Some((name, value)) => {
            let (name, value) = (excerpt(name), excerpt(&value.to_string()));
            Err(Refusal::forbidden(format!("`{place}{name}` is {value}, and Nexus does not set it")))
        }
        None => Ok(kept),
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

pub(super) fn is_text(value: &Value) -> bool {
    value.is_string()
}

pub(super) fn is_flag(value: &Value) -> bool {
    value.is_boolean()
}

pub(super) fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true)
}

pub(super) fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
}

pub(super) fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
}

/// Whether it is an array of exactly these texts.
pub(super) fn are(value: &Value, texts: &[&str]) -> bool {
    value.as_array().is_some_and(|items| items.iter().map(Value::as_str).eq(texts.iter().map(|text| Some(*text))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_refused_wherever_it_is() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"a":3}}]"#, r#"{"a":1,"\u0061":2}"#] {
            let refusal = parse(text.as_bytes()).unwrap_err();
            assert!(refusal.why.contains("`a` is there twice"), "{refusal}");
        }
        assert_eq!(parse(br#"{"a":[1,-2,true,null,"x",1.5]}"#).unwrap(), json!({ "a": [1, -2, true, null, "x", 1.5] }));
    }

    #[test]
    fn depth_has_a_bound() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn what_says_nothing_is_left_out_and_what_says_something_is_refused() {
        const TABLE: &[Field] = &[needed("Yes", is_true, "true"), optional("Name", is_text, "a text")];
        let sifted = |value: Value| sift(TABLE, value.as_object().cloned().unwrap(), "X.");
        let kept = sifted(json!({ "Yes": true, "Name": null, "A": null, "B": "", "C": [], "D": {} })).unwrap();
        assert_eq!(Value::Object(kept), json!({ "Yes": true }));
        for (value, why) in [
            (json!({}), "`X.Yes` is missing: it has to be true"),
            (json!({ "Yes": false }), "`X.Yes` is false, and may only be true"),
            (json!({ "Yes": true, "yes": false }), "`X.yes` is false, and Nexus does not set it"),
            (json!({ "Yes": true, "N": 0 }), "`X.N` is 0, and Nexus does not set it"),
        ] {
            assert_eq!(sifted(value).unwrap_err().why, why);
        }
    }
}
