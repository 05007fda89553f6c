//! Every field that the language has, by the place where it stands.

/// An object of the language: what fields it may have.
#[derive(Debug)]
pub(crate) struct Place {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// What is read.
    pub(crate) fields: &'static [&'static str],
    /// What must be there.
    pub(crate) required: &'static [&'static str],
    /// What the language has and Nexus refuses, and why.
    pub(crate) refused: &'static [(&'static str, &'static str)],
}

/// A field of the language, and whether Nexus has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurfaceField {
    /// Where it stands, such as `call http`.
    pub place: &'static str,
    /// Its name.
    pub field: &'static str,
    /// Why it is refused, if it is.
    pub refused: Option<&'static str>,
}

/// Every field that is read or refused by name. What is not among them is refused as unknown.
pub fn surface() -> Vec<SurfaceField> {
    let read = |place: &'static Place| {
        let kept = place.fields.iter().map(|field| SurfaceField { place: place.name, field, refused: None });
        let refused =
            place.refused.iter().map(|(field, why)| SurfaceField { place: place.name, field, refused: Some(why) });
        kept.chain(refused).collect::<Vec<_>>()
    };
    let calls = REFUSED_CALLS.iter().map(|(call, why)| SurfaceField { place: "call", field: call, refused: Some(why) });
    ALL.into_iter().flat_map(read).chain(calls).collect()
}

/// Kinds of calls that are refused.
pub(crate) const REFUSED_CALLS: [(&str, &str); 3] = [
    ("asyncapi", "calls of the kind `asyncapi` are not there: use `emit` and `listen`"),
    ("grpc", "calls of the kind `grpc` are not there"),
    ("a2a", "calls of the kind `a2a` are not there"),
];

macro_rules! places {
    ($($id:ident = $name:literal [$($field:literal),* $(,)?] $(requires [$($required:literal),*])? $(refuses [$(($refused:literal, $why:literal)),*])?;)*) => {
        $(pub(crate) const $id: Place = Place {
            name: $name,
            fields: &[$($field),*],
            required: &[$($($required),*)?],
            refused: &[$($(($refused, $why)),*)?],
        };)*
        const ALL: [&Place; [$($name),*].len()] = [$(&$id),*];
    };
}

