//! Checks what workflows say of the rest of their application.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use nexus_model::{AppName, McpServer, Operation, OperationName, PluginName, ToolUse};
use nexus_workflow::{
    Authentication, CallKind, Endpoint, NexusFunction, Part, Running, Task, TaskKind, Template, Transport, Url,
};
use serde_json::Value;

use super::{Read, Said, circles, lookup, place, said, tasks};
use crate::{
    document::Document,
    fault::{FaultCode, Faults, Finding, quoted},
    nearest::{listed, nearest},
    tool_use,
};

/// What there is around the workflows.
pub(crate) struct Around<'a> {
    /// `app.yaml`.
    pub(crate) document: &'a Document,
    pub(crate) name: Option<&'a AppName>,
    pub(crate) operations: &'a BTreeMap<OperationName, Operation>,
    pub(crate) tools: &'a ToolUse,
    pub(crate) servers: &'a BTreeMap<PluginName, McpServer>,
}

/// Checks what the workflows say of their application, and of each other.
pub(crate) fn check(around: &Around<'_>, workflows: &[Read], faults: &mut Faults) {
    names_of_steps(around, workflows, faults);
    references(workflows, faults);
    let mut calls = circles::Calls::default();
    for read in workflows {
        let mut checker = Checker { around, workflows, read, calls: &mut calls, faults };
        for task in tasks(&read.workflow) {
            checker.task(task);
        }
    }
    circles::check(&calls, workflows, faults);
}

/// An operation made of a step has a name of its own in the application.
fn names_of_steps(around: &Around<'_>, workflows: &[Read], faults: &mut Faults) {
    let mut known: BTreeMap<&OperationName, String> = BTreeMap::new();
    let written = around.operations.keys().filter(|name| is_operation(around, name.as_str()));
    known.extend(written.map(|name| (name, "an operation of the application".to_owned())));
    for read in workflows {
        for step in &read.steps {
            let Some(of) = &step.step else { continue };
            if let Some(other) = known.get(&step.name) {
                let message =
                    format!("the step would be the operation {}, which {other} is", quoted(step.name.as_str()));
                let finding = Finding::new(FaultCode::DuplicateKey, message).expected("another name of the task");
                faults.add(read.document.fault_at_key(&of.pointer, finding));
            } else {
                known
                    .insert(&step.name, format!("the step at `{}` of {}", of.pointer, quoted(read.operation.as_str())));
            }
        }
    }
}

/// A namespace, a name and a version mean one workflow.
fn references(workflows: &[Read], faults: &mut Faults) {
    let mut known: BTreeMap<_, &OperationName> = BTreeMap::new();
    for read in workflows {
        let reference = &read.definition.reference;
        let Some(other) = known.insert(reference, &read.operation) else { continue };
        let (namespace, name, version) = reference;
        let message = format!("the workflow of {} is `{namespace}/{name}` {version} too", quoted(other.as_str()));
        let finding = Finding::new(FaultCode::DuplicateKey, message);
        let finding = finding.expected("another `name` or `version`, so that `run` means one of them");
        faults.add(read.document.fault_at_value("/document/name", finding));
    }
}

fn is_operation(around: &Around<'_>, name: &str) -> bool {
    around.document.value.pointer("/spec/operations").and_then(|all| all.get(name)).is_some()
}

struct Checker<'a, 'f> {
    around: &'a Around<'a>,
    workflows: &'a [Read],
    read: &'a Read,
    calls: &'f mut circles::Calls,
    faults: &'f mut Faults,
}

