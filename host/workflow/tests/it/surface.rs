//! Nothing that the language has is left out silently.

use std::{collections::BTreeMap, fs, path::Path};

use nexus_workflow::{Grants, Workflow, surface};
use serde_json::json;

use crate::support::document;

/// The places of the specification's JSON Schema, and what they are called here; `None` for what a refusal by name covers as a
/// whole.
const PLACES: &[(&str, Option<&[&str]>)] = &[
    ("workflow", Some(&["workflow"])),
    ("workflow.document", Some(&["document"])),
    ("workflow.use", Some(&["use"])),
    ("workflow.schedule", Some(&["schedule"])),
    ("taskBase", Some(&["task"])),
    ("callTask.asyncapi", Some(&["call"])),
    ("callTask.asyncapi.with", None),
    ("callTask.grpc", Some(&["call"])),
    ("callTask.grpc.with", None),
    ("callTask.grpc.with.service", None),
    ("callTask.http", Some(&["call"])),
    ("callTask.http.with", Some(&["call http"])),
    ("callTask.openapi", Some(&["call"])),
    ("callTask.openapi.with", Some(&["call openapi"])),
    ("callTask.a2a", Some(&["call"])),
    ("callTask.a2a.with", None),
    ("callTask.mcp", Some(&["call"])),
    ("callTask.mcp.with", Some(&["call mcp"])),
    ("callTask.mcp.with.transport", Some(&["call mcp transport"])),
    ("callTask.mcp.with.transport.http", Some(&["call mcp transport http"])),
    ("callTask.mcp.with.transport.stdio", Some(&["call mcp transport stdio"])),
    ("callTask.mcp.with.client", Some(&["call mcp client"])),
    ("callTask.function", Some(&["call"])),
    ("forkTask", Some(&["fork task"])),
    ("forkTask.fork", Some(&["fork"])),
    ("doTask", Some(&["do"])),
    ("emitTask", Some(&["emit task"])),
    ("emitTask.emit", Some(&["emit"])),
    ("emitTask.emit.event", Some(&["emit event"])),
    ("forTask", Some(&["for task"])),
    ("forTask.for", Some(&["for"])),
    ("listenTask", Some(&["listen task"])),
    ("listenTask.listen", Some(&["listen"])),
    ("raiseTask", Some(&["raise task"])),
    ("raiseTask.raise", Some(&["raise"])),
    ("runTask", Some(&["run task"])),
    ("runTask.run", Some(&["run"])),
    ("runTask.run.container", Some(&["run container"])),
    ("runTask.run.script", Some(&["run script"])),
    ("runTask.run.shell", Some(&["run shell"])),
    ("runTask.run.workflow", Some(&["run workflow"])),
    ("setTask", Some(&["set"])),
    ("switchTask", Some(&["switch"])),
    ("switchTask.switch", Some(&["switch case"])),
    ("tryTask", Some(&["try"])),
    ("tryTask.catch", Some(&["catch"])),
    ("tryTask.catch.errors", Some(&["catch errors"])),
    ("waitTask", Some(&["wait"])),
    ("referenceableAuthenticationPolicy", Some(&["authentication"])),
    (
        "secretBasedAuthenticationPolicy",
        Some(&["authentication basic", "authentication bearer", "authentication oauth2", "authentication oidc"]),
    ),
    ("authenticationPolicy", Some(&["authentication"])),
    ("authenticationPolicy.basic", Some(&["authentication basic"])),
    ("authenticationPolicy.bearer", Some(&["authentication bearer"])),
    ("authenticationPolicy.digest", Some(&["authentication basic"])),
    ("authenticationPolicy.oauth2", Some(&["authentication oauth2"])),
    ("authenticationPolicy.oauth2.endpoints", Some(&["authentication endpoints"])),
    ("oauth2AuthenticationProperties", Some(&["authentication oauth2", "authentication oidc"])),
    ("oauth2AuthenticationProperties.client", Some(&["authentication client"])),
    ("oauth2AuthenticationProperties.request", Some(&["authentication request"])),
    ("oauth2Token", Some(&["authentication token"])),
    ("duration", Some(&["duration"])),
    ("error", Some(&["error"])),
    ("errorFilter", Some(&["error filter"])),
    ("endpoint", Some(&["endpoint"])),
    ("eventProperties", Some(&["event"])),
    ("eventConsumptionStrategy", Some(&["listen to"])),
    ("eventConsumptionStrategy.until", Some(&["listen to"])),
    ("eventFilter", Some(&["event filter"])),
    ("eventFilter.correlate", Some(&["correlation"])),
    ("extension", None),
    ("externalResource", Some(&["resource"])),
    ("input", Some(&["input"])),
    ("output", Some(&["output"])),
    ("export", Some(&["export"])),
    ("retryPolicy", Some(&["retry"])),
    ("retryPolicy.backoff", Some(&["backoff"])),
    ("retryPolicy.limit", Some(&["retry limit"])),
    ("retryPolicy.limit.attempt", Some(&["retry limit attempt"])),
    ("retryPolicy.jitter", Some(&["jitter"])),
    ("schema", Some(&["schema"])),
    ("timeout", Some(&["timeout"])),
    ("catalog", None),
    ("containerLifetime", Some(&["container lifetime"])),
    // What a process puts out: nothing that a document has.
    ("processResult", None),
    ("asyncApiServer", None),
    ("asyncApiOutboundMessage", None),
    ("asyncApiInboundMessage", None),
    ("asyncApiSubscription", None),
    ("asyncApiMessageConsumptionPolicy", None),
    ("subscriptionIterator", Some(&["foreach"])),
];

