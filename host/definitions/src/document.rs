//! One file: its text, its values and their places.

use std::sync::Arc;

use nexus_model::FileTree;
use serde_json::Value;

use crate::{
    fault::{Fault, FaultCode, Faults, Finding},
    json, limits,
    tree::{Found, Node, Span},
    yaml,
};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Yaml,
    Json,
}

impl Format {
    /// JSON if the file's name ends with `.json`, else YAML.
    pub(crate) fn of(path: &str) -> Self {
        match path.rsplit_once('.') {
            Some((_, "json")) => Self::Json,
            _ => Self::Yaml,
        }
    }
}

/// What reading a text gives: the tree unless the text is broken, and what is wrong with it.
pub(crate) struct Parsed {
    pub(crate) root: Option<Node>,
    pub(crate) findings: Vec<(Span, Finding)>,
}

/// A file that could be read.
#[derive(Debug)]
pub(crate) struct Document {
    source: Arc<Source>,
    /// What leads to the root, where that is a part of the file.
    base: String,
    pub(crate) root: Node,
    pub(crate) value: Value,
}

impl Document {
    /// Reads a file that is there; what is wrong with it goes to `faults`.
    pub(crate) fn open(files: &FileTree, path: &str, format: Format, faults: &mut Faults) -> Option<Self> {
        let source = Source::open(files, path, faults)?;
        let parsed = match format {
            Format::Yaml => yaml::parse(&source.text),
            Format::Json => json::parse(&source.text),
        };
        Self::parsed(source, parsed, faults)
    }

    /// Reads the YAML between two lines `---` at the beginning of a file that is there, and where what follows them begins.
    pub(crate) fn open_front_matter(files: &FileTree, path: &str, faults: &mut Faults) -> Option<(Self, usize)> {
        let source = Source::open(files, path, faults)?;
        let Some((end, body)) = front_matter(&source.text) else {
            let finding = Finding::new(FaultCode::MissingField, "the file has no front matter");
            let finding = finding.expected("YAML between two lines `---`, and the messages after them");
            faults.add(source.fault(Span::default(), String::new(), finding));
            return None;
        };
        let parsed = yaml::parse(&source.text[..end]);
        Some((Self::parsed(source, parsed, faults)?, body))
    }

    fn parsed(source: Source, parsed: Parsed, faults: &mut Faults) -> Option<Self> {
        for (span, finding) in parsed.findings {
            faults.add(source.fault(span, String::new(), finding));
        }
        let root = parsed.root?;
        let value = root.to_value();
        Some(Self { source: Arc::new(source), base: String::new(), root, value })
    }

    /// The value at `pointer` as a document of its own, with the places that it has in this one.
    pub(crate) fn part(&self, pointer: &str) -> Option<Self> {
        let value = self.value.pointer(pointer)?.clone();
        let root = self.root.follow(pointer).node.clone();
        Some(Self { source: Arc::clone(&self.source), base: format!("{}{pointer}", self.base), root, value })
    }

    /// Another tree over the same text.
    pub(crate) fn reshaped(&self, root: Node) -> Self {
        let value = root.to_value();
        Self { source: Arc::clone(&self.source), base: String::new(), root, value }
    }

    pub(crate) fn text(&self) -> &str {
        &self.source.text
    }

    /// A fault of the value at `pointer`, or of the nearest value around it.
    pub(crate) fn fault_at_value(&self, pointer: &str, finding: Finding) -> Fault {
        let Found { node, .. } = self.root.follow(pointer);
        self.source.fault(node.span, self.path(pointer), finding)
    }

    /// A fault of the key of the value at `pointer`; of the value if it has none.
    pub(crate) fn fault_at_key(&self, pointer: &str, finding: Finding) -> Fault {
        let Found { key, node } = self.root.follow(pointer);
        self.source.fault(key.unwrap_or(node.span), self.path(pointer), finding)
    }

    /// A fault of some text within the value at `pointer`.
    pub(crate) fn fault_at(&self, span: Span, pointer: &str, finding: Finding) -> Fault {
        self.source.fault(span, self.path(pointer), finding)
    }

    fn path(&self, pointer: &str) -> String {
        format!("{}{pointer}", self.base)
    }
}

/// Where the front matter of a text ends, and where what follows it begins.
fn front_matter(text: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        match (number, line.trim_start_matches('\u{feff}').trim_end() == "---") {
            (0, false) => return None,
            (1.., true) => return Some((at, at + line.len())),
            _ => at += line.len(),
        }
    }
    None
}

#[derive(Debug)]
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn open(files: &FileTree, path: &str, faults: &mut Faults) -> Option<Self> {
        Self::read(path, files.get(path)?).map_err(|fault| faults.add(fault)).ok()
    }

    fn read(path: &str, bytes: &[u8]) -> Result<Self, Fault> {
        let mut source = Self { path: path.to_owned(), text: String::new() };
        if bytes.len() > limits::FILE_BYTES {
            let finding = Finding::new(FaultCode::TooLarge, format!("the file has {} bytes", bytes.len()))
                .expected(format!("at most {}", limits::FILE_BYTES));
            return Err(source.fault(Span::default(), String::new(), finding));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => text.clone_into(&mut source.text),
            Err(error) => {
                let good = error.valid_up_to();
                source.text = String::from_utf8_lossy(&bytes[..good]).into_owned();
                let finding = Finding::new(FaultCode::NotUtf8, "the file is not UTF-8 from here on");
                return Err(source.fault(Span { start: good, end: good }, String::new(), finding));
            }
        }
        if source.text.trim_start_matches('\u{feff}').trim().is_empty() {
            let finding = Finding::new(FaultCode::EmptyFile, "the file is empty");
            return Err(source.fault(Span::default(), String::new(), finding));
        }
        Ok(source)
    }

    fn fault(&self, span: Span, path: String, finding: Finding) -> Fault {
        let start = floor_boundary(&self.text, span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find(['\n', '\r']).map_or(self.text.len(), |at| start + at);
        let end = floor_boundary(&self.text, span.end).clamp(start, line_end.max(start));
        Fault {
            file: self.path.clone(),
            line: self.text[..start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            offset: start,
            length: end - start,
            code: finding.code,
            path,
            message: finding.message,
            expected: finding.expected,
            nearest: finding.nearest,
        }
    }
}

/// The last boundary between characters that is not after `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

/// A fault of a file that is not there.
pub(crate) fn missing(path: &str, finding: Finding) -> Fault {
    Source { path: path.to_owned(), text: String::new() }.fault(Span::default(), String::new(), finding)
}
