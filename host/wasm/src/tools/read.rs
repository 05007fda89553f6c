//! From JSON to values of the component model. What does not fit is told with its place.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nexus_model::ToolFault;
use serde_json::{Map, Value};
use wasmtime::component::Val;

use super::shape::{Case, Field, Int, Shape};

/// How much of what does not fit is shown, in characters.
const SHOWN: usize = 80;

/// The arguments of a call, in the order of the parameters.
pub(super) fn arguments(params: &[Field], arguments: &Value) -> Result<Vec<Val>, ToolFault> {
    let mut path = Path::default();
    let values = object(arguments)
        .and_then(|given| fields(&mut path, params, given, "parameter"))
        .map(|fields| fields.into_iter().map(|(_, value)| value).collect());
    values.map_err(|mismatch| ToolFault::Arguments { path: path.text, expected: mismatch.expected, got: mismatch.got })
}

/// A value of this shape.
#[cfg(any(test, fuzzing))]
pub(super) fn value(shape: &Shape, json: &Value) -> Result<Val, String> {
    let mut path = Path::default();
    read(&mut path, shape, json).map_err(|mismatch| format!("{}: expected {}", path.text, mismatch.expected))
}

/// Where the reader is: `lines[3].qty`. It stays where a mismatch was found.
#[derive(Default)]
struct Path {
    text: String,
}

impl Path {
    fn within<T>(
        &mut self,
        step: Step<'_>,
        read: impl FnOnce(&mut Self) -> Result<T, Mismatch>,
    ) -> Result<T, Mismatch> {
        let length = self.text.len();
        match step {
            Step::Item(number) => drop(write!(self.text, "[{number}]")),
            Step::Name(name) if self.text.is_empty() => self.text.push_str(name),
            Step::Name(name) => drop(write!(self.text, ".{name}")),
        }
        let value = read(self)?;
        self.text.truncate(length);
        Ok(value)
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Item(usize),
    Name(&'a str),
}

struct Mismatch {
    expected: String,
    got: String,
}

fn mismatch<T>(expected: impl Into<String>, got: &Value) -> Result<T, Mismatch> {
    Err(Mismatch { expected: expected.into(), got: shown(got) })
}

/// A value as it is told: short, and without building long text first.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(fields) if fields.len() > 3 => format!("an object of {} properties", fields.len()),
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().map(|name| format!("`{}`", cut(name))).collect();
            format!("an object with {}", if names.is_empty() { "nothing".to_owned() } else { names.join(", ") })
        }
        Value::String(text) => format!("\"{}\"", cut(text)),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn object(json: &Value) -> Result<&Map<String, Value>, Mismatch> {
    json.as_object().map_or_else(|| mismatch("an object", json), Ok)
}

fn read(path: &mut Path, shape: &Shape, json: &Value) -> Result<Val, Mismatch> {
    match shape {
        Shape::Bool => json.as_bool().map_or_else(|| mismatch("bool", json), |value| Ok(Val::Bool(value))),
        Shape::Int(int) => whole(*int, json),
        Shape::F32 => float(json, "f32").and_then(|value| single_precision(value, json)),
        Shape::F64 => float(json, "f64").map(Val::Float64),
        Shape::Char => character(json),
        Shape::String => text(json, "string").map(|text| Val::String(text.to_owned())),
        Shape::Bytes => bytes(json),
        Shape::List(item) => items(path, item, array(json, "list")?).map(Val::List),
        Shape::FixedList(item, length) => {
            let given = sized(json, *length as usize)?;
            items(path, item, given).map(Val::FixedLengthList)
        }
        Shape::Map(key, value) => map(path, key, value, json).map(Val::Map),
        Shape::Record(shapes) => {
            let given = object(json)?;
            fields(path, shapes, given, "field").map(Val::Record)
        }
        Shape::Tuple(shapes) => {
            let given = sized(json, shapes.len())?;
            let items = shapes.iter().zip(given).enumerate();
            let items = items.map(|(at, (shape, json))| path.within(Step::Item(at), |path| read(path, shape, json)));
            items.collect::<Result<_, _>>().map(Val::Tuple)
        }
        Shape::Variant(cases) => variant(path, cases, json),
        Shape::Enum(names) => {
            let name = text(json, &one_of(names))?;
            if names.iter().any(|known| known == name) {
                Ok(Val::Enum(name.to_owned()))
            } else {
                mismatch(one_of(names), json)
            }
        }
        Shape::Flags(names) => flags(path, names, json),
        Shape::Option(inner) => option(path, inner, json),
        Shape::Result(ok, error) => result(path, ok.as_deref(), error.as_deref(), json),
    }
}

fn whole(int: Int, json: &Value) -> Result<Val, Mismatch> {
    let number = json.as_i64().map(i128::from).or_else(|| json.as_u64().map(i128::from)).or_else(|| exact(json));
    let value = number.and_then(|number| {
        Some(match int {
            Int::S8 => Val::S8(number.try_into().ok()?),
            Int::U8 => Val::U8(number.try_into().ok()?),
            Int::S16 => Val::S16(number.try_into().ok()?),
            Int::U16 => Val::U16(number.try_into().ok()?),
            Int::S32 => Val::S32(number.try_into().ok()?),
            Int::U32 => Val::U32(number.try_into().ok()?),
            Int::S64 => Val::S64(number.try_into().ok()?),
            Int::U64 => Val::U64(number.try_into().ok()?),
        })
    });
    value.map_or_else(|| mismatch(int.name(), json), Ok)
}

/// `3.0` is a whole number in JSON Schema. Beyond 2^53 a float says no whole number exactly.
fn exact(json: &Value) -> Option<i128> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = json.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT)?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
    Some(number as i128)
}

