//! What holds for every type: values go to JSON and back, the schema takes what is written, and what is refused has a place.

use nexus_model::ToolFault;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use wasmtime::component::Val;

use super::{
    read, schema,
    shape::{Case, Field, FunctionShape, Int, Shape},
    write,
};

const NAMES: [&str; 6] = ["a", "b-c", "qty", "some", "ok", "error"];

fn names() -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(NAMES.to_vec(), 1..=NAMES.len())
        .prop_map(|names| names.into_iter().map(ToOwned::to_owned).collect())
}

fn int() -> impl Strategy<Value = Int> {
    select(vec![Int::S8, Int::U8, Int::S16, Int::U16, Int::S32, Int::U32, Int::S64, Int::U64])
}

fn leaf() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Bool),
        int().prop_map(Shape::Int),
        Just(Shape::F32),
        Just(Shape::F64),
        Just(Shape::Char),
        Just(Shape::String),
        Just(Shape::Bytes),
        names().prop_map(Shape::Enum),
        names().prop_map(Shape::Flags),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let fields = (names(), vec(inner.clone(), NAMES.len())).prop_map(|(names, shapes)| {
            let fields = names.into_iter().zip(shapes);
            fields.map(|(name, shape)| Field { name, shape }).collect::<Vec<_>>()
        });
        let cases = (names(), vec(proptest::option::of(inner.clone()), NAMES.len())).prop_map(|(names, payloads)| {
            let cases = names.into_iter().zip(payloads);
            cases.map(|(name, payload)| Case { name, payload }).collect::<Vec<_>>()
        });
        prop_oneof![
            // A list of bytes is a shape of its own.
            boxed.clone().prop_filter("bytes", |item| **item != Shape::Int(Int::U8)).prop_map(Shape::List),
            (boxed.clone(), 0_u32..4).prop_map(|(item, length)| Shape::FixedList(item, length)),
            (Just(Box::new(Shape::String)), boxed.clone()).prop_map(|(key, value)| Shape::Map(key, value)),
            (int().prop_map(|int| Box::new(Shape::Int(int))), boxed.clone())
                .prop_map(|(key, value)| Shape::Map(key, value)),
            fields.prop_map(Shape::Record),
            vec(inner, 1..4).prop_map(Shape::Tuple),
            cases.prop_map(Shape::Variant),
            boxed.clone().prop_map(Shape::Option),
            (proptest::option::of(boxed.clone()), proptest::option::of(boxed))
                .prop_map(|(ok, error)| Shape::Result(ok, error)),
        ]
    })
}

fn int_value(int: Int) -> BoxedStrategy<Val> {
    match int {
        Int::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        Int::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Int::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Int::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        Int::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        Int::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Int::S64 => any::<i64>().prop_map(Val::S64).boxed(),
        Int::U64 => any::<u64>().prop_map(Val::U64).boxed(),
    }
}

/// A value of this shape.
fn val(shape: &Shape) -> BoxedStrategy<Val> {
    let boxed = |shape: &Shape| val(shape).prop_map(Box::new).boxed();
    let side = |shape: &Option<Box<Shape>>| match shape {
        Some(shape) => val(shape).prop_map(|val| Some(Box::new(val))).boxed(),
        None => Just(None).boxed(),
    };
    match shape {
        Shape::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Shape::Int(int) => int_value(*int),
        Shape::F32 => any::<f32>().prop_map(Val::Float32).boxed(),
        Shape::F64 => any::<f64>().prop_map(Val::Float64).boxed(),
        Shape::Char => any::<char>().prop_map(Val::Char).boxed(),
        Shape::String => any::<String>().prop_map(Val::String).boxed(),
        Shape::Bytes => vec(any::<u8>().prop_map(Val::U8), 0..8).prop_map(Val::List).boxed(),
        Shape::List(item) => vec(val(item), 0..4).prop_map(Val::List).boxed(),
        Shape::FixedList(item, length) => vec(val(item), *length as usize).prop_map(Val::FixedLengthList).boxed(),
        Shape::Map(key, value) => {
            let entries = vec((val(key), val(value)), 0..4);
            // In JSON each key stands once.
            let once = |entries: Vec<(Val, Val)>| {
                let mut kept: Vec<(Val, Val)> = Vec::new();
                for (key, value) in entries {
                    if kept.iter().all(|(known, _)| *known != key) {
                        kept.push((key, value));
                    }
                }
                kept.sort_by_key(|(key, _)| if let Val::String(text) = key { text.clone() } else { String::new() });
                Val::Map(kept)
            };
            entries.prop_map(once).boxed()
        }
        Shape::Record(fields) => {
            let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
            let values: Vec<_> = fields.iter().map(|field| val(&field.shape)).collect();
            values.prop_map(move |values| Val::Record(names.iter().cloned().zip(values).collect())).boxed()
        }
        Shape::Tuple(items) => items.iter().map(val).collect::<Vec<_>>().prop_map(Val::Tuple).boxed(),
        Shape::Variant(cases) => {
            let cases: Vec<_> = cases
                .iter()
                .map(|case| {
                    let name = case.name.clone();
                    side(&case.payload.clone().map(Box::new))
                        .prop_map(move |payload| Val::Variant(name.clone(), payload))
                        .boxed()
                })
                .collect();
            proptest::strategy::Union::new(cases).boxed()
        }
        Shape::Enum(names) => select(names.clone()).prop_map(Val::Enum).boxed(),
        Shape::Flags(names) => {
            proptest::sample::subsequence(names.clone(), 0..=names.len()).prop_map(Val::Flags).boxed()
        }
        Shape::Option(inner) => proptest::option::of(boxed(inner)).prop_map(Val::Option).boxed(),
        Shape::Result(ok, error) => prop_oneof![
            side(ok).prop_map(|value| Val::Result(Ok(value))),
            side(error).prop_map(|value| Val::Result(Err(value))),
        ]
        .boxed(),
    }
}