places! {
    WORKFLOW = "workflow" ["document", "input", "use", "do", "timeout", "output", "schedule", "evaluate"] requires ["document", "do"];
    DOCUMENT = "document" ["dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"]
        requires ["dsl", "namespace", "name", "version"];
    USE = "use" ["authentications", "errors", "functions", "retries", "secrets", "timeouts"] refuses [
        ("catalogs", "catalogues are not there: nothing is fetched while a document is read"),
        ("extensions", "extensions are not there: write the tasks where they are to run")
    ];
    EVALUATE = "evaluate" ["language", "mode"];
    SCHEDULE = "schedule" ["every", "cron", "after", "on"];
    TASK = "task" ["if", "input", "output", "export", "timeout", "then", "metadata"];
    CALL = "call" ["call", "with"] requires ["call"];
    CALL_HTTP = "call http" ["method", "endpoint", "headers", "body", "query", "output", "redirect"] requires ["method", "endpoint"];
    CALL_OPENAPI = "call openapi" ["document", "operationId", "parameters", "authentication", "output", "redirect"]
        requires ["document", "operationId"];
    CALL_MCP = "call mcp" ["protocolVersion", "method", "parameters", "timeout", "transport", "client"]
        requires ["method", "transport"];
    MCP_TRANSPORT = "call mcp transport" ["http", "stdio", "options"];
    MCP_HTTP = "call mcp transport http" ["endpoint", "headers"] requires ["endpoint"];
    MCP_STDIO = "call mcp transport stdio" ["command", "arguments", "environment"] requires ["command"];
    MCP_CLIENT = "call mcp client" ["name", "version", "description"] requires ["name", "version"];
    CALL_PROMPT = "call prompt" ["prompt", "input", "model", "output"] requires ["prompt"];
    CALL_AGENT = "call agent" ["model", "instructions", "prompt", "input", "tools", "output", "limits", "memory", "context_tokens"];
    CALL_TOOL = "call tool" ["tool", "arguments"] requires ["tool"];
    CALL_OPERATION = "call operation" ["operation", "input", "app"] requires ["operation"];
    DO = "do" ["do"];
    FORK_TASK = "fork task" ["fork"];
    EMIT_TASK = "emit task" ["emit"];
    RAISE_TASK = "raise task" ["raise"];
    RUN_TASK = "run task" ["run"];
    FORK = "fork" ["branches", "compete"] requires ["branches"];
    EMIT = "emit" ["event"] requires ["event"];
    EMIT_EVENT = "emit event" ["with"] requires ["with"];
    EVENT = "event" ["id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data"];
    FOR = "for" ["each", "in", "at"] requires ["in"];
    FOR_TASK = "for task" ["for", "while", "do"] requires ["do"];
    LISTEN = "listen" ["to", "read"] requires ["to"];
    LISTEN_TASK = "listen task" ["listen", "foreach"];
    STRATEGY = "listen to" ["all", "any", "one", "until"];
    EVENT_FILTER = "event filter" ["with", "correlate"] requires ["with"];
    CORRELATION = "correlation" ["from", "expect"] requires ["from"];
    FOREACH = "foreach" ["item", "at", "do", "output", "export"];
    RAISE = "raise" ["error"] requires ["error"];
    ERROR = "error" ["type", "status", "instance", "title", "detail"] requires ["type", "status"];
    RUN = "run" ["workflow", "container", "script", "shell", "await", "return"];
    RUN_WORKFLOW = "run workflow" ["namespace", "name", "version", "input"] requires ["namespace", "name"];
    RUN_CONTAINER = "run container" ["image", "name", "command", "ports", "volumes", "environment", "stdin", "arguments", "lifetime", "pullPolicy"]
        requires ["image"];
    RUN_SCRIPT = "run script" ["language", "code", "stdin", "arguments", "environment"] requires ["language", "code"]
        refuses [("source", "a script's `source` is not fetched: give its `code`")];
    RUN_SHELL = "run shell" ["command", "stdin", "arguments", "environment"] requires ["command"];
    LIFETIME = "container lifetime" ["cleanup", "after"] requires ["cleanup"];
    SET = "set" ["set"];
    SWITCH = "switch" ["switch"];
    CASE = "switch case" ["when", "then"] requires ["then"];
    TRY = "try" ["try", "catch"] requires ["catch"];
    CATCH = "catch" ["errors", "as", "when", "exceptWhen", "retry", "do"];
    CATCH_ERRORS = "catch errors" ["with"];
    ERROR_FILTER = "error filter" ["type", "status", "instance", "title", "details", "detail"];
    RETRY = "retry" ["when", "exceptWhen", "delay", "backoff", "limit", "jitter"];
    BACKOFF = "backoff" ["constant", "exponential", "linear"];
    BACKOFF_KIND = "backoff kind" [];
    RETRY_LIMIT = "retry limit" ["attempt", "duration"];
    RETRY_ATTEMPT = "retry limit attempt" ["count", "duration"];
    JITTER = "jitter" ["from", "to"] requires ["from", "to"];
    WAIT = "wait" ["wait"];
    INPUT = "input" ["schema", "from"];
    OUTPUT = "output" ["schema", "as"];
    EXPORT = "export" ["schema", "as"];
    SCHEMA = "schema" ["format", "document"] refuses [("resource", "a schema is not fetched: give its `document`")];
    TIMEOUT = "timeout" ["after"] requires ["after"];
    DURATION = "duration" ["days", "hours", "minutes", "seconds", "milliseconds"];
    ENDPOINT = "endpoint" ["uri", "authentication"] requires ["uri"];
    RESOURCE = "resource" ["name", "endpoint"] requires ["endpoint"];
    AUTHENTICATION = "authentication" ["use", "basic", "bearer", "digest", "oauth2", "oidc"];
    AUTH_BASIC = "authentication basic" ["username", "password", "use"];
    AUTH_BEARER = "authentication bearer" ["token", "use"];
    AUTH_OAUTH2 = "authentication oauth2" ["authority", "grant", "client", "request", "issuers", "scopes", "audiences", "username", "password", "subject", "actor", "endpoints", "use"];
    AUTH_OIDC = "authentication oidc" ["authority", "grant", "client", "request", "issuers", "scopes", "audiences", "username", "password", "subject", "actor", "use"];
    AUTH_CLIENT = "authentication client" ["id", "secret", "assertion", "authentication"];
    AUTH_REQUEST = "authentication request" ["encoding"];
    AUTH_ENDPOINTS = "authentication endpoints" ["token", "revocation", "introspection"];
    AUTH_TOKEN = "authentication token" ["token", "type"] requires ["token", "type"];
}