fn float(json: &Value, name: &str) -> Result<f64, Mismatch> {
    match json {
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => mismatch(name, json),
        },
        _ => json.as_f64().map_or_else(|| mismatch(name, json), Ok),
    }
}

/// Rounded to the nearest; what is too large for it is not made infinite.
fn single_precision(value: f64, json: &Value) -> Result<Val, Mismatch> {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is meant")]
    let rounded = value as f32;
    if rounded.is_infinite() && value.is_finite() { mismatch("f32", json) } else { Ok(Val::Float32(rounded)) }
}

fn character(json: &Value) -> Result<Val, Mismatch> {
    let mut characters = text(json, "char")?.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(Val::Char(character)),
        _ => mismatch("char", json),
    }
}

fn bytes(json: &Value) -> Result<Val, Mismatch> {
    let decoded = BASE64_STANDARD.decode(text(json, "list<u8> in base64")?);
    decoded.map_or_else(
        |_| mismatch("list<u8> in base64", json),
        |bytes| Ok(Val::List(bytes.into_iter().map(Val::U8).collect())),
    )
}

fn text<'a>(json: &'a Value, expected: &str) -> Result<&'a str, Mismatch> {
    json.as_str().map_or_else(|| mismatch(expected, json), Ok)
}

fn array<'a>(json: &'a Value, expected: &str) -> Result<&'a [Value], Mismatch> {
    json.as_array().map_or_else(|| mismatch(expected, json), |items| Ok(items.as_slice()))
}

fn sized(json: &Value, length: usize) -> Result<&[Value], Mismatch> {
    let expected = format!("an array of {length}");
    let items = array(json, &expected)?;
    if items.len() == length { Ok(items) } else { mismatch(expected, json) }
}

fn items(path: &mut Path, shape: &Shape, given: &[Value]) -> Result<Vec<Val>, Mismatch> {
    given.iter().enumerate().map(|(at, json)| path.within(Step::Item(at), |path| read(path, shape, json))).collect()
}

fn map(path: &mut Path, key: &Shape, value: &Shape, json: &Value) -> Result<Vec<(Val, Val)>, Mismatch> {
    if *key == Shape::String {
        let entries = object(json)?.iter();
        let entries = entries.map(|(name, json)| {
            let value = path.within(Step::Name(name), |path| read(path, value, json))?;
            Ok((Val::String(name.clone()), value))
        });
        return entries.collect();
    }
    let entries = array(json, "map")?.iter().enumerate();
    let entries = entries.map(|(at, json)| {
        path.within(Step::Item(at), |path| {
            let [first, second] = sized(json, 2)? else { return mismatch("an array of 2", json) };
            let first = path.within(Step::Item(0), |path| read(path, key, first))?;
            let second = path.within(Step::Item(1), |path| read(path, value, second))?;
            Ok((first, second))
        })
    });
    entries.collect()
}

/// The fields in their order. An option may be left out; what nobody knows is refused, since it is a mistyped name more often
/// than not.
fn fields(
    path: &mut Path,
    shapes: &[Field],
    given: &Map<String, Value>,
    what: &str,
) -> Result<Vec<(String, Val)>, Mismatch> {
    if let Some((name, json)) = given.iter().find(|(name, _)| shapes.iter().all(|field| field.name != **name)) {
        let names: Vec<&str> = shapes.iter().map(|field| field.name.as_str()).collect();
        let expected =
            if names.is_empty() { format!("no {what}") } else { format!("no such {what} (only {})", names.join(", ")) };
        return path.within(Step::Name(&cut(name)), |_| mismatch(expected, json));
    }
    let values = shapes.iter().map(|field| {
        let value = path.within(Step::Name(&field.name), |path| match (given.get(&field.name), &field.shape) {
            (Some(json), shape) => read(path, shape, json),
            (None, Shape::Option(_)) => Ok(Val::Option(None)),
            (None, shape) => Err(Mismatch { expected: describe(shape), got: "nothing".to_owned() }),
        })?;
        Ok((field.name.clone(), value))
    });
    values.collect()
}

