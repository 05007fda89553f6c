//! Plugins for people.

use crate::{InspectedView, PluginList, PluginView, ToolView};

use super::super::output::Output;

pub(super) fn list(list: &PluginList, output: Output) {
    let rows: Vec<_> = list
        .plugins
        .iter()
        .map(|plugin| {
            let grants = serde_json::to_string(&plugin.grants).unwrap_or_default();
            let from = plugin.source.clone().unwrap_or_else(|| plugin.component.clone());
            vec![plugin.name.clone(), plugin.tools.join(" "), grants, from]
        })
        .collect();
    output.table(&["NAME", "TOOLS", "GRANTS", "FROM"], &rows);
}

pub(super) fn plugin(plugin: &PluginView, output: Output) {
    output.line(&format!("{}, {}", plugin.name, plugin.component));
    if let Some(source) = &plugin.source {
        output.line(&format!("source  {source}"));
    }
    output.line(&format!("grants  {}", serde_json::to_string(&plugin.grants).unwrap_or_default()));
    inspected(&plugin.inspected, output);
}

pub(super) fn inspected(found: &InspectedView, output: Output) {
    output.line(&format!("digest  {}", found.digest));
    output.line("\ntools");
    for tool in &found.tools {
        output.line(&format!("  {}", signature(tool)));
    }
    for left in &found.left_out {
        output.line(&format!("  {} is no tool: {}", left.function, left.reason));
    }
    if !found.imports.is_empty() {
        output.line("\nimports");
    }
    for import in &found.imports {
        output.line(&format!("  {import}"));
    }
    if !found.needs.is_empty() {
        output.line(&format!("\nneeds\n{}", grants(found).trim_end()));
    }
    output.line(&format!("\n{}", found.wit.trim_end()));
}

/// A tool on one line: its parameters, and the first line of what is said about it.
fn signature(tool: &ToolView) -> String {
    let parameters = tool.input["properties"].as_object().into_iter().flatten();
    let parameters: Vec<_> = parameters.map(|(name, _)| name.as_str()).collect();
    let said = tool.description.as_deref().and_then(|text| text.lines().next()).unwrap_or_default();
    let said = if said.is_empty() { String::new() } else { format!("  {said}") };
    format!("{}({}){said}", tool.name, parameters.join(", "))
}

/// The least grants as YAML; a comment if there are none.
pub(super) fn grants(found: &InspectedView) -> String {
    if found.needs.is_empty() {
        return "grants: {}   # it needs none\n".to_owned();
    }
    let mut lines: Vec<&str> = Vec::new();
    for need in &found.needs {
        // Interfaces of one capability ask for the same.
        if !lines.contains(&need.yaml.as_str()) {
            lines.push(&need.yaml);
        }
    }
    let indented = lines.iter().flat_map(|yaml| yaml.trim_end().lines()).map(|line| format!("  {line}\n"));
    format!("grants:\n{}", indented.collect::<String>())
}

#[cfg(test)]
mod tests {
    use crate::{GrantNeedView, InspectedView};

    #[test]
    fn each_grant_is_told_once() {
        let need = |import: &str, yaml: &str| GrantNeedView { import: import.to_owned(), yaml: yaml.to_owned() };
        let mut found = InspectedView {
            digest: String::new(),
            tools: Vec::new(),
            left_out: Vec::new(),
            imports: Vec::new(),
            needs: Vec::new(),
            wit: String::new(),
        };
        assert!(super::grants(&found).starts_with("grants: {}"));
        found.needs =
            vec![need("a", "state: read"), need("b", "state: read"), need("c", "http:\n  - https://x.example")];
        assert_eq!(super::grants(&found), "grants:\n  state: read\n  http:\n    - https://x.example\n");
    }
}
