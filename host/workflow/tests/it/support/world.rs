//! Stand-ins for the services that the specification's features and examples call.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use nexus_workflow::{Call, HttpAnswer, NexusFunction, ProcessKind, Sealed};
use serde_json::{Value, json};

/// What the world answers to a call.
pub(crate) fn answer(call: &Call) -> Value {
    match call {
        Call::Http(request) => {
            let (status, body) =
                http(&request.method, &request.url, request.authentication.is_some(), &request.headers);
            json(&request.method, &request.url, status, &body)
        }
        Call::Openapi { document, operation_id, parameters, .. } => {
            let (status, body) = match operation_id.as_str() {
                "getPetById" => (200, pet(parameters.get("petId").and_then(Value::as_i64).unwrap_or(1))),
                "findPetsByStatus" => (200, json!([pet(1), pet(2)])),
                _ => (200, json!({"operation": operation_id})),
            };
            json("GET", &document.url, status, &body)
        }
        Call::Mcp { method, parameters, .. } => json!({"method": method, "parameters": parameters}),
        Call::Function { function: NexusFunction::Prompt, with } => json!({"prompted": with}),
        Call::Function { with, .. } => with.clone(),
        // Those that run agents ask these; the interpreter does not.
        Call::AgentStart { .. } | Call::AgentTurn(_) => Value::Null,
        Call::Process { process, .. } => {
            let word = match process {
                ProcessKind::Container => "container",
                ProcessKind::Script => "script",
                ProcessKind::Shell => "shell",
            };
            json!({"code": 0, "stdout": word, "stderr": ""})
        }
    }
}

fn http(method: &str, url: &str, authenticated: bool, headers: &BTreeMap<String, Sealed>) -> (u16, Value) {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    match path {
        "petstore.swagger.io/v2/pet/findByStatus?status=available" => (200, json!([pet(1), pet(2)])),
        "httpbin.org/basic-auth/serverless-workflow/conformance-test" => {
            if authenticated {
                (200, json!({"authenticated": true}))
            } else {
                (401, json!({}))
            }
        }
        "status.test/503" => (503, json!({})),
        "status.test/302" => (302, json!({})),
        "echo.test/headers" => (200, json!(headers)),
        "swapi.dev/api/people/1" => (200, json!({"name": "Luke", "homeworld": "https://swapi.dev/api/planets/1/"})),
        _ => match path.strip_prefix("petstore.swagger.io/v2/pet/") {
            Some(_) if method == "PUT" => (200, json!({"sold": true})),
            Some(id) => id.parse().map_or((404, json!({"message": "no such pet"})), |id| (200, pet(id))),
            None => (200, json!({"asked": url})),
        },
    }
}

fn pet(id: i64) -> Value {
    json!({"id": id, "name": format!("pet {id}"), "status": "available"})
}

fn json(method: &str, url: &str, status: u16, body: &Value) -> Value {
    let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    let body = STANDARD.encode(body.to_string());
    json!(HttpAnswer { method: method.to_owned(), url: url.to_owned(), status, headers, body })
}
