//! `call`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Authentication, Components, Duration, Endpoint, Sealing, authentication, duration, endpoint,
    node::{Node, Position},
    places::{self, Place, REFUSED_CALLS},
    reader::Reader,
    sealing,
};
use crate::{
    expression::Template,
    fault::{Fault, FaultKind, cut, listed},
};

/// A call.
#[derive(Debug, Clone)]
pub enum CallKind {
    /// Over HTTP.
    Http {
        /// The method.
        method: Template,
        /// Where.
        endpoint: Endpoint,
        /// Headers.
        headers: Sealing,
        /// Parameters of the query.
        query: Template,
        /// The body.
        body: Option<Template>,
        /// What of the answer is the output.
        output: HttpOutput,
        /// Whether redirections count as answers.
        redirect: bool,
    },
    /// Of an operation that an `OpenAPI` document describes.
    Openapi {
        /// The document.
        document: Endpoint,
        /// The operation.
        operation: Template,
        /// Its parameters.
        parameters: Template,
        /// With what.
        authentication: Option<std::sync::Arc<Authentication>>,
        /// What of the answer is the output.
        output: HttpOutput,
        /// Whether redirections count as answers.
        redirect: bool,
    },
    /// Of an MCP server.
    Mcp {
        /// The revision of the protocol.
        protocol_version: Option<String>,
        /// The method.
        method: String,
        /// Its parameters.
        parameters: Template,
        /// After what time it fails.
        timeout: Option<Duration>,
        /// How the server is reached.
        transport: Transport,
        /// What is between them and every transport has.
        options: Value,
        /// Who asks.
        client: Option<Value>,
    },
    /// Of a function of Nexus.
    Nexus(NexusFunction, Template),
    /// Of a function of `use.functions`.
    Function {
        /// Which.
        name: String,
        /// Its input; the task's own if nothing is said.
        with: Option<Template>,
    },
}

/// How an MCP server is reached.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Over HTTP, with headers.
    Http(Endpoint, Sealing),
    /// On standard streams of a program: command, arguments, environment.
    Stdio(Template, Template, Sealing),
}

/// What of an answer over HTTP is the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpOutput {
    /// The body: JSON as what it says, text as a text, anything else in Base64.
    #[default]
    Content,
    /// Status, headers, body and what was asked.
    Response,
    /// The body in Base64.
    Raw,
}

/// A function that Nexus adds to the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NexusFunction {
    /// A prompt.
    Prompt,
    /// A model that uses tools until it is done.
    Agent,
    /// A tool.
    Tool,
    /// An operation.
    Operation,
}

const METHODS: [&str; 7] = [
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/read",
    "resources/templates/list",
];

const FUNCTIONS: [(&str, NexusFunction, &Place); 4] = [
    ("prompt", NexusFunction::Prompt, &places::CALL_PROMPT),
    ("agent", NexusFunction::Agent, &places::CALL_AGENT),
    ("tool", NexusFunction::Tool, &places::CALL_TOOL),
    ("operation", NexusFunction::Operation, &places::CALL_OPERATION),
];

pub(super) fn read(reader: &mut Reader, task: &Node<'_>, components: &Components) -> Option<CallKind> {
    let call = task.get("call")?;
    let name = reader.text(&call)?;
    if let Some((_, why)) = REFUSED_CALLS.iter().find(|(refused, _)| *refused == name) {
        reader.unsupported(&call, *why);
        return None;
    }
    let with = task.get("with");
    if let Some(with) = &with {
        reader.is_object(with);
    }
    let known = ["http", "openapi", "mcp", "prompt", "agent", "tool", "operation"];
    if known.contains(&name) && with.is_none() {
        reader.fault(Fault::new(FaultKind::MissingField, &task.at, "`with` is missing"));
        return None;
    }
    match (name, with) {
        ("http", Some(with)) => http(reader, &with, components),
        ("openapi", Some(with)) => openapi(reader, &with, components),
        ("mcp", Some(with)) => mcp(reader, &with, components),
        (name, with) => {
            if let Some((_, function, place)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) {
                let with = with?;
                reader.object(&with, place);
                return Some(CallKind::Nexus(*function, reader.template(&with, Position::Within)));
            }
            if name.contains("://") || name.contains('@') {
                reader.unsupported(
                    &call,
                    "functions of a catalogue or at a URL are not there: write them in `use.functions`",
                );
                return None;
            }
            let functions = reader.names.get("functions").cloned().unwrap_or_default();
            let all = || known.into_iter().chain(functions.iter().map(String::as_str));
            if !functions.iter().any(|function| function == name) {
                let message = format!("there is no function `{}`", cut(name, 60));
                let fault = Fault::new(FaultKind::UnknownName, &call.at, message);
                reader.fault(fault.expected(listed(all())).among(name, all()));
            }
            let with = with.map(|with| reader.template(&with, Position::Within));
            Some(CallKind::Function { name: name.to_owned(), with })
        }
    }
}

