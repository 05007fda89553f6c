//! The JSON Schema files of an application.

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::FileTree;
use serde_json::{Value, json};

use crate::{
    document::{Document, Format},
    explain,
    fault::{FaultCode, Faults, Finding, quoted},
    json_schema::schema_validator,
    keywords,
    nearest::{listed, nearest},
    tree::{Entry, Kind, Node, join},
};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema files that were read, each once. `None`: it has faults.
#[derive(Default)]
pub(crate) struct SchemaFiles(BTreeMap<String, Option<Arc<Value>>>);

impl SchemaFiles {
    /// Reads a file that is there.
    pub(crate) fn read(&mut self, files: &FileTree, path: &str, faults: &mut Faults) -> Option<Arc<Value>> {
        if let Some(read) = self.0.get(path) {
            return read.clone();
        }
        let schema = read(files, path, faults);
        self.0.insert(path.to_owned(), schema.clone());
        schema
    }
}

fn read(files: &FileTree, path: &str, faults: &mut Faults) -> Option<Arc<Value>> {
    let document = Document::open(files, path, Format::Json, faults)?;
    usable(document, faults)
}

/// The schema that a document is, unless it has faults.
pub(crate) fn usable(document: Document, faults: &mut Faults) -> Option<Arc<Value>> {
    let before = faults.count();
    let meta = jsonschema::draft202012::meta::validator();
    explain::report(meta.iter_errors(&document.value), None, &document, faults);
    Lint { document: &document, faults }.schema(&document.root, "");
    if faults.count() > before {
        return None;
    }
    match schema_validator(&document.value) {
        Ok(_) => Some(Arc::new(document.value)),
        Err(error) => {
            faults.add(document.fault_at_value(&error.path, Finding::new(FaultCode::BadSchema, error.message)));
            None
        }
    }
}

/// What the metaschema lets pass and Nexus cannot honour: references out of the file, unknown formats, patterns that do
/// not run in linear time, keywords that are nearly one.
struct Lint<'a> {
    document: &'a Document,
    faults: &'a mut Faults,
}

impl Lint<'_> {
    fn schema(&mut self, node: &Node, pointer: &str) {
        let Kind::Mapping(entries) = &node.kind else { return };
        for entry in entries {
            if self.faults.is_full() {
                return;
            }
            let at = join(pointer, &entry.key);
            self.keyword(entry, pointer, &at);
            match (&entry.value.kind, entry.key.as_str()) {
                (_, key) if keywords::ONE.contains(&key) => self.schema(&entry.value, &at),
                (Kind::Sequence(items), key) if keywords::LIST.contains(&key) => {
                    for (number, item) in items.iter().enumerate() {
                        self.schema(item, &join(&at, &number.to_string()));
                    }
                }
                (Kind::Mapping(named), key) if keywords::NAMED.contains(&key) => {
                    for one in named {
                        self.schema(&one.value, &join(&at, &one.key));
                    }
                }
                _ => {}
            }
        }
    }

    fn keyword(&mut self, entry: &Entry, pointer: &str, at: &str) {
        match (entry.key.as_str(), &entry.value.kind) {
            ("$ref" | "$dynamicRef", Kind::Scalar(Value::String(target))) => self.reference(target, at),
            ("$schema", Kind::Scalar(Value::String(dialect))) => self.dialect(dialect, at),
            ("$id", _) if !pointer.is_empty() => {
                let finding = Finding::new(FaultCode::BadSchema, "an `$id` within a schema is not supported");
                self.faults.add(self.document.fault_at_key(at, finding));
            }
            ("format", Kind::Scalar(Value::String(format))) => self.format(format, at),
            ("pattern", Kind::Scalar(Value::String(pattern))) => {
                if let Some(finding) = bad_pattern(pattern) {
                    self.faults.add(self.document.fault_at_value(at, finding));
                }
            }
            ("patternProperties", Kind::Mapping(patterns)) => {
                for one in patterns {
                    if let Some(finding) = bad_pattern(&one.key) {
                        self.faults.add(self.document.fault_at_key(&join(at, &one.key), finding));
                    }
                }
            }
            (key, _) => self.spelling(key, at),
        }
    }

    fn reference(&mut self, target: &str, at: &str) {
        let finding = if target.is_empty() || !target.starts_with('#') {
            let message = format!("the reference {} leads out of this file", quoted(target));
            Finding::new(FaultCode::BadSchema, message).expected("a reference within the file, as `#/$defs/name`")
        } else if target.starts_with("#/")
            && !target.contains('%')
            && self.document.value.pointer(&target[1..]).is_none()
        {
            let definitions = self.document.value.get("$defs").and_then(Value::as_object);
            let mut known: Vec<String> =
                definitions.into_iter().flatten().map(|(name, _)| format!("#{}", join("/$defs", name))).collect();
            known.sort_unstable();
            Finding::new(FaultCode::BadSchema, format!("the reference {} leads nowhere", quoted(target)))
                .expected(listed(known.iter().map(String::as_str)))
                .nearest(nearest(target, known.iter().map(String::as_str)))
        } else {
            return;
        };
        self.faults.add(self.document.fault_at_value(at, finding));
    }

    fn dialect(&mut self, dialect: &str, at: &str) {
        if dialect.trim_end_matches('#') != DIALECT {
            let message = format!("the schema dialect {} is not supported", quoted(dialect));
            let finding = Finding::new(FaultCode::BadSchema, message).expected(quoted(DIALECT));
            self.faults.add(self.document.fault_at_value(at, finding));
        }
    }

    fn format(&mut self, format: &str, at: &str) {
        if schema_validator(&json!({ "format": format })).is_err() {
            let finding = Finding::new(FaultCode::BadSchema, format!("unknown format {}", quoted(format)))
                .expected(listed(keywords::FORMATS.iter().copied()))
                .nearest(nearest(format, keywords::FORMATS.iter().copied()));
            self.faults.add(self.document.fault_at_value(at, finding));
        }
    }

    /// Keywords that JSON Schema does not have are annotations, unless they are nearly one that it has.
    fn spelling(&mut self, key: &str, at: &str) {
        if keywords::all().any(|known| known == key) {
            return;
        }
        if let Some(near) = nearest(key, keywords::all()) {
            let finding = Finding::new(FaultCode::BadSchema, format!("unknown keyword {}", quoted(key)));
            self.faults.add(self.document.fault_at_key(at, finding.nearest(Some(near))));
        }
    }
}

fn bad_pattern(pattern: &str) -> Option<Finding> {
    schema_validator(&json!({ "pattern": pattern })).err().map(|_| {
        Finding::new(FaultCode::BadSchema, format!("the pattern {} cannot be used", quoted(pattern)))
            .expected("a regular expression without look-around and back-references")
    })
}
