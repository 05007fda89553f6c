//! `core.http.request` and `core.openapi.call`: requests to the origins of an application's `tools.http`.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{HostCatalogue, Outcome, Refusal, openapi, tool::Arguments};
use crate::{
    Scope, Target,
    outgoing::{Inbound, Outbound, OutgoingError},
    registry::Application,
};

const JSON: &str = "application/json";
const CONTENT_TYPE: &str = "content-type";

impl From<OutgoingError> for Refusal {
    fn from(error: OutgoingError) -> Self {
        let code = match &error {
            OutgoingError::Invalid(_) => "invalid_arguments",
            OutgoingError::Denied(_) => "forbidden",
            OutgoingError::NoSecret(_) => "unknown_secret",
            OutgoingError::Egress(_) | OutgoingError::Late(_) => "no_answer",
            OutgoingError::TooLarge => "result_too_large",
        };
        Self::said(code, error.to_string())
    }
}

/// Sends an HTTP request to one of the origins that the application may reach, and returns `status`, `headers` and `body`: JSON
/// as a value, other text as text, anything else as base64 in `body_base64`. Redirects are not followed. A credential of the
/// origin is added by the host.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// The application.
    app: String,
    /// `GET`, if left out.
    method: Option<String>,
    /// The address, as `https://api.example.com/v1/things`.
    url: String,
    /// Header fields.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What is sent: a text as it is, anything else as JSON.
    body: Option<Value>,
}

impl Arguments for Request {
    const NAME: &'static str = "core.http.request";
    const VERB: fn(Target) -> Scope = Scope::Invoke;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let application = host.serving(&self.app, Self::VERB)?;
        let method = self.method.unwrap_or_else(|| "GET".to_owned());
        let (headers, body) = with_body(self.headers, self.body);
        send(host, &application, Outbound { method, url: self.url, headers, body }).await
    }
}

/// Calls an operation that an `OpenAPI` 3 document of the application describes, at an origin that the application may reach.
/// Returns the same as `core.http.request`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenApi {
    /// The application.
    app: String,
    /// The path of the document in the application's folder, in JSON or YAML.
    document: String,
    /// The `operationId`.
    operation: String,
    /// The parameters by name: those of the path, the query and the header.
    #[serde(default)]
    parameters: Map<String, Value>,
    /// The body of the request.
    body: Option<Value>,
}

impl Arguments for OpenApi {
    const NAME: &'static str = "core.openapi.call";
    const VERB: fn(Target) -> Scope = Scope::Invoke;
    const READ_ONLY: bool = false;

    async fn run(self, host: &HostCatalogue) -> Outcome {
        let application = host.serving(&self.app, Self::VERB)?;
        let revision = &application.revision;
        let file = host.core.registry.file_at(&application.app.name, revision, &self.document).await?;
        let no_file = || Refusal::said("unknown_file", format!("the application has no file `{}`", self.document));
        let document = openapi::read(&file.ok_or_else(no_file)?, &self.document)?;
        let call = openapi::call(&document, &self.operation, &self.parameters, self.body.as_ref())?;
        let (headers, body) = with_body(call.headers, self.body);
        send(host, &application, Outbound { method: call.method, url: call.url, headers, body }).await
    }
}

fn with_body(mut headers: BTreeMap<String, String>, body: Option<Value>) -> (BTreeMap<String, String>, Vec<u8>) {
    let body = match body {
        None => Vec::new(),
        Some(Value::String(text)) => text.into_bytes(),
        Some(value) => {
            if !headers.keys().any(|name| name.eq_ignore_ascii_case(CONTENT_TYPE)) {
                headers.insert(CONTENT_TYPE.to_owned(), JSON.to_owned());
            }
            value.to_string().into_bytes()
        }
    };
    (headers, body)
}

async fn send(host: &HostCatalogue, application: &Application, request: Outbound) -> Outcome {
    let limit = application.app.limits.timeout;
    let Inbound { status, headers, body } = host.core.outgoing().send(&application.app, request, limit).await?;
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence == JSON || essence.ends_with("+json")
    });
    let mut answer = json!({ "status": status, "headers": headers });
    let (name, value) = match serde_json::from_slice::<Value>(&body) {
        Ok(value) if is_json => ("body", value),
        _ => match std::str::from_utf8(&body) {
            Ok(text) => ("body", json!(text)),
            Err(_) => ("body_base64", json!(BASE64_STANDARD.encode(&body))),
        },
    };
    answer[name] = value;
    Ok(answer)
}
