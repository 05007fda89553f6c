//! Expressions that only follow fields, such as `.order.id`: what they say is there already, and takes no time to find.

use serde_json::Value;

use crate::limits::DEPTH;

/// The input or a variable, and fields of it, one in another.
pub(super) struct Fields {
    /// The place of the variable among those that the expression uses; the input if there is none.
    variable: Option<usize>,
    names: Vec<String>,
}

impl Fields {
    /// Those of a text, if it says nothing else: `.`, `.a.b`, `$a`, `$a.b`.
    pub(super) fn read(text: &str, variables: &[String]) -> Option<Self> {
        let text = text.trim();
        let (variable, rest) = match text.strip_prefix('$') {
            Some(text) => {
                let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
                (Some(variables.iter().position(|variable| variable == name && is_name(name))?), rest)
            }
            None if text == "." => (None, ""),
            None => (None, text),
        };
        if rest.is_empty() {
            return (variable.is_some() || text == ".").then(|| Self { variable, names: Vec::new() });
        }
        let names: Vec<String> = rest.strip_prefix('.')?.split('.').map(String::from).collect();
        names.iter().all(|name| is_name(name)).then_some(Self { variable, names })
    }

    /// What is there, if jq would say exactly that, in at most `bytes` bytes: it complains of fields of what has none and of what is
    /// too large, and writes numbers its own way.
    pub(super) fn find(&self, input: &Value, values: &[Value], bytes: usize) -> Option<Value> {
        let mut found = match self.variable {
            None => input,
            Some(place) => values.get(place)?,
        };
        for name in &self.names {
            found = match found {
                Value::Object(fields) => fields.get(name).unwrap_or(&Value::Null),
                Value::Null => found,
                _ => return None,
            };
        }
        let mut left = bytes;
        is_as_jq_writes(found, DEPTH, &mut left).then(|| found.clone())
    }
}

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Weighs as [`super::value::from_jq`] does.
fn is_as_jq_writes(value: &Value, depth: usize, left: &mut usize) -> bool {
    let Some(deeper) = depth.checked_sub(1) else { return false };
    let own = match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(number) if number.is_f64() => return false,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.len() + 2,
        Value::Object(fields) => fields.keys().map(|key| key.len() + 4).sum::<usize>() + 2,
    };
    let Some(rest) = left.checked_sub(own) else { return false };
    *left = rest;
    match value {
        Value::Array(items) => items.iter().all(|item| is_as_jq_writes(item, deeper, left)),
        Value::Object(fields) => fields.values().all(|field| is_as_jq_writes(field, deeper, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::Expression;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (-3..3).prop_map(|whole| Value::from(f64::from(whole))),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[abc]", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn has_fractions(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.is_f64(),
            Value::Array(items) => items.iter().any(has_fractions),
            Value::Object(fields) => fields.values().any(has_fractions),
            Value::Null | Value::Bool(_) | Value::String(_) => false,
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_jq_says(
            root in prop_oneof![Just(""), Just("$x"), Just("$y")],
            names in prop::collection::vec("[abc]", 0..4),
            input in values(),
            variable in values(),
            bytes in prop_oneof![0..40_usize, Just(1 << 20)],
        ) {
            let mut text = names.iter().fold(root.to_owned(), |text, name| format!("{text}.{name}"));
            if text.is_empty() {
                text.push('.');
            }
            let expression = Expression::read(&text, ["x", "y"]).unwrap();
            let variables = if root.is_empty() { vec![] } else { vec![variable] };
            let evaluated = expression.evaluate_here(&input, &variables, bytes);
            match expression.evaluate_at_once(&input, &variables, bytes) {
                Some(found) => prop_assert_eq!(evaluated, Ok(found)),
                // Jq fails, or writes a number its own way.
                None => prop_assert!(evaluated.is_err() || has_fractions(&input) || variables.iter().any(has_fractions)),
            }
        }
    }

    #[test]
    fn only_fields_are_found_at_once() {
        let input =
            json!({ "a": { "b": [1, "two"] }, "half": 0.5, "if": { "and": 1 }, "_a1": 2, "long": "x".repeat(99) });
        let found = |text: &str| {
            let expression = Expression::read(text, ["x"]).unwrap();
            expression.evaluate_at_once(&input, &vec![json!({ "y": 7 }); expression.variables().len()], 100)
        };
        assert_eq!(found(" .a.b "), Some(json!([1, "two"])));
        assert_eq!(found(".a.c.d"), Some(Value::Null));
        assert_eq!((found(".if.and"), found("._a1")), (Some(json!(1)), Some(json!(2))));
        assert_eq!(found("$x.y"), Some(json!(7)));
        assert_eq!(found("$x"), Some(json!({ "y": 7 })));
        for text in
            [".", ".half", ".long", ".a.b.c", ".a | .b", ".a[\"b\"]", ".a?", "$x + 1", ".. | .a?", "\"a.b\"", "1.5"]
        {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
