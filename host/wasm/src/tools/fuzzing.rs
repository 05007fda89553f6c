//! Generated types, for fuzz targets.

use std::fmt::Write as _;

use arbitrary::{Arbitrary, Result, Unstructured};
use nexus_model::ToolFault;
use serde_json::{Value, json};
use wasmtime::component::Component;

use super::{
    Tools, read, schema,
    shape::{Case, Field, FunctionShape, Int, Shape},
    write,
};
use crate::fuzzing::engine;

/// How deep generated types nest.
const DEPTH: usize = 5;
const NAMES: [&str; 6] = ["a", "b-c", "qty", "some", "ok", "error"];

/// A type of the component model.
#[derive(Debug)]
pub struct Type(Shape);

impl Type {
    /// A type that every part of Nexus knows.
    pub fn any(input: &mut Unstructured<'_>) -> Result<Self> {
        shape(input, DEPTH, true).map(Self)
    }

    /// A type that today's WIT has words for.
    pub fn of_wit(input: &mut Unstructured<'_>) -> Result<Self> {
        shape(input, DEPTH, false).map(Self)
    }

    /// The world `w`, which exports a function that takes the type and returns it.
    pub fn wit(&self) -> String {
        let mut types = String::new();
        let name = name(&self.0, &mut types, &mut 0);
        format!(
            "package a:b;\ninterface i {{\n{types}type whole = {name};\nf: func(value: whole) -> whole;\n}}\nworld w {{ export i; }}\n"
        )
    }

    /// What is read of a component that has the world's export is the type, and its schemas are JSON Schema.
    pub fn must_be_read_from(&self, component: &[u8]) {
        let component = match Component::new(engine(), component) {
            Ok(component) => component,
            Err(error) => panic!("{error:#}: {}", self.wit()),
        };
        let tools = match Tools::of(engine(), &component) {
            Ok(tools) => tools,
            Err(error) => panic!("{error}: {}", self.wit()),
        };
        let Some(tool) = tools.get("i.f") else { panic!("{:?}", tools.left_out()) };
        assert_eq!(tool.shape, self.function());
    }

    /// The schemas of the function's arguments and of its answer.
    pub fn schemas(&self) -> [Option<Value>; 2] {
        let function = self.function();
        [Some(schema::arguments(&function)), schema::answer(&function)]
    }

    /// What can be read as the type is written as JSON from which the same is read; what cannot has a place.
    pub fn must_survive(&self, json: &[u8]) {
        let json: Value = serde_json::from_slice(json).unwrap_or_else(|_| String::from_utf8_lossy(json).into());
        match read::arguments(&self.function().params, &json!({ "value": json })) {
            Ok(values) => {
                for value in values {
                    let Ok(written) = write::value(&self.0, value.clone()) else { panic!("{value:?}") };
                    assert_eq!(read::value(&self.0, &written), Ok(value), "{written}");
                }
            }
            Err(ToolFault::Arguments { path, expected, .. }) => {
                assert!(path.starts_with("value") && !expected.is_empty());
            }
            Err(fault) => panic!("{fault}"),
        }
    }

    fn function(&self) -> FunctionShape {
        let params = vec![Field { name: "value".to_owned(), shape: self.0.clone() }];
        FunctionShape { params, result: Some(self.0.clone()) }
    }
}