#[test]
fn every_property_of_the_schema_is_read_or_refused_by_name() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec/properties.txt");
    let known = surface();
    let places: BTreeMap<&str, Option<&[&str]>> = PLACES.iter().copied().collect();
    let mut missing = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let (place, property) = line.split_once(' ').unwrap();
        match places.get(place) {
            None => missing.push(line.to_owned()),
            Some(None) => (),
            Some(Some(names)) => {
                missing.extend(
                    names
                        .iter()
                        .filter(|name| !known.iter().any(|field| field.place == **name && field.field == property))
                        .map(|name| format!("{line} ({name})")),
                );
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn what_is_refused_is_refused_by_name_and_place() {
    let refused = [
        ("/use/extensions", json!({"use": {"extensions": []}})),
        ("/use/catalogs", json!({"use": {"catalogs": {}}})),
        ("/input/schema/resource", json!({"input": {"schema": {"resource": {"endpoint": "https://a/b"}}}})),
        ("/input/schema/format", json!({"input": {"schema": {"format": "avro", "document": {}}}})),
        ("/evaluate/language", json!({"evaluate": {"language": "javascript"}})),
        ("/do/0/a/call", json!({"do": [{"a": {"call": "grpc", "with": {}}}]})),
        ("/do/0/a/call", json!({"do": [{"a": {"call": "asyncapi", "with": {}}}]})),
        ("/do/0/a/call", json!({"do": [{"a": {"call": "a2a", "with": {}}}]})),
        ("/do/0/a/call", json!({"do": [{"a": {"call": "log@1.0.0", "with": {}}}]})),
        ("/do/0/a/run/container", json!({"do": [{"a": {"run": {"container": {"image": "a"}}}}]})),
        ("/do/0/a/run/script", json!({"do": [{"a": {"run": {"script": {"language": "js", "code": "1"}}}}]})),
        ("/do/0/a/run/shell", json!({"do": [{"a": {"run": {"shell": {"command": "ls"}}}}]})),
        (
            "/do/0/a/run/return",
            json!({"do": [{"a": {"run": {"return": "code", "workflow": {"namespace": "a", "name": "b"}}}}]}),
        ),
        (
            "/do/0/a/with/endpoint",
            json!({"do": [{"a": {"call": "http", "with": {"method": "get", "endpoint": "https://a/{+b}"}}}]}),
        ),
    ];
    for (pointer, fields) in refused {
        let mut definition = document("do: [{b: {set: {a: 1}}}]");
        definition.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let faults = Workflow::read(&definition, Grants::default()).unwrap_err();
        let [fault] = faults.as_slice() else { panic!("{pointer}: {faults:?}") };
        assert_eq!((fault.pointer.as_str(), fault.kind), (pointer, nexus_workflow::FaultKind::Unsupported), "{fault}");
    }
}