fn typed() -> impl Strategy<Value = (Shape, Val)> {
    shape().prop_flat_map(|shape| val(&shape).prop_map(move |val| (shape.clone(), val)))
}

fn function(param: Shape) -> FunctionShape {
    FunctionShape { params: vec![Field { name: "value".to_owned(), shape: param.clone() }], result: Some(param) }
}

proptest! {
    #[test]
    fn values_come_back((shape, val) in typed()) {
        let json = write::value(&shape, val.clone()).unwrap();
        let text = serde_json::to_string(&json).unwrap();
        let read = read::value(&shape, &serde_json::from_str(&text).unwrap());
        prop_assert_eq!(read, Ok(val), "{}", text);
    }

    #[test]
    fn schemas_take_what_is_written_and_what_is_read((shape, val) in typed()) {
        let json = write::value(&shape, val).unwrap();
        let function = function(shape.clone());
        let arguments = jsonschema::validator_for(&schema::arguments(&function)).unwrap();
        prop_assert!(arguments.is_valid(&json!({ "value": json })), "{}", json);
        if !matches!(shape, Shape::Result(..)) {
            let answer = jsonschema::validator_for(&schema::answer(&function).unwrap()).unwrap();
            prop_assert!(answer.is_valid(&json), "{}", json);
        }
    }

    /// What a schema refuses is refused by the reader too, and the other way round: a model is told the whole truth.
    #[test]
    fn the_reader_refuses_what_the_schema_refuses((shape, val) in typed(), (other, _) in typed()) {
        let json = write::value(&shape, val).unwrap();
        let schema = jsonschema::validator_for(&schema::arguments(&function(other.clone()))).unwrap();
        let arguments = json!({ "value": json });
        let read = read::arguments(&function(other.clone()).params, &arguments);
        let valid = schema.is_valid(&arguments);
        // JSON Schema has no word for text that is base64 and for what single precision cannot hold.
        if read.is_ok() || !finer_than_json_schema(&other) {
            prop_assert_eq!(read.is_ok(), valid, "{} as {:?}: {:?}", json, other, read);
        }
    }

    #[test]
    fn nothing_breaks_the_reader(shape in shape(), text in "[\\[\\]{}\":,0-9a-z. -]{0,60}") {
        let json: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if let Err(ToolFault::Arguments { path, expected, .. }) = read::arguments(&function(shape).params, &json!({ "value": json })) {
            prop_assert!(path.starts_with("value") && !expected.is_empty());
        }
    }
}

fn finer_than_json_schema(shape: &Shape) -> bool {
    match shape {
        Shape::Bytes | Shape::F32 => true,
        Shape::List(inner) | Shape::FixedList(inner, _) | Shape::Option(inner) => finer_than_json_schema(inner),
        Shape::Map(key, value) => finer_than_json_schema(key) || finer_than_json_schema(value),
        Shape::Record(fields) => fields.iter().any(|field| finer_than_json_schema(&field.shape)),
        Shape::Tuple(items) => items.iter().any(finer_than_json_schema),
        Shape::Variant(cases) => cases.iter().filter_map(|case| case.payload.as_ref()).any(finer_than_json_schema),
        Shape::Result(ok, error) => [ok, error].into_iter().flatten().any(|shape| finer_than_json_schema(shape)),
        _ => false,
    }
}

fn refused(params: &[Field], arguments: &Value) -> String {
    read::arguments(params, arguments).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_told_with_its_place() {
    let line = Shape::Record(vec![
        Field { name: "sku".to_owned(), shape: Shape::String },
        Field { name: "qty".to_owned(), shape: Shape::Int(Int::U32) },
        Field { name: "note".to_owned(), shape: Shape::Option(Box::new(Shape::String)) },
    ]);
    let params = [Field { name: "lines".to_owned(), shape: Shape::List(Box::new(line)) }];
    let lines =
        |last: Value| json!({ "lines": [{ "sku": "a", "qty": 1 }, { "sku": "b", "qty": 2, "note": null }, last] });
    assert!(read::arguments(&params, &lines(json!({ "sku": "c", "qty": 3 }))).is_ok());
    for (last, message) in [
        (json!({ "sku": "c", "qty": -1 }), "lines[2].qty: expected u32, got -1"),
        (json!({ "sku": "c", "qty": 4_294_967_296_u64 }), "lines[2].qty: expected u32, got 4294967296"),
        (json!({ "sku": "c" }), "lines[2].qty: expected u32, got nothing"),
        (
            json!({ "sku": "c", "qty": 1, "qyt": 1 }),
            "lines[2].qyt: expected no such field (only sku, qty, note), got 1",
        ),
        (json!("c"), "lines[2]: expected an object, got \"c\""),
    ] {
        assert_eq!(refused(&params, &lines(last)), message);
    }
    assert_eq!(refused(&params, &json!([])), "the arguments: expected an object, got an array of 0");
    assert_eq!(refused(&params, &json!({})), "lines: expected list, got nothing");
    assert_eq!(refused(&[], &json!({ "x": 1 })), "x: expected no parameter, got 1");
}