fn shape(input: &mut Unstructured<'_>, depth: usize, all: bool) -> Result<Shape> {
    let kinds = match (depth, all) {
        (0, _) => 9,
        (_, false) => 15,
        (_, true) => 17,
    };
    let mut inner = |input: &mut Unstructured<'_>| shape(input, depth.saturating_sub(1), all);
    Ok(match input.int_in_range(1..=kinds)? {
        1 => Shape::Bool,
        2 => Shape::Int(int(input)?),
        3 => Shape::F32,
        4 => Shape::F64,
        5 => Shape::Char,
        6 => Shape::String,
        7 => Shape::Bytes,
        8 => Shape::Enum(names(input)?),
        9 => Shape::Flags(names(input)?),
        10 => match inner(input)? {
            Shape::Int(Int::U8) => Shape::Bytes,
            item => Shape::List(Box::new(item)),
        },
        11 => Shape::Option(Box::new(inner(input)?)),
        12 => Shape::Result(maybe(input, &mut inner)?.map(Box::new), maybe(input, &mut inner)?.map(Box::new)),
        13 => {
            let field = |name| Ok(Field { name, shape: inner(input)? });
            Shape::Record(names(&mut Unstructured::new(&[3]))?.into_iter().map(field).collect::<Result<_>>()?)
        }
        14 => {
            let case = |name| Ok(Case { name, payload: maybe(input, &mut inner)? });
            Shape::Variant(names(&mut Unstructured::new(&[3]))?.into_iter().map(case).collect::<Result<_>>()?)
        }
        15 => Shape::Tuple((0..input.int_in_range(1..=3)?).map(|_| inner(input)).collect::<Result<_>>()?),
        16 => Shape::FixedList(Box::new(inner(input)?), input.int_in_range(0..=4)?),
        _ => {
            let key = if bool::arbitrary(input)? { Shape::String } else { Shape::Int(int(input)?) };
            Shape::Map(Box::new(key), Box::new(inner(input)?))
        }
    })
}

fn int(input: &mut Unstructured<'_>) -> Result<Int> {
    input.choose(&[Int::S8, Int::U8, Int::S16, Int::U16, Int::S32, Int::U32, Int::S64, Int::U64]).copied()
}

fn names(input: &mut Unstructured<'_>) -> Result<Vec<String>> {
    let length = input.int_in_range(1..=NAMES.len())?;
    Ok(NAMES[..length].iter().map(|name| (*name).to_owned()).collect())
}

fn maybe(
    input: &mut Unstructured<'_>,
    inner: &mut impl FnMut(&mut Unstructured<'_>) -> Result<Shape>,
) -> Result<Option<Shape>> {
    if bool::arbitrary(input)? { inner(input).map(Some) } else { Ok(None) }
}

/// How the type is named in WIT; what has to be declared first goes to `types`.
fn name(shape: &Shape, types: &mut String, declared: &mut usize) -> String {
    let mut inner = |shape: &Shape| name(shape, types, declared);
    let (kind, parts): (_, Vec<String>) = match shape {
        Shape::Bool => return "bool".to_owned(),
        Shape::Int(int) => return int.name().to_owned(),
        Shape::F32 => return "f32".to_owned(),
        Shape::F64 => return "f64".to_owned(),
        Shape::Char => return "char".to_owned(),
        Shape::String => return "string".to_owned(),
        Shape::Bytes => return "list<u8>".to_owned(),
        Shape::List(item) => return format!("list<{}>", inner(item)),
        Shape::FixedList(item, length) => return format!("list<{}, {length}>", inner(item)),
        Shape::Map(key, value) => return format!("map<{}, {}>", inner(key), inner(value)),
        Shape::Option(inside) => return format!("option<{}>", inner(inside)),
        Shape::Tuple(items) => return format!("tuple<{}>", items.iter().map(inner).collect::<Vec<_>>().join(", ")),
        Shape::Result(ok, error) => {
            let mut side = |side: &Option<Box<Shape>>| side.as_ref().map_or_else(|| "_".to_owned(), |side| inner(side));
            return match (side(ok), side(error)) {
                (ok, error) if ok == "_" && error == "_" => "result".to_owned(),
                (ok, error) if error == "_" => format!("result<{ok}>"),
                (ok, error) => format!("result<{ok}, {error}>"),
            };
        }
        Shape::Enum(names) => ("enum", names.iter().map(|name| format!("%{name}")).collect()),
        Shape::Flags(names) => ("flags", names.iter().map(|name| format!("%{name}")).collect()),
        Shape::Record(fields) => {
            ("record", fields.iter().map(|field| format!("%{}: {}", field.name, inner(&field.shape))).collect())
        }
        Shape::Variant(cases) => {
            let case = |case: &Case| match &case.payload {
                Some(payload) => format!("%{}({})", case.name, inner(payload)),
                None => format!("%{}", case.name),
            };
            ("variant", cases.iter().map(case).collect())
        }
    };
    *declared += 1;
    let _ = writeln!(types, "{kind} t{declared} {{ {} }}", parts.join(", "));
    format!("t{declared}")
}