fn variant(path: &mut Path, cases: &[Case], json: &Value) -> Result<Val, Mismatch> {
    let expected = || {
        let case = |case: &Case| match case.payload {
            Some(_) => format!("{{\"{}\": …}}", case.name),
            None => format!("\"{}\"", case.name),
        };
        format!("one of {}", cases.iter().map(case).collect::<Vec<_>>().join(", "))
    };
    let find = |name: &str| cases.iter().find(|case| case.name == name);
    match json {
        Value::String(name) => match find(name) {
            Some(Case { payload: None, .. }) => Ok(Val::Variant(name.clone(), None)),
            _ => mismatch(expected(), json),
        },
        Value::Object(properties) if properties.len() == 1 => {
            let Some((name, json_payload)) = properties.iter().next() else { return mismatch(expected(), json) };
            match find(name) {
                Some(Case { payload: Some(shape), .. }) => {
                    let payload = path.within(Step::Name(name), |path| read(path, shape, json_payload))?;
                    Ok(Val::Variant(name.clone(), Some(Box::new(payload))))
                }
                _ => mismatch(expected(), json),
            }
        }
        _ => mismatch(expected(), json),
    }
}

fn flags(path: &mut Path, names: &[String], json: &Value) -> Result<Val, Mismatch> {
    let given = array(json, "flags")?;
    let mut set = Vec::with_capacity(given.len().min(names.len()));
    for (at, flag) in given.iter().enumerate() {
        path.within(Step::Item(at), |_| match flag.as_str() {
            Some(flag) if names.iter().any(|name| name == flag) && !set.iter().any(|name| name == flag) => {
                set.push(flag.to_owned());
                Ok(())
            }
            _ => mismatch(format!("{}, each once", one_of(names)), flag),
        })?;
    }
    Ok(Val::Flags(set))
}

fn option(path: &mut Path, inner: &Shape, json: &Value) -> Result<Val, Mismatch> {
    let value = match json {
        Value::Null => None,
        Value::Object(fields) if inner.may_be_null() && fields.len() == 1 => match fields.get("some") {
            Some(json) => Some(path.within(Step::Name("some"), |path| read(path, inner, json))?),
            None => return mismatch("null or {\"some\": …}", json),
        },
        _ if inner.may_be_null() => return mismatch("null or {\"some\": …}", json),
        _ => Some(read(path, inner, json)?),
    };
    Ok(Val::Option(value.map(Box::new)))
}

fn result(path: &mut Path, ok: Option<&Shape>, error: Option<&Shape>, json: &Value) -> Result<Val, Mismatch> {
    const EXPECTED: &str = "{\"ok\": …} or {\"error\": …}";
    let Some((name, given)) =
        json.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next())
    else {
        return mismatch(EXPECTED, json);
    };
    let side = |path: &mut Path, shape: Option<&Shape>| match shape {
        Some(shape) => {
            path.within(Step::Name(name), |path| read(path, shape, given)).map(|value| Some(Box::new(value)))
        }
        None if given.is_null() => Ok(None),
        None => path.within(Step::Name(name), |_| mismatch("null", given)),
    };
    match name.as_str() {
        "ok" => Ok(Val::Result(Ok(side(path, ok)?))),
        "error" => Ok(Val::Result(Err(side(path, error)?))),
        _ => mismatch(EXPECTED, json),
    }
}

fn one_of(names: &[String]) -> String {
    format!("one of {}", names.join(", "))
}

/// What a value that is missing should have been.
fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Bool => "bool".to_owned(),
        Shape::Int(int) => int.name().to_owned(),
        Shape::F32 => "f32".to_owned(),
        Shape::F64 => "f64".to_owned(),
        Shape::Char => "char".to_owned(),
        Shape::String => "string".to_owned(),
        Shape::Bytes => "list<u8> in base64".to_owned(),
        Shape::List(_) | Shape::FixedList(..) => "list".to_owned(),
        Shape::Map(..) => "map".to_owned(),
        Shape::Record(_) => "an object".to_owned(),
        Shape::Tuple(items) => format!("an array of {}", items.len()),
        Shape::Variant(_) => "variant".to_owned(),
        Shape::Enum(names) => one_of(names),
        Shape::Option(_) => "option".to_owned(),
        Shape::Result(..) => "result".to_owned(),
        Shape::Flags(_) => "flags".to_owned(),
    }
}
