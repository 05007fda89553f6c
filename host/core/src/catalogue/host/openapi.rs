//! From an operation of an `OpenAPI` 3 document to a request: <https://spec.openapis.org/oas/v3.1.1.html>.
//!
//! Parameters are serialised in the default styles: `simple` in paths and headers, `form` with `explode` in queries. Others
//! are refused by name.

use std::{collections::BTreeMap, fmt::Write as _};

use nexus_definitions::{schema_validator, violations};
use serde_json::{Map, Value};

use super::Refusal;

/// The methods under a path.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
/// References that lead to references.
const MAX_HOPS: usize = 16;

/// A request that the document describes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
}

fn refused(why: impl AsRef<str>) -> Refusal {
    Refusal::said("invalid_arguments", why)
}

/// A document, in JSON or YAML by its name.
pub(crate) fn read(bytes: &[u8], path: &str) -> Result<Value, Refusal> {
    let document = nexus_definitions::value_of(path, bytes);
    let document = document.map_err(|fault| Refusal::said("bad_document", fault.to_string()))?;
    match document.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.") => Ok(document),
        _ => Err(Refusal::said("bad_document", format!("`{path}` is no OpenAPI 3 document"))),
    }
}

/// The request for an operation.
pub(crate) fn call(
    document: &Value,
    operation: &str,
    given: &Map<String, Value>,
    body: Option<&Value>,
) -> Result<Described, Refusal> {
    let (path, method, item, found) =
        find(document, operation).ok_or_else(|| refused(format!("the document has no operation `{operation}`")))?;
    let server = [found, item, document].into_iter().find_map(|at| at.pointer("/servers/0"));
    let mut url = base(server)?;
    let mut parameters: Vec<&Value> = Vec::new();
    for list in [found, item] {
        for parameter in list.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let parameter = resolved(document, parameter)?;
            let same =
                |known: &Value| known.get("name") == parameter.get("name") && known.get("in") == parameter.get("in");
            if !parameters.iter().any(|known| same(known)) {
                parameters.push(parameter);
            }
        }
    }
    let known = |name: &String| parameters.iter().any(|parameter| parameter["name"] == name.as_str());
    if let Some(name) = given.keys().find(|name| !known(name)) {
        return Err(refused(format!("the operation has no parameter `{name}`")));
    }
    let (mut path, mut query, mut headers) = (path.to_owned(), String::new(), BTreeMap::new());
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let Some(value) = given.get(name) else {
            if parameter["required"] == true {
                return Err(refused(format!("the parameter `{name}` is missing")));
            }
            continue;
        };
        if let Some(schema) = parameter.get("schema") {
            check(&format!("the parameter `{name}`"), &with_components(document, schema), value)?;
        }
        let (place, style) = (parameter["in"].as_str().unwrap_or_default(), parameter["style"].as_str());
        match (place, style) {
            ("path", None | Some("simple")) => path = path.replace(&format!("{{{name}}}"), &encoded(&simple(value)?)),
            ("header", None | Some("simple")) => drop(headers.insert(name.to_owned(), simple(value)?)),
            ("query", None | Some("form")) if parameter["explode"] != false => form(&mut query, name, value)?,
            _ => return Err(refused(format!("the parameter `{name}` is serialised in a way that is not supported"))),
        }
    }
    if let Some(schema) = found.pointer("/requestBody/content/application~1json/schema")
        && let Some(body) = body
    {
        check("the body", &with_components(document, schema), body)?;
    }
    if body.is_none() && found.pointer("/requestBody/required") == Some(&Value::Bool(true)) {
        return Err(refused("the body is missing"));
    }
    url.push_str(&path);
    if !query.is_empty() {
        let _ = write!(url, "?{query}");
    }
    Ok(Described { method: method.to_ascii_uppercase(), url, headers })
}

/// The path, the method, the item of the path and the operation of this id.
fn find<'a>(document: &'a Value, id: &str) -> Option<(&'a str, &'static str, &'a Value, &'a Value)> {
    let paths = document.get("paths")?.as_object()?;
    paths.iter().find_map(|(path, item)| {
        let with = |method: &'static str| Some((path.as_str(), method, item, item.get(method)?));
        METHODS.into_iter().filter_map(with).find(|(.., operation)| operation["operationId"] == id)
    })
}

