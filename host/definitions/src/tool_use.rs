//! Which tools may be used.

use nexus_model::{HttpGrant, ToolUse};
use serde_json::Value;

use crate::{
    document::Document,
    fault::{FaultCode, Faults, Finding, quoted},
    nearest::{listed, nearest},
    plugins,
    tree::join,
};

const AT: &str = "/spec/tools";
/// The namespace of the host's own tools.
pub(crate) const HOST: &str = "core";

/// What executions of the application may use. Whatever has the wrong shape is a fault already.
pub(crate) fn read(document: &Document, faults: &mut Faults) -> ToolUse {
    let field = |name: &str| document.value.pointer(&format!("{AT}/{name}")).cloned();
    let allow: Vec<String> = field("allow").and_then(|allow| serde_json::from_value(allow).ok()).unwrap_or_default();
    for (number, pattern) in allow.iter().enumerate() {
        if let Some(finding) = unknown(document, pattern) {
            faults.add(document.fault_at_value(&format!("{AT}/allow/{number}"), finding));
        }
    }
    let http: Vec<HttpGrant> = field("http").and_then(|http| serde_json::from_value(http).ok()).unwrap_or_default();
    plugins::http(document, &format!("{AT}/http"), &http, faults);
    ToolUse { allow, http }
}

/// What speaks against a pattern meaning tools of this application: of a plugin, a server, the host, or an operation. Whether
/// a plugin or a server has the tool is not known here.
pub(crate) fn unknown(document: &Document, pattern: &str) -> Option<Finding> {
    let names = |at: &str| {
        let given = document.value.pointer(at).and_then(Value::as_object);
        given.into_iter().flat_map(|given| given.keys().map(String::as_str)).collect::<Vec<_>>()
    };
    let Some((namespace, _)) = pattern.split_once('.') else {
        let operations = names("/spec/operations");
        if pattern.ends_with('*') || operations.contains(&pattern) {
            return None;
        }
        let finding = Finding::new(FaultCode::UnknownTool, format!("{} is no tool", quoted(pattern)));
        let expected = "the name of a tool, as `orders.price` or `orders.*`, or of an operation";
        return Some(finding.expected(expected).nearest(nearest(pattern, operations.iter().copied())));
    };
    let known = |at: &str| document.value.pointer(&join(at, namespace)).is_some();
    if namespace == HOST || known("/spec/plugins") || known("/spec/mcp") {
        return None;
    }
    let mut all: Vec<_> = [vec![HOST], names("/spec/plugins"), names("/spec/mcp")].concat();
    all.sort_unstable();
    all.dedup();
    let message = format!("the application has no plugin and no MCP server {}", quoted(namespace));
    let finding = Finding::new(FaultCode::UnknownTool, message).expected(listed(all.iter().copied()));
    Some(finding.nearest(nearest(namespace, all.iter().copied())))
}
