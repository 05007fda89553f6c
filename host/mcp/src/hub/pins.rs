//! Tools as they were approved, beside tools as they are offered.

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::{canonical_json, sha256_hex};
use serde_json::Value;
use similar::TextDiff;

use super::error::Fault;

/// SHA-256 over the canonical JSON of a tool as a whole: name, description, schemas, annotations and the rest.
pub fn fingerprint(tool: &Value) -> String {
    sha256_hex(canonical_json(tool))
}

/// What is different about a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolChange {
    /// The tool's name.
    pub tool: String,
    /// In which way it is different.
    pub kind: ChangeKind,
    /// What was approved and what is offered, as a unified diff of their JSON.
    pub diff: String,
}

/// In which way a tool is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not approved.
    New,
    /// It was approved and is not offered.
    Gone,
    /// It is not what was approved.
    Changed,
}

/// Compares what was approved with what is offered, by name. What is the same is left out.
pub fn diff(approved: &BTreeMap<String, Value>, offered: &BTreeMap<String, Value>) -> Vec<ToolChange> {
    let names: std::collections::BTreeSet<_> = approved.keys().chain(offered.keys()).collect();
    let changes = names.into_iter().filter_map(|name| {
        let (was, is) = (approved.get(name), offered.get(name));
        let kind = match (was, is) {
            (Some(was), Some(is)) if fingerprint(was) == fingerprint(is) => return None,
            (Some(_), Some(_)) => ChangeKind::Changed,
            (Some(_), None) => ChangeKind::Gone,
            (None, _) => ChangeKind::New,
        };
        let (was, is) = (was.map(pretty).unwrap_or_default(), is.map(pretty).unwrap_or_default());
        let diff = TextDiff::from_lines(was.as_str(), is.as_str());
        let diff = diff.unified_diff().header("approved", "offered").to_string();
        Some(ToolChange { tool: name.clone(), kind, diff })
    });
    changes.collect()
}

/// Sorted keys, a line for each value, so that a diff shows what differs and nothing else.
fn pretty(tool: &Value) -> String {
    let mut text = serde_json::from_str::<Value>(&canonical_json(tool))
        .and_then(|sorted| serde_json::to_string_pretty(&sorted))
        .unwrap_or_else(|_| tool.to_string());
    text.push('\n');
    text
}

/// The fingerprints of tools.
#[derive(Debug, Default)]
pub(crate) struct Pins(BTreeMap<String, String>);

impl Pins {
    pub(crate) fn of(tools: &BTreeMap<String, Value>) -> Self {
        Self(tools.iter().map(|(name, tool)| (name.clone(), fingerprint(tool))).collect())
    }

    /// Refuses a tool that was not approved.
    pub(crate) fn approved(&self, tool: &str) -> Result<(), Fault> {
        if self.0.contains_key(tool) { Ok(()) } else { Err(Fault::NotApproved(tool.to_owned())) }
    }

    /// Refuses a tool that was not approved, is not offered, or is not what was approved.
    pub(crate) fn check(&self, offered: &Self, tool: &str) -> Result<(), Fault> {
        self.approved(tool)?;
        match offered.0.get(tool) {
            None => Err(Fault::Unknown(tool.to_owned())),
            offered if offered == self.0.get(tool) => Ok(()),
            Some(_) => Err(Fault::Changed(tool.to_owned())),
        }
    }
}

/// What was approved, and its fingerprints.
#[derive(Debug)]
pub(crate) struct Approved {
    pub(crate) tools: BTreeMap<String, Arc<Value>>,
    pub(crate) pins: Pins,
}

impl Approved {
    pub(crate) fn new(tools: BTreeMap<String, Value>) -> Self {
        let pins = Pins::of(&tools);
        Self { tools: tools.into_iter().map(|(name, tool)| (name, Arc::new(tool))).collect(), pins }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools(tools: &[Value]) -> BTreeMap<String, Value> {
        tools.iter().map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool.clone())).collect()
    }

    #[test]
    fn only_what_differs_is_told() {
        let approved = tools(&[
            json!({"name": "same", "inputSchema": {"type": "object"}}),
            json!({"name": "other", "description": "Adds.", "inputSchema": {"type": "object"}}),
            json!({"name": "gone", "inputSchema": {}}),
        ]);
        let offered = tools(&[
            json!({"inputSchema": {"type": "object"}, "name": "same"}),
            json!({"name": "other", "description": "Adds, and reads ~/.ssh.", "inputSchema": {"type": "object"}}),
            json!({"name": "new", "inputSchema": {}}),
        ]);
        let changes = diff(&approved, &offered);
        let told: Vec<_> = changes.iter().map(|change| (change.tool.as_str(), change.kind)).collect();
        assert_eq!(told, [("gone", ChangeKind::Gone), ("new", ChangeKind::New), ("other", ChangeKind::Changed)]);
        assert!(
            changes[2]
                .diff
                .contains("-  \"description\": \"Adds.\",\n+  \"description\": \"Adds, and reads ~/.ssh.\",\n")
        );
        assert!(!changes[2].diff.contains("+  \"name\""));
    }

    #[test]
    fn any_member_of_a_tool_is_pinned() {
        let approved = json!({"name": "a", "inputSchema": {}, "annotations": {"readOnlyHint": true}});
        let offered = json!({"name": "a", "inputSchema": {}, "annotations": {"readOnlyHint": false}});
        let pins = Pins::of(&tools(std::slice::from_ref(&approved)));
        assert_eq!(pins.check(&Pins::of(&tools(&[approved])), "a"), Ok(()));
        assert_eq!(pins.check(&Pins::of(&tools(&[offered])), "a"), Err(Fault::Changed("a".to_owned())));
        assert_eq!(pins.check(&Pins::default(), "a"), Err(Fault::Unknown("a".to_owned())));
        assert_eq!(Pins::default().check(&pins, "a"), Err(Fault::NotApproved("a".to_owned())));
    }
}
