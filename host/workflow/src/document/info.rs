//! What a workflow is called, when it runs, and how its expressions are written.

use serde_json::Value;

use super::{
    Duration, Strategy, duration, event,
    node::{Node, Position},
    places,
    reader::Reader,
};
use crate::fault::{Fault, FaultKind, cut};

/// What a workflow is called.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentInfo {
    /// The version of the language: 1.0.x.
    pub dsl: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version, a semantic one.
    pub version: String,
    /// A title.
    pub title: Option<String>,
    /// A summary, in Markdown.
    pub summary: Option<String>,
    /// Tags.
    pub tags: Option<Value>,
    /// Anything else.
    pub metadata: Option<Value>,
}

/// When a workflow is to run.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Each time this much time has passed.
    pub every: Option<Duration>,
    /// At the times of a cron expression. Whoever evaluates the schedule reads it.
    pub cron: Option<String>,
    /// This long after it has ended.
    pub after: Option<Duration>,
    /// For events, of which a list is its input.
    pub on: Option<Strategy>,
}

pub(super) fn document(reader: &mut Reader, node: &Node<'_>) -> Option<DocumentInfo> {
    if !reader.object(node, &places::DOCUMENT) {
        return None;
    }
    for field in ["tags", "metadata"] {
        if let Some(node) = node.get(field) {
            reader.is_object(&node);
        }
    }
    let dsl = node.get("dsl").and_then(|node| {
        let dsl = reader.text(&node)?;
        if !(semantic(dsl) && dsl.starts_with("1.0.")) {
            reader.wrong(
                &node,
                FaultKind::Unsupported,
                format!("the version `{}` is not read", cut(dsl, 60)),
                "`1.0.x`",
            );
        }
        Some(dsl.to_owned())
    });
    let version = node.get("version").and_then(|node| {
        let version = reader.text(&node)?;
        if !semantic(version) {
            reader.wrong(&node, FaultKind::BadValue, "this is no semantic version", "a version such as `1.2.3`");
        }
        Some(version.to_owned())
    });
    let mut named = |field: &str| {
        let node = node.get(field)?;
        let name = reader.text(&node)?;
        let well = (1..=63).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !well {
            let expected = "at most 63 letters, digits and `-`, the last not first or last";
            reader.wrong(&node, FaultKind::BadValue, format!("`{}` is not such a name", cut(name, 60)), expected);
        }
        Some(name.to_owned())
    };
    let (namespace, name) = (named("namespace"), named("name"));
    let mut text = |field: &str| node.get(field).and_then(|node| reader.text(&node).map(String::from));
    let (title, summary) = (text("title"), text("summary"));
    Some(DocumentInfo {
        dsl: dsl?,
        namespace: namespace?,
        name: name?,
        version: version?,
        title,
        summary,
        tags: node.value.get("tags").cloned(),
        metadata: node.value.get("metadata").cloned(),
    })
}

/// `1.2.3`, with a pre-release and build if need be.
fn semantic(version: &str) -> bool {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    let number = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let words = |text: &str| {
        text.split('.').all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    };
    core.split('.').count() == 3 && core.split('.').all(number) && before.is_none_or(words) && build.is_none_or(words)
}

pub(super) fn evaluate(reader: &mut Reader, node: Option<Node<'_>>) {
    let Some(node) = node else { return };
    if !reader.object(&node, &places::EVALUATE) {
        return;
    }
    if let Some(language) = node.get("language")
        && let Some(text) = reader.text(&language)
        && text != "jq"
    {
        let message = format!("the expression language `{}` is not there", cut(text, 60));
        reader.wrong(&language, FaultKind::Unsupported, message, "`jq`");
    }
    if let Some(mode) = node.get("mode") {
        reader.loose = reader.one_of(&mode, &["strict", "loose"]) == Some("loose");
    }
}

pub(super) fn schedule(reader: &mut Reader, node: &Node<'_>) -> Option<Schedule> {
    if !reader.object(node, &places::SCHEDULE) {
        return None;
    }
    if node.value.as_object().is_some_and(serde_json::Map::is_empty) {
        let fault = Fault::new(FaultKind::MissingField, &node.at, "nothing says when");
        reader.fault(fault.expected("`every`, `cron`, `after` or `on`"));
    }
    let cron = node.get("cron").and_then(|node| reader.text(&node).map(String::from));
    let mut fixed = |field: &str| {
        let node = node.get(field)?;
        let read = duration::read(reader, &node, Position::WorkflowInput)?;
        if matches!(read, Duration::Computed(_)) {
            let message = "a schedule has no input that an expression could use";
            reader.wrong(&node, FaultKind::BadValue, message, "a duration");
        }
        Some(read)
    };
    let (every, after) = (fixed("every"), fixed("after"));
    let on = node.get("on").and_then(|node| event::strategy(reader, &node, Position::WorkflowInput, false));
    Some(Schedule { every, cron, after, on })
}
