//! From values of the component model to JSON.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nexus_model::ToolOutcome;
use serde_json::{Map, Value, json};
use wasmtime::component::Val;

use super::shape::Shape;

/// A value that is not of its shape: never, since the engine checks what a component returns.
#[derive(Debug, thiserror::Error)]
#[error("the component's answer is not of the type it declares")]
pub(super) struct WrongShape;

/// What a function answered. The `err` of a result is the tool's own error.
pub(super) fn outcome(result: Option<&Shape>, mut answer: Vec<Val>) -> Result<ToolOutcome, WrongShape> {
    match (result, answer.pop()) {
        (None, None) => Ok(ToolOutcome::Value(Value::Null)),
        (Some(Shape::Result(ok, error)), Some(Val::Result(side))) => match side {
            Ok(answer) => Ok(ToolOutcome::Value(maybe(ok.as_deref(), answer)?)),
            Err(answer) => Ok(ToolOutcome::Error(maybe(error.as_deref(), answer)?)),
        },
        (Some(shape), Some(answer)) => Ok(ToolOutcome::Value(value(shape, answer)?)),
        _ => Err(WrongShape),
    }
}

fn maybe(shape: Option<&Shape>, answer: Option<Box<Val>>) -> Result<Value, WrongShape> {
    match (shape, answer) {
        (None, None) => Ok(Value::Null),
        (Some(shape), Some(answer)) => value(shape, *answer),
        _ => Err(WrongShape),
    }
}

/// A value of this shape, as JSON.
pub(super) fn value(shape: &Shape, val: Val) -> Result<Value, WrongShape> {
    Ok(match (shape, val) {
        (Shape::Bool, Val::Bool(value)) => value.into(),
        (Shape::Int(_), Val::S8(value)) => value.into(),
        (Shape::Int(_), Val::U8(value)) => value.into(),
        (Shape::Int(_), Val::S16(value)) => value.into(),
        (Shape::Int(_), Val::U16(value)) => value.into(),
        (Shape::Int(_), Val::S32(value)) => value.into(),
        (Shape::Int(_), Val::U32(value)) => value.into(),
        (Shape::Int(_), Val::S64(value)) => value.into(),
        (Shape::Int(_), Val::U64(value)) => value.into(),
        (Shape::F32, Val::Float32(value)) => float(shortest(value)),
        (Shape::F64, Val::Float64(value)) => float(value),
        (Shape::Char, Val::Char(value)) => value.to_string().into(),
        (Shape::String, Val::String(value)) | (Shape::Enum(_), Val::Enum(value)) => value.into(),
        (Shape::Bytes, Val::List(items)) => bytes(items)?,
        (Shape::List(item), Val::List(items)) | (Shape::FixedList(item, _), Val::FixedLengthList(items)) => {
            items.into_iter().map(|val| value(item, val)).collect::<Result<_, _>>()?
        }
        (Shape::Map(key, item), Val::Map(entries)) => map(key, item, entries)?,
        (Shape::Record(fields), Val::Record(values)) if fields.len() == values.len() => {
            let values = fields.iter().zip(values);
            let values = values.map(|(field, (name, val))| Ok((name, value(&field.shape, val)?)));
            Value::Object(values.collect::<Result<_, _>>()?)
        }
        (Shape::Tuple(shapes), Val::Tuple(items)) if shapes.len() == items.len() => {
            shapes.iter().zip(items).map(|(shape, val)| value(shape, val)).collect::<Result<_, _>>()?
        }
        (Shape::Variant(cases), Val::Variant(name, payload)) => {
            let case = cases.iter().find(|case| case.name == name).ok_or(WrongShape)?;
            match (&case.payload, payload) {
                (None, None) => name.into(),
                (Some(shape), Some(payload)) => single(name, value(shape, *payload)?),
                _ => return Err(WrongShape),
            }
        }
        (Shape::Flags(_), Val::Flags(names)) => names.into(),
        (Shape::Option(_), Val::Option(None)) => Value::Null,
        (Shape::Option(inner), Val::Option(Some(val))) => {
            let json = value(inner, *val)?;
            if inner.may_be_null() { single("some".to_owned(), json) } else { json }
        }
        (Shape::Result(ok, _), Val::Result(Ok(answer))) => single("ok".to_owned(), maybe(ok.as_deref(), answer)?),
        (Shape::Result(_, error), Val::Result(Err(answer))) => {
            single("error".to_owned(), maybe(error.as_deref(), answer)?)
        }
        _ => return Err(WrongShape),
    })
}

/// The shortest decimal number that is this one in single precision: 0.1, not 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

fn float(value: f64) -> Value {
    let word = || match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    serde_json::Number::from_f64(value).map_or_else(|| word().into(), Value::Number)
}

fn bytes(items: Vec<Val>) -> Result<Value, WrongShape> {
    let byte = |val| if let Val::U8(byte) = val { Ok(byte) } else { Err(WrongShape) };
    let bytes = items.into_iter().map(byte).collect::<Result<Vec<u8>, _>>()?;
    Ok(BASE64_STANDARD.encode(bytes).into())
}

/// Of keys that come twice, the last holds, as the component model has it.
fn map(key: &Shape, item: &Shape, entries: Vec<(Val, Val)>) -> Result<Value, WrongShape> {
    if *key == Shape::String {
        let named = |(name, val)| match name {
            Val::String(name) => Ok((name, value(item, val)?)),
            _ => Err(WrongShape),
        };
        return Ok(Value::Object(entries.into_iter().map(named).collect::<Result<_, _>>()?));
    }
    let pair = |(first, second)| Ok(json!([value(key, first)?, value(item, second)?]));
    entries.into_iter().map(pair).collect()
}

fn single(name: String, json: Value) -> Value {
    Value::Object(Map::from_iter([(name, json)]))
}
