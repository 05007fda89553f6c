//! The description of the API, and that the API is as described.

use serde_json::{Value, json};

use crate::support::{Host, SHOUT};

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

fn description() -> Value {
    serde_json::from_str(&nexus_server::openapi_json()).unwrap()
}

fn operations(description: &Value) -> impl Iterator<Item = (String, &Value)> {
    description["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| Some((format!("{method} {path}"), item.get(*method)?)))
    })
}

#[test]
fn every_route_is_described() {
    let description = description();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."));
    let described: Vec<String> = operations(&description).map(|(name, _)| name).collect();
    for route in [
        "post /v1/apps/{app}/operations/{operation}",
        "get /v1/executions",
        "get /v1/executions/{id}",
        "get /v1/apps",
        "post /v1/apps",
        "get /v1/apps/{app}",
        "get /v1/apps/{app}/dead-letters",
        "get /v1/apps/{app}/dead-letters/{id}",
        "delete /v1/apps/{app}/dead-letters/{id}",
        "post /v1/apps/{app}/dead-letters/{id}/redrive",
        "get /v1/apps/{app}/triggers",
        "get /v1/events",
        "post /v1/events",
        "post /v1/hooks/{app}/{trigger}",
        "put /v1/apps/{app}",
        "delete /v1/apps/{app}",
        "get /v1/apps/{app}/files",
        "get /v1/apps/{app}/files/{path}",
        "put /v1/apps/{app}/files/{path}",
        "delete /v1/apps/{app}/files/{path}",
        "get /v1/apps/{app}/history",
        "get /v1/apps/{app}/diff",
        "post /v1/apps/{app}/restore",
        "post /v1/apps/{app}/activate",
        "post /v1/apps/{app}/deactivate",
        "post /v1/definitions/push",
        "post /v1/definitions/fetch",
        "get /v1/apps/{app}/memory",
        "get /v1/apps/{app}/memory/search",
        "get /v1/apps/{app}/memory/{document}",
        "put /v1/apps/{app}/memory/{document}",
        "post /v1/apps/{app}/memory/{document}",
        "delete /v1/apps/{app}/memory/{document}",
        "get /v1/apps/{app}/plugins",
        "get /v1/apps/{app}/plugins/{plugin}",
        "put /v1/apps/{app}/plugins/{plugin}",
        "delete /v1/apps/{app}/plugins/{plugin}",
        "post /v1/plugins/inspect",
        "get /v1/apps/{app}/tools",
        "get /v1/apps/{app}/tools/{tool}",
        "post /v1/apps/{app}/tools/{tool}/call",
        "get /v1/templates",
        "post /v1/apps/from-template",
        "get /v1/apps/{app}/operations/{operation}/optimization",
        "post /v1/apps/{app}/operations/{operation}/compile",
        "post /v1/apps/{app}/operations/{operation}/promote",
        "post /v1/apps/{app}/operations/{operation}/demote",
        "get /v1/keys",
        "post /v1/keys",
        "post /v1/keys/{id}/rotate",
        "delete /v1/keys/{id}",
        "get /v1/apps/{app}/budget",
        "get /v1/secrets",
        "put /v1/secrets/{name}",
        "delete /v1/secrets/{name}",
        "get /v1/apps/{app}/secrets",
        "put /v1/apps/{app}/secrets/{name}",
        "delete /v1/apps/{app}/secrets/{name}",
        "get /v1/mcp/community",
        "get /v1/apps/{app}/mcp",
        "post /v1/apps/{app}/mcp",
        "delete /v1/apps/{app}/mcp/{server}",
        "get /v1/apps/{app}/mcp/{server}/diff",
        "post /v1/apps/{app}/mcp/{server}/approve",
        "post /v1/apps/{app}/mcp/{server}/login",
        "post /v1/apps/{app}/mcp/{server}/login/finish",
        "post /v1/executions/{id}/cancel",
        "get /v1/sandboxes",
        "get /v1/audit",
        "get /v1/audit/verification",
        "get /v1/logs",
        "get /v1/metrics/query",
        "get /healthz",
        "get /readyz",
        "get /metrics",
        "get /openapi.json",
        "get /",
    ] {
        assert!(described.iter().any(|name| name == route), "{route} is missing");
    }
    assert_eq!(described.len(), 79, "{described:?}");
}

#[test]
fn no_application_can_have_the_name_of_a_path() {
    let description = description();
    for path in description["paths"].as_object().unwrap().keys() {
        let name = path.strip_prefix("/v1/apps/").and_then(|rest| rest.split('/').next());
        if let Some(name) = name.filter(|name| !name.starts_with('{')) {
            assert!(nexus_definitions::RESERVED_APP_NAMES.contains(&name), "{path}");
        }
    }
}

