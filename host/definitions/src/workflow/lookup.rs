//! What workflows name in their application: other workflows, and MCP servers.

use std::collections::BTreeMap;

use nexus_model::{App, Implementation, McpServer, McpServerAt, OperationName, PluginName, WorkflowDefinition};
use nexus_workflow::McpTransport;

/// The operation whose workflow is meant by a namespace, a name and a version, or `latest` for the highest.
pub fn workflow_operation<'a>(app: &'a App, namespace: &str, name: &str, version: &str) -> Option<&'a OperationName> {
    let workflows = app.operations.values().filter_map(|operation| match &operation.implementation {
        Implementation::Workflow(workflow) => Some((&**workflow, &operation.name)),
        _ => None,
    });
    find(workflows, namespace, name, version)
}

/// The server of the application that a transport of `call: mcp` is: the one at its address, or with its command.
pub fn server_of_transport<'a>(app: &'a App, transport: &McpTransport) -> Option<&'a PluginName> {
    match transport {
        McpTransport::Http { endpoint, .. } => at_url(&app.servers, &endpoint.url),
        McpTransport::Stdio { command, arguments, .. } => {
            let words: Vec<&str> = [command].into_iter().chain(arguments).map(String::as_str).collect();
            with_command(&app.servers, &words)
        }
    }
}

pub(super) fn at_url<'a>(servers: &'a BTreeMap<PluginName, McpServer>, wanted: &str) -> Option<&'a PluginName> {
    let is_meant = |at: &McpServerAt| matches!(at, McpServerAt::Url { url, .. } if url == wanted);
    servers.iter().find(|(_, server)| is_meant(&server.at)).map(|(name, _)| name)
}

pub(super) fn with_command<'a>(servers: &'a BTreeMap<PluginName, McpServer>, words: &[&str]) -> Option<&'a PluginName> {
    let is_meant =
        |at: &McpServerAt| matches!(at, McpServerAt::Image(image) if !words.is_empty() && image.command == words);
    servers.iter().find(|(_, server)| is_meant(&server.at)).map(|(name, _)| name)
}

pub(super) fn find<'a>(
    workflows: impl Iterator<Item = (&'a WorkflowDefinition, &'a OperationName)>,
    namespace: &str,
    name: &str,
    version: &str,
) -> Option<&'a OperationName> {
    let named = workflows.filter(|(workflow, _)| workflow.reference.0 == namespace && workflow.reference.1 == name);
    match version {
        "latest" => named.max_by_key(|(workflow, _)| rank(&workflow.reference.2)).map(|(_, operation)| operation),
        version => {
            let mut exact = named.filter(|(workflow, _)| workflow.reference.2 == version);
            exact.next().map(|(_, operation)| operation)
        }
    }
}

/// How versions are ordered (semver.org, 11): numbers, then what comes before a release; builds do not count.
fn rank(version: &str) -> ([u64; 3], bool, Vec<Identifier>) {
    let version = version.split('+').next().unwrap_or_default();
    let (core, before) = version.split_once('-').map_or((version, None), |(core, before)| (core, Some(before)));
    let mut numbers = core.split('.').map(|number| number.parse().unwrap_or(u64::MAX));
    let mut next = || numbers.next().unwrap_or_default();
    let core = [next(), next(), next()];
    let identifiers = before.into_iter().flat_map(|before| before.split('.')).map(|word| match word.parse() {
        Ok(number) => Identifier::Number(number),
        Err(_) => Identifier::Word(word.to_owned()),
    });
    (core, before.is_none(), identifiers.collect())
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn versions_are_ordered_as_semantic_ones() {
        let ordered = [
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0",
            "1.2.0",
            "1.10.0",
        ];
        assert!(ordered.is_sorted_by(|one, next| rank(one) < rank(next)));
        assert_eq!(rank("1.0.0+a"), rank("1.0.0+b"));
    }
}
