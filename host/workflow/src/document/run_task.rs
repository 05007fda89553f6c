//! `run`.

use serde::{Deserialize, Serialize};

use super::{
    duration,
    node::{Node, Position},
    places,
    reader::Reader,
};
use crate::{
    expression::Template,
    fault::{Fault, FaultKind},
};

/// What a `run` runs.
#[derive(Debug, Clone)]
pub enum Running {
    /// Another workflow.
    Workflow {
        /// Its namespace.
        namespace: Template,
        /// Its name.
        name: Template,
        /// Its version, or `latest`.
        version: Template,
        /// Its input.
        input: Template,
        /// Whether to wait for it.
        awaited: bool,
    },
    /// A container, script or shell command.
    Process {
        /// Which of them.
        process: ProcessKind,
        /// Its fields.
        settings: Template,
        /// Whether to wait for it.
        awaited: bool,
        /// What of its end is the output: `stdout`, `stderr`, `code`, `all` or `none`.
        returns: &'static str,
    },
}

/// What kind of program is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessKind {
    /// A container.
    Container,
    /// A script.
    Script,
    /// A shell command.
    Shell,
}

pub(super) fn read(reader: &mut Reader, node: &Node<'_>) -> Option<Running> {
    if !reader.object(node, &places::RUN) {
        return None;
    }
    let awaited = node.get("await").is_none() || reader.boolean(node.get("await"));
    let kinds = ["workflow", "container", "script", "shell"];
    let said: Vec<_> = kinds.into_iter().filter_map(|kind| Some((kind, node.get(kind)?))).collect();
    let [(kind, what)] = said.as_slice() else {
        let fault = Fault::new(FaultKind::BadValue, &node.at, "one thing is run");
        reader.fault(fault.expected("`workflow`, `container`, `script` or `shell`"));
        return None;
    };
    let (process, place, granted) = match *kind {
        "workflow" => return workflow(reader, node, what, awaited),
        "container" => (ProcessKind::Container, &places::RUN_CONTAINER, reader.grants.container),
        "script" => (ProcessKind::Script, &places::RUN_SCRIPT, reader.grants.script),
        _ => (ProcessKind::Shell, &places::RUN_SHELL, reader.grants.shell),
    };
    if !granted {
        reader.unsupported(what, format!("`run: {kind}` is refused, because it is not granted"));
        return None;
    }
    reader.object(what, place);
    if let Some(lifetime) = what.get("lifetime") {
        read_lifetime(reader, &lifetime);
    }
    if let Some(pull) = what.get("pullPolicy") {
        reader.one_of(&pull, &["ifNotPresent", "always", "never"]);
    }
    if let Some(language) = what.get("language") {
        reader.one_of(&language, &["js", "javascript", "python"]);
    }
    let words = ["stdout", "stderr", "code", "all", "none"];
    let returns = node.get("return").and_then(|node| reader.one_of(&node, &words)).unwrap_or("stdout");
    let settings = reader.template(what, Position::Within);
    Some(Running::Process { process, settings, awaited, returns })
}

fn read_lifetime(reader: &mut Reader, node: &Node<'_>) {
    reader.object(node, &places::LIFETIME);
    let cleanup = node.get("cleanup").and_then(|node| reader.one_of(&node, &["always", "never", "eventually"]));
    let after = node.get("after");
    if (cleanup == Some("eventually")) != after.is_some() {
        reader.wrong(node, FaultKind::BadValue, "`after` belongs to `cleanup: eventually`", "both or neither");
    }
    if let Some(after) = after {
        duration::read(reader, &after, Position::Within);
    }
}

fn workflow(reader: &mut Reader, run: &Node<'_>, node: &Node<'_>, awaited: bool) -> Option<Running> {
    if let Some(returns) = run.get("return") {
        reader.unsupported(
            &returns,
            "`return` belongs to containers, scripts and shell commands: a workflow returns its output",
        );
    }
    reader.object(node, &places::RUN_WORKFLOW);
    let mut text = |field: &str| node.get(field).map(|node| reader.text_template(&node, Position::Within));
    let (namespace, name, version) = (text("namespace"), text("name"), text("version"));
    let input = node.get("input").map(|node| reader.template(&node, Position::Within));
    Some(Running::Workflow {
        namespace: namespace?,
        name: name?,
        version: version.unwrap_or_else(|| Template::Plain("latest".into())),
        input: input.unwrap_or_else(|| Template::Plain(serde_json::json!({}))),
        awaited,
    })
}
