//! Checks a template before it is ever rendered.

use std::{collections::BTreeSet, ops::Range};

use minijinja::{Environment, ErrorKind};
use serde_json::Value;

use crate::{
    fault::{FaultCode, Finding, quoted},
    limits,
    nearest::{listed, nearest},
    template::{INPUT, reason},
    template_tags::{Tag, excess, tags},
};

/// The filters that there are, for the nearest name. Which are known is for the environment to say.
const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

/// What a template is given.
#[derive(Clone, Copy)]
pub(crate) enum Given<'a> {
    /// `input`, and its fields by their names; its schema, where that is known.
    Input(Option<&'a Value>),
    /// These variables.
    Names(&'a BTreeSet<String>),
}

/// What is wrong with a template, each with its place in the template.
pub(crate) fn check(content: &str, environment: &Environment<'_>, given: Given<'_>) -> Vec<(Range<usize>, Finding)> {
    if let Some((range, why)) = excess(content) {
        return vec![(range, Finding::new(FaultCode::TooLarge, why))];
    }
    let template = match environment.template_from_named_str("message", content) {
        Ok(template) => template,
        Err(error) => {
            let finding = Finding::new(FaultCode::BadTemplate, format!("not a valid template: {}", reason(&error)));
            return vec![(line_range(content, error.line().unwrap_or(1)), finding)];
        }
    };
    let mut used: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    used.sort();
    let variables = used.iter().filter_map(|name| {
        let finding = unknown_variable(name, environment, given)?;
        Some((word_range(content, name).unwrap_or(0..content.len()), finding))
    });
    variables.chain(unknown_filters(content, environment)).take(limits::FAULTS).collect()
}

fn unknown_variable(used: &str, environment: &Environment<'_>, given: Given<'_>) -> Option<Finding> {
    let mut path = used.split('.');
    let root = path.next().unwrap_or_default();
    if environment.globals().any(|(name, _)| name == root) {
        return None;
    }
    match given {
        Given::Names(names) if names.contains(root) => None,
        Given::Names(names) => Some(not_given(root, names.iter().map(String::as_str))),
        Given::Input(schema) if root == INPUT => unknown_field(schema?, path).map(|unknown| unknown.told(used)),
        Given::Input(schema) if names_field(schema?, root) => {
            unknown_field(schema?, used.split('.')).map(|unknown| unknown.told(&format!("{INPUT}.{used}")))
        }
        Given::Input(schema) => {
            let fields = schema?.get("properties").and_then(Value::as_object).into_iter().flatten();
            let names: BTreeSet<&str> = fields.map(|(name, _)| name.as_str()).chain([INPUT]).collect();
            Some(not_given(root, names.iter().copied()))
        }
    }
}

fn not_given<'n>(root: &str, names: impl Iterator<Item = &'n str> + Clone) -> Finding {
    let message = format!("the template uses {}, which it is not given", quoted(root));
    Finding::new(FaultCode::UnknownVariable, message).expected(listed(names.clone())).nearest(nearest(root, names))
}

/// Whether the input may have a field of this name. A schema that names fields names all that stand in templates without
/// `input`; whoever means another says `input.other`.
fn names_field(schema: &Value, name: &str) -> bool {
    let Some(fields) = schema.as_object() else { return true };
    match fields.get("properties").and_then(Value::as_object) {
        Some(properties) if properties.contains_key(name) => true,
        _ if OPEN.iter().any(|keyword| fields.contains_key(*keyword)) => true,
        Some(_) => false,
        None => fields.get("type").is_none_or(|kind| kind == "object"),
    }
}

struct UnknownField {
    /// How many steps into the input it is.
    depth: usize,
    name: String,
    known: Vec<String>,
}

impl UnknownField {
    /// `used` is how the field is reached from `input`.
    fn told(&self, used: &str) -> Finding {
        let before = used.split('.').take(self.depth + 1).collect::<Vec<_>>().join(".");
        let near = nearest(&self.name, self.known.iter().map(String::as_str)).map(|name| format!("{before}.{name}"));
        let message = format!("the input schema has no field {}", quoted(&format!("{before}.{}", self.name)));
        let finding = Finding::new(FaultCode::UnknownVariable, message);
        finding.expected(listed(self.known.iter().map(String::as_str))).nearest(near)
    }
}

