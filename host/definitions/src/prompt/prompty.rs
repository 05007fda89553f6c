//! Prompty files: YAML front matter, and messages that begin with a line such as `user:`. They are read into the form of
//! `.prompt.yml`, with the places that they have in their file.

use nexus_model::FileTree;
use serde_json::Value;

use super::Against;
use crate::{
    document::Document,
    fault::{FaultCode, Faults, Finding, quoted},
    nearest::{listed, nearest},
    tree::{Entry, Kind, Node, Span, join},
};

const ROLES: [&str; 3] = ["system", "user", "assistant"];
/// What Prompty has as well.
const OTHER_ROLES: [&str; 4] = ["developer", "function", "tool", "thread"];

/// Reads a file that is there; what is wrong with it goes to `faults`.
pub(super) fn open(files: &FileTree, path: &str, against: Against<'_>, faults: &mut Faults) -> Option<Document> {
    let (document, body) = Document::open_front_matter(files, path, faults)?;
    against.forms.prompty.check(&document, faults);
    check_inputs(&document, against.input, faults);
    let front = Front(&document.root);
    let mut entries: Vec<Entry> =
        ["name", "description"].into_iter().filter_map(|name| front.entry(&[name]).cloned()).collect();
    entries.extend(front.model());
    entries.extend(front.parameters());
    entries.extend(front.answer());
    entries.extend(front.test());
    let messages = messages(&document, body, faults);
    let span = Span { start: body, end: document.text().len() };
    entries.push(Entry { key: "messages".to_owned(), key_span: span, value: sequence(messages, span) });
    let root = Node { span: document.root.span, kind: Kind::Mapping(entries), style: None };
    Some(document.reshaped(root))
}

fn sequence(items: Vec<Node>, span: Span) -> Node {
    Node { span, kind: Kind::Sequence(items), style: None }
}

/// The front matter, in the words of `.prompt.yml`.
struct Front<'a>(&'a Node);

impl Front<'_> {
    /// The entry to which these keys lead.
    fn entry(&self, path: &[&str]) -> Option<&Entry> {
        let mut at = self.0;
        let mut found = None;
        for key in path {
            let Kind::Mapping(entries) = &at.kind else { return None };
            let entry = entries.iter().find(|entry| entry.key == *key)?;
            (at, found) = (&entry.value, Some(entry));
        }
        found
    }

    /// The first of several entries, under another key.
    fn renamed(&self, key: &str, paths: &[&[&str]]) -> Option<Entry> {
        let entry = paths.iter().find_map(|path| self.entry(path))?;
        Some(Entry { key: key.to_owned(), ..entry.clone() })
    }

    fn model(&self) -> Option<Entry> {
        let by_parts: [&[&str]; 3] =
            [&["model", "configuration", "name"], &["model", "configuration", "azure_deployment"], &["model", "id"]];
        let whole = || self.entry(&["model"]).filter(|entry| matches!(entry.value.kind, Kind::Scalar(_))).cloned();
        self.renamed("model", &by_parts).or_else(whole)
    }

    fn parameters(&self) -> Option<Entry> {
        let section = ["parameters", "options"].into_iter().find(|name| self.entry(&["model", name]).is_some())?;
        let of = |name: &'static str| ["model", section, name];
        let known = [
            ("temperature", of("temperature")),
            ("maxTokens", of("max_tokens")),
            ("maxTokens", of("maxOutputTokens")),
            ("topP", of("top_p")),
            ("topP", of("topP")),
        ];
        let mut entries: Vec<Entry> = Vec::new();
        for entry in known.iter().filter_map(|(key, path)| self.renamed(key, &[path])) {
            if entries.iter().all(|known| known.key != entry.key) {
                entries.push(entry);
            }
        }
        let whole = self.entry(&["model", section])?;
        let value = Node { span: whole.value.span, kind: Kind::Mapping(entries), style: None };
        Some(Entry { key: "modelParameters".to_owned(), key_span: whole.key_span, value })
    }

    fn answer(&self) -> Vec<Entry> {
        let of = |name: &str, key: &str| {
            self.renamed(
                key,
                &[&["model", "parameters", "response_format", name], &["model", "options", "response_format", name]],
            )
        };
        of("type", "responseFormat").into_iter().chain(of("json_schema", "jsonSchema")).collect()
    }

    /// The sample as a test: `sample`, or the samples of all inputs.
    fn test(&self) -> Option<Entry> {
        let (key_span, sample) = match (self.entry(&["sample"]), self.entry(&["inputs"])) {
            (Some(sample), _) => (sample.key_span, sample.value.clone()),
            (None, Some(inputs)) => {
                let Kind::Mapping(given) = &inputs.value.kind else { return None };
                let samples: Vec<Entry> = given.iter().filter_map(sample).collect();
                let kind = Kind::Mapping(samples);
                (inputs.key_span, Node { span: inputs.value.span, kind, style: None })
            }
            _ => return None,
        };
        if !matches!(&sample.kind, Kind::Mapping(fields) if !fields.is_empty()) {
            return None;
        }
        let span = sample.span;
        Some(Entry { key: "testData".to_owned(), key_span, value: sequence(vec![sample], span) })
    }
}