/// The address of a server, with its variables at their defaults.
fn base(server: Option<&Value>) -> Result<String, Refusal> {
    let url = server.and_then(|server| server["url"].as_str());
    let mut url = url.ok_or_else(|| refused("the document does not say where its server is"))?.to_owned();
    let variables = server.and_then(|server| server["variables"].as_object());
    for (name, variable) in variables.into_iter().flatten() {
        url = url.replace(&format!("{{{name}}}"), variable["default"].as_str().unwrap_or_default());
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// What a reference within the document leads to.
fn resolved<'a>(document: &'a Value, mut value: &'a Value) -> Result<&'a Value, Refusal> {
    for _ in 0..MAX_HOPS {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        value = target.ok_or_else(|| refused(format!("`{reference}` is not in the document")))?;
    }
    Err(refused("references lead in a circle"))
}

/// A schema that can be read apart from its document.
fn with_components(document: &Value, schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let (Some(schema), Some(components)) = (schema.as_object_mut(), document.get("components")) {
        schema.insert("components".to_owned(), components.clone());
    }
    schema
}

fn check(what: &str, schema: &Value, value: &Value) -> Result<(), Refusal> {
    let validator = schema_validator(schema).map_err(|error| Refusal::said("bad_document", error.to_string()))?;
    match violations(&validator, value).as_slice() {
        [] => Ok(()),
        [first, ..] => Err(refused(format!("{what}: {}: {}", first.path, first.message))),
    }
}

/// A value in the style `simple`.
fn simple(value: &Value) -> Result<String, Refusal> {
    match value {
        Value::Array(values) => Ok(values.iter().map(scalar).collect::<Result<Vec<_>, _>>()?.join(",")),
        value => scalar(value),
    }
}

fn form(query: &mut String, name: &str, value: &Value) -> Result<(), Refusal> {
    let values = match value {
        Value::Array(values) => values.iter().map(scalar).collect::<Result<Vec<_>, _>>()?,
        value => vec![scalar(value)?],
    };
    for value in values {
        let separator = if query.is_empty() { "" } else { "&" };
        let _ = write!(query, "{separator}{}={}", encoded(name), encoded(&value));
    }
    Ok(())
}

fn scalar(value: &Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(refused("a parameter is a text, a number, `true` or `false`, or a list of those")),
    }
}

/// Percent-encoding of all but the unreserved characters (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "openapi": "3.1.0",
            "servers": [{ "url": "https://{region}.example.com/v1/", "variables": { "region": { "default": "eu" } } }],
            "paths": { "/pets/{pet}/toys": {
                "parameters": [{ "$ref": "#/components/parameters/pet" }],
                "get": { "operationId": "listToys", "parameters": [
                    { "name": "tag", "in": "query", "schema": { "type": "array", "items": { "type": "string" } } },
                    { "name": "X-Trace", "in": "header", "schema": { "type": "string" } },
                    { "name": "odd", "in": "query", "style": "deepObject" },
                ] },
                "post": { "operationId": "addToy", "requestBody": {
                    "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/toy" } } },
                } },
            } },
            "components": {
                "parameters": { "pet": { "name": "pet", "in": "path", "required": true, "schema": { "type": "string" } } },
                "schemas": { "toy": { "type": "object", "required": ["name"] } },
            },
        })
    }

    fn of(operation: &str, parameters: Value, body: Option<&Value>) -> Result<Described, String> {
        let Value::Object(parameters) = parameters else { unreachable!() };
        call(&document(), operation, &parameters, body).map_err(|refusal| match refusal {
            Refusal::Said(why) => why,
            Refusal::Broken(error) => error.to_string(),
        })
    }

    #[test]
    fn an_operation_becomes_a_request() {
        let described = of("listToys", json!({ "pet": "a/../b", "tag": ["x y", "z"], "X-Trace": "1" }), None).unwrap();
        assert_eq!(described.method, "GET");
        assert_eq!(described.url, "https://eu.example.com/v1/pets/a%2F..%2Fb/toys?tag=x%20y&tag=z");
        assert_eq!(described.headers, BTreeMap::from([("X-Trace".to_owned(), "1".to_owned())]));
        assert_eq!(of("addToy", json!({ "pet": "a" }), Some(&json!({ "name": "ball" }))).unwrap().method, "POST");
    }

    #[test]
    fn what_the_document_does_not_describe_is_refused() {
        for (operation, parameters, body) in [
            ("other", json!({}), None),
            ("listToys", json!({}), None),
            ("listToys", json!({ "pet": 1 }), None),
            ("listToys", json!({ "pet": "a", "who": "x" }), None),
            ("listToys", json!({ "pet": "a", "odd": "x" }), None),
            ("listToys", json!({ "pet": "a", "tag": [{}] }), None),
            ("addToy", json!({ "pet": "a" }), None),
            ("addToy", json!({ "pet": "a" }), Some(json!({}))),
        ] {
            assert!(of(operation, parameters.clone(), body.as_ref()).is_err(), "{operation} {parameters}");
        }
        let circle = json!({ "openapi": "3.0.0", "components": { "a": { "$ref": "#/components/a" } } });
        assert!(resolved(&circle, &circle["components"]["a"]).is_err());
    }
}