/// Keywords with which a schema may have fields that it does not name.
const OPEN: &[&str] =
    &["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "patternProperties"];

/// The first step that the schema rules out. Wherever the schema leaves something open, so does this.
fn unknown_field<'a>(schema: &Value, path: impl Iterator<Item = &'a str>) -> Option<UnknownField> {
    let mut schema = schema;
    for (depth, name) in path.enumerate() {
        let fields = schema.as_object()?;
        let properties = fields.get("properties").and_then(Value::as_object);
        match properties.and_then(|properties| properties.get(name)) {
            Some(next) => schema = next,
            None if OPEN.iter().any(|keyword| fields.contains_key(*keyword)) => return None,
            None if fields.get("additionalProperties") == Some(&Value::Bool(false)) => {
                let mut known: Vec<String> = properties.into_iter().flatten().map(|(name, _)| name.clone()).collect();
                known.sort_unstable();
                return Some(UnknownField { depth, name: name.to_owned(), known });
            }
            None => return None,
        }
    }
    None
}

fn unknown_filters(content: &str, environment: &Environment<'_>) -> impl Iterator<Item = (Range<usize>, Finding)> {
    let known = move |name: &str| {
        let applied = environment.empty_state().apply_filter(name, &[]);
        applied.err().is_none_or(|error| error.kind() != ErrorKind::UnknownFilter)
    };
    tags(content)
        .into_iter()
        .flat_map(move |tag| filters(content, &tag))
        .filter(move |range| !known(&content[range.clone()]))
        .map(move |range| {
            let name = &content[range.clone()];
            let finding = Finding::new(FaultCode::BadTemplate, format!("unknown filter {}", quoted(name)));
            let near = nearest(name, FILTERS.iter().copied());
            (range, finding.nearest(near))
        })
}

/// The names after each `|`.
fn filters(content: &str, tag: &Tag) -> Vec<Range<usize>> {
    let name = |pipe: &usize| {
        let rest = &content[pipe + 1..tag.inside.end];
        let start = tag.inside.end - rest.trim_start().len();
        let length = content[start..tag.inside.end].find(|c| !is_word(c)).unwrap_or(tag.inside.end - start);
        start..start + length
    };
    tag.pipes.iter().map(name).filter(|name| !name.is_empty()).collect()
}

/// The first place within a tag where a name stands as a word.
fn word_range(content: &str, name: &str) -> Option<Range<usize>> {
    let is_apart = |range: &Range<usize>| {
        !content[..range.start].ends_with(|c| is_word(c) || c == '.') && !content[range.end..].starts_with(is_word)
    };
    tags(content)
        .into_iter()
        .flat_map(|tag| content[tag.inside.clone()].match_indices(name).map(move |(at, _)| tag.inside.start + at))
        .map(|start| start..start + name.len())
        .find(is_apart)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A line (from 1), from its first tag on.
fn line_range(content: &str, line: usize) -> Range<usize> {
    let start: usize = content.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let text = content[start..].split('\n').next().unwrap_or_default();
    let tag = ["{{", "{%", "{#"].iter().filter_map(|open| text.find(open)).min().unwrap_or(0);
    start + tag..start + text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{FILTERS, Given, check, unknown_filters};
    use crate::template::environment;

    #[test]
    fn the_filters_are_all_there() {
        let environment = environment();
        for filter in FILTERS {
            assert_eq!(unknown_filters(&format!("{{{{ 1|{filter} }}}}"), &environment).count(), 0, "{filter}");
        }
    }

    #[test]
    fn good_templates_pass() {
        let schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": {"text": {"type": "string"}, "items": {"type": "array"}, "open": {"type": "object"}}
        });
        for good in [
            "plain { text } | pipe",
            "{{ input.text|upper|replace('|x', \"y|z\") }}",
            "{% for item in input.items %}{{ loop.index }}. {{ item.name|trim }}\n{% endfor %}",
            "{{ input|tojson }}{{ input.open.anything }}{{ open.anything }}",
            "{{text}} of {{ items|length }}",
            "{% if input.text is defined %}{{ input['text'] }}{% endif %}",
            "{# {{ x|y }} #}{% raw %}{{ x|y }}{% endraw %}{{ {'a': {'b': '|c'}} }}",
            "{% set n = namespace(x=1) %}{% for i in range(3) %}{{ n.x }}{% endfor %}",
        ] {
            assert_eq!(check(good, &environment(), Given::Input(Some(&schema))), vec![], "{good}");
        }
    }

    #[test]
    fn places_are_those_of_the_words() {
        let schema = json!({"additionalProperties": false, "properties": {"text": {}}});
        for (bad, word) in [
            ("input.txt {{ input.text }} {{ input.txt }}", "input.txt"),
            ("text {{ txt }}", "txt"),
            ("{{ input.text|uper }}", "uper"),
        ] {
            let found = check(bad, &environment(), Given::Input(Some(&schema)));
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(&bad[found[0].0.clone()], word);
            assert!(found[0].0.start > 0);
            assert!(found[0].1.nearest.is_some());
        }
    }
}