/// The sample of one input.
fn sample(input: &Entry) -> Option<Entry> {
    let Kind::Mapping(about) = &input.value.kind else { return None };
    let sample = about.iter().find(|entry| entry.key == "sample")?;
    Some(Entry { key: input.key.clone(), key_span: input.key_span, value: sample.value.clone() })
}

/// What is said about inputs must be so for the operation's input.
fn check_inputs(document: &Document, schema: Option<&Value>, faults: &mut Faults) {
    let named: Vec<(String, String)> = match document.value.get("inputs") {
        Some(Value::Object(inputs)) => inputs.keys().map(|name| (join("/inputs", name), name.clone())).collect(),
        Some(Value::Array(inputs)) => inputs
            .iter()
            .enumerate()
            .filter_map(|(number, input)| Some((format!("/inputs/{number}"), input.get("name")?.as_str()?.to_owned())))
            .collect(),
        _ => return,
    };
    let fields = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    for (at, name) in named {
        if let Some(fields) = fields.filter(|fields| !fields.contains_key(&name)) {
            let known = || fields.keys().map(String::as_str);
            let message = format!("the operation's input has no field {}", quoted(&name));
            let finding = Finding::new(FaultCode::UnknownVariable, message);
            faults.add(document.fault_at_key(&at, finding.expected(listed(known())).nearest(nearest(&name, known()))));
        }
        if document.value.pointer(&at).is_some_and(|input| input.get("default").is_some()) {
            let message = "`default` is not supported: what is missing in an input stays so";
            let finding = Finding::new(FaultCode::Unsupported, message);
            let finding = finding.expected("the filter `default` where the template uses it");
            faults.add(document.fault_at_key(&join(&at, "default"), finding));
        }
    }
}

/// The messages after the front matter. What stands before the first marker is a message of the system.
fn messages(document: &Document, body: usize, faults: &mut Faults) -> Vec<Node> {
    let text = document.text();
    let (mut found, mut role, mut at) = (Vec::new(), ("system", Span { start: body, end: body }), body);
    let mut begin = body;
    for line in text[body..].split_inclusive('\n') {
        let end = at + line.len();
        if let Some(marked) = marker(line) {
            let span = Span { start: at, end: at + line.trim_end().len() };
            found.extend(message(document, role, begin..at, faults));
            role = match marked {
                Ok(marked) => (marked, span),
                Err(finding) => {
                    faults.add(document.fault_at(span, "", finding));
                    ("user", span)
                }
            };
            begin = end;
        }
        at = end;
    }
    found.extend(message(document, role, begin..text.len(), faults));
    found
}

/// Whose message begins after this line, if one does.
fn marker(line: &str) -> Option<Result<&'static str, Finding>> {
    let word = line.trim().trim_start_matches('#').trim_start().strip_suffix(':')?.trim_end().to_lowercase();
    if let Some(role) = ROLES.into_iter().find(|role| *role == word) {
        return Some(Ok(role));
    }
    let base = word.split_once('[').map_or(word.as_str(), |(base, _)| base);
    if ROLES.contains(&base) && word.ends_with(']') {
        let finding = Finding::new(FaultCode::Unsupported, "attributes of a message are not supported");
        return Some(Err(finding.expected(format!("`{base}:` alone"))));
    }
    OTHER_ROLES.contains(&base).then(|| {
        let message = format!("messages of the role {} are not supported", quoted(base));
        Err(Finding::new(FaultCode::Unsupported, message).expected(listed(ROLES)))
    })
}

fn message(
    document: &Document,
    (role, role_span): (&str, Span),
    range: std::ops::Range<usize>,
    faults: &mut Faults,
) -> Option<Node> {
    let whole = &document.text()[range.clone()];
    let content = whole.trim();
    if content.is_empty() {
        return None;
    }
    let start = range.start + (whole.len() - whole.trim_start().len());
    let span = Span { start, end: start + content.len() };
    if let Some((at, length)) = image(content) {
        let place = Span { start: start + at, end: start + at + length };
        let finding = Finding::new(FaultCode::Unsupported, "images are not supported: messages are texts");
        faults.add(document.fault_at(place, "", finding));
    }
    let scalar = |text: String, span: Span| Node { span, kind: Kind::Scalar(Value::String(text)), style: None };
    let entry = |key: &str, span: Span, value: Node| Entry { key: key.to_owned(), key_span: span, value };
    let entries = vec![
        entry("role", role_span, scalar(role.to_owned(), role_span)),
        entry("content", span, scalar(content.replace("\r\n", "\n"), span)),
    ];
    Some(Node { span, kind: Kind::Mapping(entries), style: None })
}

/// Where an image of Markdown is, and how long it is written.
fn image(content: &str) -> Option<(usize, usize)> {
    content.match_indices("![").find_map(|(at, _)| {
        let rest = content[at..].split('\n').next()?;
        let target = rest.find("](")?;
        Some((at, target + rest[target..].find(')')? + 1))
    })
}
