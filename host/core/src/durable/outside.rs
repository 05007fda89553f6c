//! Calls to the outside: HTTP, `OpenAPI` and MCP, with the application's grants.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nexus_workflow::{
    Credentials, ErrorType, HttpAnswer, HttpCall, McpTransport, Resource, Sealed, SecretReference, WorkflowError,
};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::calls::{Calling, configuration};
use crate::{
    catalogue::host::openapi,
    outgoing::{Inbound, Outbound, OutgoingError},
};

const CONTENT_TYPE: &str = "content-type";
const AUTHORIZATION: &str = "authorization";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl Calling<'_> {
    pub(super) async fn http(&self, call: HttpCall) -> Result<Value, WorkflowError> {
        let mut headers = BTreeMap::new();
        for (name, value) in &call.headers {
            headers.insert(name.to_ascii_lowercase(), text(&self.open(value)?));
        }
        self.authenticate(call.authentication.as_ref(), &mut headers)?;
        let safe = ["GET", "HEAD", "OPTIONS"].contains(&call.method.as_str());
        if !safe && !headers.contains_key(IDEMPOTENCY_KEY) {
            headers.insert(IDEMPOTENCY_KEY.to_owned(), self.key.clone());
        }
        let body = match call.body {
            None => Vec::new(),
            Some(Value::String(text)) if headers.contains_key(CONTENT_TYPE) => text.into_bytes(),
            Some(value) => {
                headers.entry(CONTENT_TYPE.to_owned()).or_insert_with(|| "application/json".to_owned());
                value.to_string().into_bytes()
            }
        };
        let url = with_query(call.url, &call.query);
        let asked = Outbound { method: call.method.clone(), url: url.clone(), headers, body };
        let answer = self.send(asked).await?;
        told(call.method, url, answer)
    }

    pub(super) async fn openapi(
        &self,
        document: &Resource,
        operation: &str,
        parameters: BTreeMap<String, Value>,
        authentication: Option<Credentials>,
    ) -> Result<Value, WorkflowError> {
        let mut headers = BTreeMap::new();
        self.authenticate(document.authentication.as_ref(), &mut headers)?;
        let asked = Outbound { method: "GET".to_owned(), url: document.url.clone(), headers, body: Vec::new() };
        let read = self.send(asked).await?;
        if !(200..300).contains(&read.status) {
            let why = format!("the OpenAPI document answers with the status {}", read.status);
            return Err(WorkflowError::new(ErrorType::Communication, why).with_status(read.status));
        }
        let refused = |refusal: &dyn std::fmt::Display| configuration(refusal.to_string());
        let described = openapi::read(&read.body, &document.url).map_err(|error| refused(&error))?;
        let mut parameters: Map<String, Value> = parameters.into_iter().collect();
        let body = parameters.remove("body");
        let call = openapi::call(&described, operation, &parameters, body.as_ref()).map_err(|error| refused(&error))?;
        let headers = call.headers.into_iter().map(|(name, value)| (name, Sealed::Plain(json!(value)))).collect();
        let (method, url, query) = (call.method, call.url, Vec::new());
        self.http(HttpCall { method, url, headers, query, body, authentication, redirect: true }).await
    }

    /// A request to an MCP server that the application has: the transport says which.
    pub(super) async fn mcp(
        &self,
        method: &str,
        parameters: Value,
        transport: &McpTransport,
    ) -> Result<Value, WorkflowError> {
        let server = nexus_definitions::server_of_transport(&self.run.application.app, transport).ok_or_else(|| {
            configuration("the application has no server of this transport in `spec.mcp`").with_status(404)
        })?;
        match method {
            "tools/list" => {
                let prefix = format!("{server}.");
                let tools = crate::tools::allowed(self.core, &self.run.application);
                let tools = tools.into_iter().filter_map(|tool| {
                    let name = tool.name.strip_prefix(&prefix)?.to_owned();
                    Some(json!({ "name": name, "description": tool.description, "inputSchema": *tool.input }))
                });
                Ok(json!({ "tools": tools.collect::<Vec<_>>() }))
            }
            "tools/call" => {
                let name = parameters["name"].as_str().ok_or_else(|| configuration("`name` is no text"))?;
                let arguments = parameters.get("arguments").cloned().unwrap_or_else(|| json!({}));
                self.use_tool(&format!("{server}.{name}"), arguments).await
            }
            other => Err(configuration(format!("`{other}` is not forwarded: use `tools/list` or `tools/call`"))),
        }
    }

    async fn send(&self, asked: Outbound) -> Result<Inbound, WorkflowError> {
        let app = &self.run.application.app;
        let sent = self.core.outgoing().send(app, asked, app.limits.timeout).await;
        sent.map_err(|error| {
            let (kind, status) = match &error {
                OutgoingError::Invalid(_) => (ErrorType::Configuration, 400),
                OutgoingError::Denied(_) => (ErrorType::Authorization, 403),
                OutgoingError::NoSecret(_) => (ErrorType::Configuration, 404),
                OutgoingError::Egress(_) | OutgoingError::TooLarge => (ErrorType::Communication, 502),
                OutgoingError::Late(_) => (ErrorType::Timeout, 408),
            };
            WorkflowError::new(kind, error.to_string()).with_status(status)
        })
    }

    /// What a request is made with goes into a header.
    fn authenticate(
        &self,
        credentials: Option<&Credentials>,
        headers: &mut BTreeMap<String, String>,
    ) -> Result<(), WorkflowError> {
        let Some(credentials) = credentials else { return Ok(()) };
        let settings = self.open(&credentials.settings)?;
        let field = |name: &str| {
            let missing = || configuration(format!("the authentication has no `{name}`"));
            settings.get(name).map(text).ok_or_else(missing)
        };
        let value = match credentials.scheme.as_str() {
            "basic" => {
                let pair = format!("{}:{}", field("username")?, field("password")?);
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            "bearer" => format!("Bearer {}", field("token")?),
            other => {
                let why = format!(
                    "the authentication `{other}` is not there: use `basic`, `bearer` or a credential of `tools.http`"
                );
                return Err(configuration(why).with_status(501));
            }
        };
        headers.insert(AUTHORIZATION.to_owned(), value);
        Ok(())
    }

    /// What was sealed, opened.
    fn open(&self, sealed: &Sealed) -> Result<Value, WorkflowError> {
        match sealed {
            Sealed::Plain(value) => Ok(value.clone()),
            Sealed::Secret(reference) => self.secret(reference),
            Sealed::List(items) => items.iter().map(|item| self.open(item)).collect::<Result<_, _>>().map(Value::Array),
            Sealed::Map(fields) => {
                let fields = fields.iter().map(|(name, value)| Ok((name.clone(), self.open(value)?)));
                fields.collect::<Result<_, WorkflowError>>().map(Value::Object)
            }
        }
    }

    fn secret(&self, reference: &SecretReference) -> Result<Value, WorkflowError> {
        let app = &self.run.application.app.name;
        let missing = || configuration(format!("the application has no secret `{}`", reference.name)).with_status(404);
        let secret = (self.core.outgoing().secrets)(app, &reference.name).ok_or_else(missing)?;
        let text = secret.expose_secret();
        if reference.path.is_empty() {
            return Ok(serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(|| json!(text)));
        }
        let value: Value = serde_json::from_str(text).map_err(|_| missing())?;
        let part = reference.path.iter().try_fold(&value, |value, field| value.get(field));
        part.cloned().ok_or_else(|| configuration(format!("the secret `{}` has no such field", reference.name)))
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn with_query(mut url: String, query: &[(String, String)]) -> String {
    if query.is_empty() {
        return url;
    }
    let more = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    url.push(if url.contains('?') { '&' } else { '?' });
    url + &more
}

fn told(method: String, url: String, answer: Inbound) -> Result<Value, WorkflowError> {
    let Inbound { status, headers, body } = answer;
    let answer = HttpAnswer { method, url, status, headers, body: BASE64_STANDARD.encode(&body) };
    serde_json::to_value(answer).map_err(|error| configuration(error.to_string()))
}