fn output(reader: &mut Reader, with: &Node<'_>) -> HttpOutput {
    match with.get("output").and_then(|node| reader.one_of(&node, &["content", "response", "raw"])) {
        Some("response") => HttpOutput::Response,
        Some("raw") => HttpOutput::Raw,
        _ => HttpOutput::Content,
    }
}

/// A template of an object, or an expression for one.
fn fields(reader: &mut Reader, node: Option<Node<'_>>) -> Template {
    let Some(node) = node else { return Template::Plain(Value::Object(serde_json::Map::new())) };
    let template = reader.template(&node, Position::Within);
    if !node.value.is_object() && !matches!(template, Template::Expression(_) | Template::Loose(..)) {
        reader.wrong(&node, FaultKind::WrongType, "this has no fields", "an object or an expression");
    }
    template
}

fn sealed_fields(reader: &mut Reader, node: Option<Node<'_>>) -> Sealing {
    match node {
        Some(node) if node.value.is_object() => sealing::read(reader, &node, Position::Within),
        node => Sealing::Open(fields(reader, node)),
    }
}

fn http(reader: &mut Reader, with: &Node<'_>, components: &Components) -> Option<CallKind> {
    reader.object(with, &places::CALL_HTTP);
    let method = with.get("method").map(|node| reader.text_template(&node, Position::Within));
    let endpoint = with.get("endpoint").and_then(|node| endpoint::read(reader, &node, components));
    let headers = sealed_fields(reader, with.get("headers"));
    let query = fields(reader, with.get("query"));
    let body = with.get("body").map(|node| reader.template(&node, Position::Within));
    let (output, redirect) = (output(reader, with), reader.boolean(with.get("redirect")));
    Some(CallKind::Http { method: method?, endpoint: endpoint?, headers, query, body, output, redirect })
}

fn openapi(reader: &mut Reader, with: &Node<'_>, components: &Components) -> Option<CallKind> {
    reader.object(with, &places::CALL_OPENAPI);
    let document = with.get("document").and_then(|node| endpoint::resource(reader, &node, components));
    let operation = with.get("operationId").map(|node| reader.text_template(&node, Position::Within));
    let parameters = fields(reader, with.get("parameters"));
    let authentication = authentication::referable(reader, with.get("authentication"), components);
    let (output, redirect) = (output(reader, with), reader.boolean(with.get("redirect")));
    Some(CallKind::Openapi { document: document?, operation: operation?, parameters, authentication, output, redirect })
}

fn mcp(reader: &mut Reader, with: &Node<'_>, components: &Components) -> Option<CallKind> {
    reader.object(with, &places::CALL_MCP);
    let protocol_version = with.get("protocolVersion").and_then(|node| reader.text(&node).map(String::from));
    let method = with.get("method").and_then(|node| reader.one_of(&node, &METHODS).map(String::from));
    let parameters = fields(reader, with.get("parameters"));
    let timeout = with.get("timeout").and_then(|node| duration::read(reader, &node, Position::Within));
    if let Some(client) = with.get("client") {
        reader.object(&client, &places::MCP_CLIENT);
    }
    let transport = with.get("transport")?;
    reader.object(&transport, &places::MCP_TRANSPORT);
    if let Some(options) = transport.get("options") {
        reader.is_object(&options);
    }
    let (http, stdio) = (transport.get("http"), transport.get("stdio"));
    let read = match (http, stdio) {
        (Some(http), None) => {
            reader.object(&http, &places::MCP_HTTP);
            let endpoint = http.get("endpoint").and_then(|node| endpoint::read(reader, &node, components));
            let headers = sealed_fields(reader, http.get("headers"));
            endpoint.map(|endpoint| Transport::Http(endpoint, headers))
        }
        (None, Some(stdio)) => {
            reader.object(&stdio, &places::MCP_STDIO);
            let command = stdio.get("command").map(|node| reader.text_template(&node, Position::Within));
            let arguments = stdio.get("arguments").map(|node| {
                reader.is_list(&node);
                reader.template(&node, Position::Within)
            });
            let environment = sealed_fields(reader, stdio.get("environment"));
            let none = Template::Plain(Value::Array(Vec::new()));
            command.map(|command| Transport::Stdio(command, arguments.unwrap_or(none), environment))
        }
        _ => {
            reader.wrong(&transport, FaultKind::BadValue, "there is one transport", "`http` or `stdio`");
            None
        }
    };
    Some(CallKind::Mcp {
        protocol_version,
        method: method?,
        parameters,
        timeout,
        transport: read?,
        options: transport.value.get("options").cloned().unwrap_or_default(),
        client: with.value.get("client").cloned(),
    })
}
