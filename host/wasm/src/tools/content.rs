//! Which results are content in the words of MCP. Types of the component model are what they are made of: whatever is made
//! as `nexus:mcp/types` has it, in a component that knows that interface, is of that type.

use wasmtime::{Engine, component::types};

use super::shape::{Case, Field, Int, Shape};

/// The interface of the types.
const TYPES: &str = "nexus:mcp/types@0.1.0";

/// Whether a component imports or exports the types.
pub(super) fn is_known(engine: &Engine, component: &types::Component) -> bool {
    let imported = component.imports(engine).any(|(name, _)| name == TYPES);
    imported || component.exports(engine).any(|(name, _)| name == TYPES)
}

/// Whether what a function returns, where it does not fail, is `list<content>`.
pub(super) fn is_answer(result: &Shape) -> bool {
    match result {
        Shape::List(item) => **item == content(),
        Shape::Result(Some(ok), _) => matches!(&**ok, Shape::List(item) if **item == content()),
        _ => false,
    }
}

fn content() -> Shape {
    let text = || Shape::Option(Box::new(Shape::String));
    let media = record([("data", Shape::Bytes), ("media-type", Shape::String)]);
    let body = variant([("text", Shape::String), ("blob", Shape::Bytes)]);
    let contents = record([("uri", Shape::String), ("media-type", text()), ("body", body)]);
    let size = Shape::Option(Box::new(Shape::Int(Int::U64)));
    let resource = record([
        ("uri", Shape::String),
        ("name", Shape::String),
        ("description", text()),
        ("media-type", text()),
        ("size", size),
    ]);
    variant([
        ("text", Shape::String),
        ("image", media.clone()),
        ("audio", media),
        ("embedded", contents),
        ("link", resource),
    ])
}

fn record<const N: usize>(fields: [(&str, Shape); N]) -> Shape {
    Shape::Record(fields.map(|(name, shape)| Field { name: name.to_owned(), shape }).to_vec())
}

fn variant<const N: usize>(cases: [(&str, Shape); N]) -> Shape {
    Shape::Variant(cases.map(|(name, shape)| Case { name: name.to_owned(), payload: Some(shape) }).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_from_what_looks_like_it() {
        let list = |item| Shape::List(Box::new(item));
        assert!(is_answer(&list(content())));
        assert!(is_answer(&Shape::Result(Some(Box::new(list(content()))), Some(Box::new(Shape::String)))));
        assert!(!is_answer(&content()) && !is_answer(&list(variant([("text", Shape::String)]))));
        assert!(!is_answer(&Shape::Result(None, Some(Box::new(list(content()))))));
    }
}