impl Checker<'_, '_> {
    fn at_value(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.read.document.fault_at_value(pointer, finding));
    }

    fn at_key(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.read.document.fault_at_key(pointer, finding));
    }

    fn task(&mut self, task: &Task) {
        match &task.kind {
            TaskKind::Call(CallKind::Nexus(NexusFunction::Tool, with)) => self.tool(task, with),
            TaskKind::Call(CallKind::Nexus(NexusFunction::Operation, with)) => self.operation(task, with),
            TaskKind::Call(CallKind::Nexus(NexusFunction::Agent, with)) => self.tools(task, with),
            TaskKind::Call(CallKind::Http { endpoint, .. }) => {
                self.authenticated(task, [endpoint.authentication.as_ref()]);
            }
            TaskKind::Call(CallKind::Openapi { document, authentication, .. }) => {
                self.authenticated(task, [document.authentication.as_ref(), authentication.as_ref()]);
            }
            TaskKind::Call(CallKind::Mcp { method, parameters, transport, .. }) => {
                self.mcp(task, (method, parameters), transport);
            }
            TaskKind::Run(Running::Workflow { namespace, name, version, .. }) => {
                self.workflow(task, [namespace, name, version]);
            }
            _ => {}
        }
    }

    fn text(&mut self, task: &Task, with: &Template, field: &str, expected: &str) -> Option<String> {
        match said(with, field) {
            Said::Literal(Value::String(text)) => Some(text.clone()),
            Said::Literal(_) => {
                let finding = Finding::new(FaultCode::WrongType, format!("{} is no text", quoted(field)));
                self.at_value(&place(task, field), finding.expected(expected));
                None
            }
            Said::Nothing | Said::Computed => None,
        }
    }

    fn goes_to(&mut self, operation: &str, pointer: String) {
        if let Ok(operation) = operation.parse() {
            self.calls.entry(self.read.operation.clone()).or_default().entry(operation).or_insert(pointer);
        }
    }

    fn tool(&mut self, task: &Task, with: &Template) {
        let at = place(task, "tool");
        let Some(tool) = self.text(task, with, "tool", "the name of a tool") else { return };
        let finding = if tool.contains('*') {
            let finding = Finding::new(FaultCode::BadValue, format!("{} is a pattern", quoted(&tool)));
            Some(finding.expected("the name of one tool, as `orders.price`"))
        } else {
            tool_use::unknown(self.around.document, &tool).or_else(|| self.denied(&tool, &tool))
        };
        match finding {
            Some(finding) => self.at_value(&at, finding),
            None => self.goes_to(&tool, at),
        }
    }

    /// What speaks against the use of a tool, or of all that a pattern means.
    fn denied(&self, pattern: &str, shown: &str) -> Option<Finding> {
        let allow = &self.around.tools.allow;
        if allow.iter().any(|allowed| overlap(allowed, pattern)) {
            return None;
        }
        let message = format!("`spec.tools.allow` of the application does not have {}", quoted(shown));
        let finding = Finding::new(FaultCode::UnknownTool, message);
        let expected = if allow.is_empty() {
            "a tool that is allowed, and none is".to_owned()
        } else {
            listed(allow.iter().map(String::as_str))
        };
        Some(finding.expected(expected).nearest(nearest(pattern, allow.iter().map(String::as_str))))
    }

    fn tools(&mut self, task: &Task, with: &Template) {
        let Said::Literal(Value::Array(patterns)) = said(with, "tools") else { return };
        for (number, pattern) in patterns.iter().enumerate() {
            let Some(pattern) = pattern.as_str() else { continue };
            let unknown = tool_use::unknown(self.around.document, pattern);
            if let Some(finding) = unknown.or_else(|| self.denied(pattern, pattern)) {
                self.at_value(&format!("{}/{number}", place(task, "tools")), finding);
            }
        }
    }

    fn operation(&mut self, task: &Task, with: &Template) {
        match said(with, "app") {
            Said::Nothing => {}
            Said::Literal(Value::String(app)) if self.around.name.is_none_or(|own| own.as_str() == app) => {}
            Said::Literal(_) | Said::Computed => {
                let finding =
                    Finding::new(FaultCode::Unsupported, "a workflow calls operations of its own application");
                let expected = "no `app`: applications reach each other by events, with `emit` and `schedule.on`";
                self.at_key(&place(task, "app"), finding.expected(expected));
                return;
            }
        }
        let at = place(task, "operation");
        let Some(name) = self.text(task, with, "operation", "the name of an operation") else { return };
        if is_operation(self.around, &name) {
            self.goes_to(&name, at);
            return;
        }
        let known = self.around.document.value.pointer("/spec/operations").and_then(Value::as_object);
        let known = || known.into_iter().flat_map(|all| all.keys().map(String::as_str));
        let message = format!("the application has no operation {}", quoted(&name));
        let finding = Finding::new(FaultCode::UnknownOperation, message);
        self.at_value(&at, finding.expected(listed(known())).nearest(nearest(&name, known())));
    }

    fn workflow(&mut self, task: &Task, said: [&Template; 3]) {
        let at = format!("{}/run/workflow", task.pointer);
        let [Some(namespace), Some(name), Some(version)] = said.map(|said| said.as_plain().and_then(Value::as_str))
        else {
            return;
        };
        let known = || self.workflows.iter().map(|read| (&*read.definition, &read.operation));
        if let Some(found) = lookup::find(known(), namespace, name, version) {
            let found = found.to_string();
            self.goes_to(&found, at);
            return;
        }
        let shown = |(namespace, name, version): &(String, String, String)| format!("{namespace}/{name} {version}");
        let all: BTreeSet<String> = known().map(|(workflow, _)| shown(&workflow.reference)).collect();
        let all = || all.iter().map(String::as_str);
        let wanted = format!("{namespace}/{name} {version}");
        let message = format!("the application has no workflow {}", quoted(&wanted));
        let finding = Finding::new(FaultCode::UnknownName, message);
        let finding = finding.expected(listed(all())).nearest(nearest(&wanted, all()));
        self.at_value(&at, finding);
    }

    /// A request is made with what the host can put into a header.
    fn authenticated<const N: usize>(&mut self, task: &Task, all: [Option<&Arc<Authentication>>; N]) {
        for authentication in all.into_iter().flatten() {
            if !["basic", "bearer"].contains(&authentication.scheme) {
                let message = format!("the authentication {} is not there", quoted(authentication.scheme));
                let finding = Finding::new(FaultCode::Unsupported, message);
                let expected = "`basic` or `bearer`, or a `credential` of the origin in `spec.tools.http`";
                self.at_key(&format!("{}/with", task.pointer), finding.expected(expected));
            }
        }
    }

    /// A server is one that the application has: what may be reached is said in one place.
    fn mcp(&mut self, task: &Task, (method, parameters): (&str, &Template), transport: &Transport) {
        let at = format!("{}/with/transport", task.pointer);
        if !["tools/list", "tools/call"].contains(&method) {
            let finding =
                Finding::new(FaultCode::Unsupported, format!("{} is not forwarded to servers", quoted(method)));
            self.at_value(&format!("{}/with/method", task.pointer), finding.expected("`tools/list` or `tools/call`"));
        }
        let own = match transport {
            Transport::Http(..) => ["http/headers", "http/endpoint/authentication"].as_slice(),
            Transport::Stdio(..) => ["stdio/environment"].as_slice(),
        };
        for field in own {
            let pointer = format!("{at}/{field}");
            if self.read.document.value.pointer(&pointer).is_some() {
                let finding = Finding::new(FaultCode::Unsupported, "this is said in `spec.mcp` of the application");
                self.at_key(&pointer, finding.expected("`auth` or `env` of the server there, and nothing here"));
            }
        }
        let servers = self.around.servers;
        let (pointer, meant, how) = match transport {
            Transport::Http(endpoint, _) => {
                let url = literal(endpoint);
                (format!("{at}/http/endpoint"), url.and_then(|url| lookup::at_url(servers, &url)), "url")
            }
            Transport::Stdio(command, arguments, _) => {
                let words = words(command, arguments);
                let found = words.and_then(|words| lookup::with_command(servers, &words));
                (format!("{at}/stdio/command"), found, "command")
            }
        };
        let Some(server) = meant else {
            let finding = Finding::new(FaultCode::UnknownTool, "the application has no such MCP server");
            let expected =
                format!("a server of `spec.mcp` with this `{how}`; to add one: `spec.mcp.NAME`, or `nexus mcp add`");
            self.at_value(&pointer, finding.expected(expected));
            return;
        };
        if method == "tools/call"
            && let Template::Plain(parameters) = parameters
            && let Some(tool) = parameters.get("name").and_then(Value::as_str)
        {
            let tool = format!("{server}.{tool}");
            if let Some(finding) = self.denied(&tool, &tool) {
                self.at_value(&format!("{}/with/parameters/name", task.pointer), finding);
            }
        }
    }
}

/// Whether there can be a tool that both mean; each is a name, or what names begin with and `*`.
fn overlap(one: &str, other: &str) -> bool {
    match (one.strip_suffix('*'), other.strip_suffix('*')) {
        (None, None) => one == other,
        (Some(begin), None) => other.starts_with(begin),
        (None, Some(begin)) => one.starts_with(begin),
        (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
    }
}

fn literal(endpoint: &Endpoint) -> Option<String> {
    let Url::Parts(parts) = &endpoint.url else { return None };
    let texts = parts.iter().map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Variable(_) => None,
    });
    texts.collect()
}

fn words<'w>(command: &'w Template, arguments: &'w Template) -> Option<Vec<&'w str>> {
    let arguments = arguments.as_plain()?.as_array()?;
    [command.as_plain()?].into_iter().chain(arguments).map(Value::as_str).collect()
}