#[test]
fn every_operation_is_described_in_full() {
    let description = description();
    assert_eq!(description["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    for (name, operation) in operations(&description) {
        assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
        // 304 has no body.
        for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2') && *status != "304") {
            let response = response.get("$ref").map_or(response, |place| referred(&description, place));
            let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{name} {status}");
        }
        if name.contains(" /v1/hooks/") {
            assert_eq!(operation["security"], json!([{}]), "{name}: a signature says who asks");
        } else if name.contains(" /v1/") {
            assert_eq!(operation["security"], json!([{ "key": [] }]), "{name}");
            assert!(responses.contains_key("401") && responses.contains_key("429"), "{name}");
        }
        assert!(responses.contains_key("403") && responses.contains_key("500"), "{name}");
        let body = operation.get("requestBody").is_some();
        for status in ["408", "413", "415"] {
            assert_eq!(responses.contains_key(status), body, "{name} {status}");
        }
        let told: Vec<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let wanted: Vec<&str> = name.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        assert_eq!(told, wanted, "{name}");
    }
}

/// What a reference leads to.
fn referred<'d>(description: &'d Value, reference: &Value) -> &'d Value {
    description.pointer(&reference.as_str().unwrap()[1..]).unwrap()
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, description: &Value, seen: &mut usize) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(description.pointer(&reference[1..]).is_some(), "{reference}");
                    *seen += 1;
                }
                fields.values().for_each(|field| walk(field, description, seen));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, description, seen)),
            _ => {}
        }
    }
    let description = description();
    let mut seen = 0;
    walk(&description, &description, &mut seen);
    assert!(seen > 20);
    for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::meta::is_valid(schema), "{name} is not a JSON Schema");
    }
}

/// The schema of an answer, with the components that it refers to.
fn schema(description: &Value, method: &str, path: &str, status: &str, media: &str) -> Value {
    let schema = &description["paths"][path][method]["responses"][status]["content"][media]["schema"];
    assert!(schema.is_object(), "{method} {path} {status} {media}");
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [schema], "components": description["components"],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_described() {
    let host = Host::start().await;
    let call = host.shout("x").send().await.unwrap();
    let id = call.headers()["x-nexus-execution"].to_str().unwrap().to_owned();
    let description = host.json("/openapi.json").await;
    assert_eq!(description, self::description());
    let optimization = format!("{SHOUT}/optimization");
    for (path, template) in [
        ("/v1/executions", "/v1/executions"),
        (&*format!("/v1/executions/{id}"), "/v1/executions/{id}"),
        ("/v1/apps", "/v1/apps"),
        ("/v1/apps/echo-desk/triggers", "/v1/apps/{app}/triggers"),
        ("/v1/apps/echo-desk/dead-letters", "/v1/apps/{app}/dead-letters"),
        ("/v1/apps/echo-desk", "/v1/apps/{app}"),
        (&*optimization, "/v1/apps/{app}/operations/{operation}/optimization"),
        ("/v1/apps/echo-desk/files", "/v1/apps/{app}/files"),
        ("/v1/apps/echo-desk/history", "/v1/apps/{app}/history"),
        ("/v1/templates", "/v1/templates"),
        ("/v1/keys", "/v1/keys"),
        ("/v1/apps/echo-desk/budget", "/v1/apps/{app}/budget"),
        ("/v1/secrets", "/v1/secrets"),
        ("/v1/apps/echo-desk/secrets", "/v1/apps/{app}/secrets"),
        ("/v1/audit", "/v1/audit"),
        ("/v1/audit/verification", "/v1/audit/verification"),
        ("/v1/logs", "/v1/logs"),
        ("/v1/metrics/query", "/v1/metrics/query"),
        ("/healthz", "/healthz"),
        ("/readyz", "/readyz"),
        ("/", "/"),
    ] {
        let schema = schema(&description, "get", template, "200", "application/json");
        let answer = host.json(path).await;
        let wrong: Vec<_> =
            jsonschema::validator_for(&schema).unwrap().iter_errors(&answer).map(|e| e.to_string()).collect();
        assert!(wrong.is_empty(), "{path}: {wrong:?}");
    }
    let problem: Value = host.get("/v1/apps/nobody").send().await.unwrap().json().await.unwrap();
    let schema = schema(&description, "get", "/v1/apps/{app}", "404", "application/problem+json");
    assert!(jsonschema::is_valid(&schema, &problem), "{problem}");
}
