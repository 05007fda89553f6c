//! From types to JSON Schema 2020-12.
//!
//! What each type is in JSON: whole numbers, `bool`, `string` and `list` are what one expects; `char` is a string of one
//! character; `list<u8>` is base64; a `record` is an object; a `tuple` an array; an `enum` one of its names; `flags` an
//! array of names; `option<t>` is `t` or `null`, and a field of a record that is an option may be left out. A `variant` is
//! its case's name, or an object of one property, the name, with the payload; a `result` inside a value is `{"ok": …}` or
//! `{"error": …}`. A float that is not finite is `"NaN"`, `"Infinity"` or `"-Infinity"`, as in the JSON mapping of protocol
//! buffers. An `option` in an option is `null` or `{"some": …}`.

use serde_json::{Map, Value, json};

use super::shape::{Case, Field, FunctionShape, Int, Shape};

/// The names of floats that JSON has no number for.
pub(super) const NOT_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Which way values go: what is read may leave out what is optional, what is written is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// The arguments of a function: an object with one property per parameter.
pub(super) fn arguments(function: &FunctionShape) -> Value {
    object(&function.params, Way::In)
}

/// What a function answers: its result, or the `ok` of its result. `None` where it answers nothing.
pub(super) fn answer(function: &FunctionShape) -> Option<Value> {
    match function.result.as_ref()? {
        Shape::Result(ok, _) => ok.as_deref().map(|ok| schema(ok, Way::Out)),
        other => Some(schema(other, Way::Out)),
    }
}

fn object(fields: &[Field], way: Way) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), schema(&field.shape, way))).collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| way == Way::Out || !matches!(field.shape, Shape::Option(_)))
        .map(|field| field.name.as_str())
        .collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn schema(shape: &Shape, way: Way) -> Value {
    match shape {
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Int(int) => whole(*int),
        Shape::F32 | Shape::F64 => json!({ "anyOf": [{ "type": "number" }, { "enum": NOT_FINITE }] }),
        Shape::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        Shape::String => json!({ "type": "string" }),
        Shape::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Shape::List(item) => json!({ "type": "array", "items": schema(item, way) }),
        Shape::FixedList(item, length) => {
            json!({ "type": "array", "items": schema(item, way), "minItems": length, "maxItems": length })
        }
        Shape::Map(key, value) if **key == Shape::String => {
            json!({ "type": "object", "additionalProperties": schema(value, way) })
        }
        Shape::Map(key, value) => {
            json!({ "type": "array", "items": sequence(&[schema(key, way), schema(value, way)]) })
        }
        Shape::Record(fields) => object(fields, way),
        Shape::Tuple(items) => sequence(&items.iter().map(|item| schema(item, way)).collect::<Vec<_>>()),
        Shape::Variant(cases) => variant(cases, way),
        Shape::Enum(names) => json!({ "enum": names }),
        Shape::Flags(names) => json!({ "type": "array", "items": { "enum": names }, "uniqueItems": true }),
        Shape::Option(inner) if inner.may_be_null() => {
            json!({ "anyOf": [{ "type": "null" }, single("some", &schema(inner, way))] })
        }
        Shape::Option(inner) => json!({ "anyOf": [schema(inner, way), { "type": "null" }] }),
        Shape::Result(ok, error) => {
            let side = |shape: &Option<Box<Shape>>| {
                shape.as_deref().map_or_else(|| json!({ "type": "null" }), |shape| schema(shape, way))
            };
            json!({ "oneOf": [single("ok", &side(ok)), single("error", &side(error))] })
        }
    }
}

fn whole(int: Int) -> Value {
    match int {
        Int::S8 => json!({ "type": "integer", "minimum": i8::MIN, "maximum": i8::MAX }),
        Int::U8 => json!({ "type": "integer", "minimum": 0, "maximum": u8::MAX }),
        Int::S16 => json!({ "type": "integer", "minimum": i16::MIN, "maximum": i16::MAX }),
        Int::U16 => json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX }),
        Int::S32 => json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }),
        Int::U32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Int::S64 => json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }),
        Int::U64 => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
    }
}

fn sequence(items: &[Value]) -> Value {
    json!({
        "type": "array", "prefixItems": items, "items": false, "minItems": items.len(), "maxItems": items.len(),
    })
}

fn variant(cases: &[Case], way: Way) -> Value {
    let bare: Vec<&str> = cases.iter().filter(|case| case.payload.is_none()).map(|case| case.name.as_str()).collect();
    let bare = (!bare.is_empty()).then(|| json!({ "enum": bare }));
    let loaded =
        cases.iter().filter_map(|case| case.payload.as_ref().map(|payload| single(&case.name, &schema(payload, way))));
    json!({ "oneOf": bare.into_iter().chain(loaded).collect::<Vec<_>>() })
}

/// An object of one property.
fn single(name: &str, schema: &Value) -> Value {
    json!({
        "type": "object", "properties": { name: schema }, "required": [name], "additionalProperties": false,
    })
}
