//! Reads under what other names MCP clients see the tools of an application's plugins.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    document::Document,
    fault::{FaultCode, Faults, Finding, quoted},
    nearest::{listed, nearest},
    tree::join,
};

const AT: &str = "/spec/expose";

/// The tool behind each name. A name that is an operation's is a fault, and so is a tool of a plugin that there is not.
/// Whether the plugin has the tool is seen when its component is looked at.
pub(crate) fn read(document: &Document, faults: &mut Faults) -> BTreeMap<String, String> {
    let fields = |at: &str| document.value.pointer(at).and_then(Value::as_object);
    let plugins: Vec<&str> = fields("/spec/plugins").into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut exposed = BTreeMap::new();
    for (name, tool) in fields(AT).into_iter().flatten() {
        let (at, Some(tool)) = (join(AT, name), tool.as_str()) else { continue };
        if fields("/spec/operations").is_some_and(|operations| operations.contains_key(name)) {
            let message = format!("{} is an operation, which is a tool of this name", quoted(name));
            let finding = Finding::new(FaultCode::BadName, message).expected("another name");
            faults.add(document.fault_at_key(&at, finding));
        }
        // A tool without a plugin is a fault of the form.
        if let Some((plugin, _)) = tool.split_once('.')
            && !plugins.contains(&plugin)
        {
            let message = format!("the application has no plugin {}", quoted(plugin));
            let finding = Finding::new(FaultCode::UnknownTool, message)
                .expected(listed(plugins.iter().copied()))
                .nearest(nearest(plugin, plugins.iter().copied()));
            faults.add(document.fault_at_value(&at, finding));
        }
        exposed.insert(name.clone(), tool.to_owned());
    }
    exposed
}
