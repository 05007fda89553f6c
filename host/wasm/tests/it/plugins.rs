//! Components that know nothing of Nexus, as tools: from WebAssembly text, with no glue on either side.

use std::{fmt::Write as _, sync::Arc};

use nexus_model::{
    Access, ComponentFault, Grants, LoadError, PluginFacts, PluginHost, ToolFault, ToolOutcome, ToolSignature,
};
use nexus_wasm::WasmHost;
use serde_json::{Value, json};

use crate::{
    services::Desk,
    support::{self, PATIENCE, host},
};

/// An interface with a record, a variant and a result, on core code that returns what it got.
fn echo() -> Vec<u8> {
    wat::parse_str(include_str!("echo.wat")).unwrap()
}

async fn call(host: &WasmHost, component: &[u8], tool: &str, arguments: Value) -> Result<ToolOutcome, ToolFault> {
    let plugin = host.link(component, &Grants::default()).await.unwrap();
    plugin.call(tool, &arguments, Arc::new(Desk::default()), PATIENCE).await
}

fn tool<'a>(facts: &'a PluginFacts, name: &str) -> &'a ToolSignature {
    facts.tools.iter().find(|tool| tool.name == name).unwrap()
}

#[tokio::test]
async fn functions_are_tools() {
    let host = host();
    let facts = host.inspect(&echo()).await.unwrap();
    let names: Vec<&str> = facts.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["add", "shapes.check", "shapes.same"]);
    let same = tool(&facts, "shapes.same");
    assert_eq!(same.input["properties"]["line"]["required"], json!(["sku", "qty"]));
    assert_eq!(same.input["properties"]["line"]["properties"]["qty"]["maximum"], json!(u32::MAX));
    assert_eq!(same.output.as_ref().unwrap()["required"], json!(["sku", "qty", "note"]));
    assert!(facts.wit.contains("record line"), "{}", facts.wit);
    assert!(facts.imports.is_empty() && facts.grants.is_empty() && facts.left_out.is_empty());
}

#[tokio::test]
async fn arguments_and_results_are_json() {
    let host = host();
    let sum = call(&host, &echo(), "add", json!({ "a": 40, "b": 2 })).await.unwrap();
    assert_eq!(sum, ToolOutcome::Value(json!(42)));
    let line = json!({ "line": { "sku": "süß", "qty": 7 } });
    let same = call(&host, &echo(), "shapes.same", line).await.unwrap();
    assert_eq!(same, ToolOutcome::Value(json!({ "sku": "süß", "qty": 7, "note": null })));
}

#[tokio::test]
async fn the_error_of_a_result_is_the_tools_own() {
    let host = host();
    let ok = call(&host, &echo(), "shapes.check", json!({ "qty": 1 })).await.unwrap();
    assert_eq!(ok, ToolOutcome::Value(json!(1)));
    let error = call(&host, &echo(), "shapes.check", json!({ "qty": 0 })).await.unwrap();
    assert_eq!(error, ToolOutcome::Error(json!({ "too-few": 0 })));
}

#[tokio::test]
async fn what_does_not_fit_never_reaches_the_component() {
    let host = host();
    let wrong = call(&host, &echo(), "shapes.same", json!({ "line": { "sku": "a", "qty": -1 } })).await;
    assert_eq!(wrong.unwrap_err().to_string(), "line.qty: expected u32, got -1");
    let unknown = call(&host, &echo(), "shapes.some", json!({})).await;
    assert_eq!(unknown, Err(ToolFault::Unknown("shapes.some".to_owned())));
}

#[tokio::test]
async fn facts_come_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let first = support::host_with(support::config(dir.path()));
    let facts = first.inspect(&echo()).await.unwrap();
    assert_eq!(first.known(&facts.digest).await, Some(facts.clone()));
    drop(first);
    let again = support::host_with(support::config(dir.path()));
    assert_eq!(again.known(&facts.digest).await, Some(facts));
    assert_eq!(again.known(&"0".repeat(64)).await, None);
    assert_eq!(again.known("no digest").await, None);
}

async fn refusal(component: &str) -> LoadError {
    host().inspect(&wat::parse_str(component).unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn what_cannot_be_a_tool_is_left_out_with_the_reason() {
    let resource = refusal(
        r#"(component
          (type $file (resource (rep i32)))
          (export $exported "file" (type $file))
          (core module $code (func (export "size") (param i32) (result i32) (i32.const 1)))
          (core instance $code (instantiate $code))
          (func $size (param "file" (borrow $exported)) (result u32) (canon lift (core func $code "size")))
          (export "size" (func $size)))"#,
    )
    .await;
    let message = resource.to_string();
    assert!(message.contains("`size`: it takes or returns a resource"), "{message}");
    let empty = refusal("(component)").await;
    assert!(empty.to_string().contains("exports no function"), "{empty}");
}

#[tokio::test]
async fn a_program_is_refused_with_a_hint() {
    let program = refusal(
        r#"(component
          (core module $code (func (export "run") (result i32) (i32.const 0)))
          (core instance $code (instantiate $code))
          (func $run (result (result)) (canon lift (core func $code "run")))
          (instance $run (export "run" (func $run)))
          (export "wasi:cli/run@0.2.6" (instance $run)))"#,
    )
    .await;
    assert!(program.to_string().contains("crate-type"), "{program}");
}

/// Each type holds the one before twice: a few hundred bytes that describe 2^40 fields.
#[tokio::test]
async fn types_that_explode_are_left_out() {
    let mut types = String::from("(type $t0 (record (field \"a\" u8)))\n(export $e0 \"t0\" (type $t0))\n");
    for level in 1..40 {
        let below = level - 1;
        write!(
            types,
            "(type $t{level} (record (field \"a\" $e{below}) (field \"b\" $e{below})))
             (export $e{level} \"t{level}\" (type $t{level}))"
        )
        .unwrap();
    }
    let error = refusal(&format!(
        r#"(component {types}
          (core module $code (memory (export "memory") 1) (func (export "f") (param i32))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
          (core instance $code (instantiate $code))
          (alias core export $code "memory" (core memory $memory))
          (alias core export $code "realloc" (core func $realloc))
          (func $f (param "x" $e39) (canon lift (core func $code "f") (memory $memory) (realloc $realloc)))
          (export "f" (func $f)))"#
    ))
    .await;
    assert!(matches!(error, LoadError::NoTools(_) | LoadError::NotAComponent(_)), "{error}");
}

#[tokio::test]
async fn what_is_not_granted_is_named_with_the_lines_that_grant_it() {
    let component = wat::parse_str(
        r#"(component
          (import "wasi:config/store@0.2.0-rc.1" (instance))
          (import "wasi:logging/logging@0.1.0-draft" (instance))
          (core module $code (func (export "f")))
          (core instance $code (instantiate $code))
          (func $f (canon lift (core func $code "f")))
          (export "f" (func $f)))"#,
    )
    .unwrap();
    let host = host();
    let facts = host.inspect(&component).await.unwrap();
    assert_eq!(facts.grants.len(), 2, "{:?}", facts.grants);
    let error = host.link(&component, &Grants::default()).await.unwrap_err().to_string();
    assert!(error.contains("logging: true") && error.contains("config:"), "{error}");
    let granted = Grants { logging: true, config: Some([].into()), ..Grants::default() };
    host.link(&component, &granted).await.unwrap();
    // More than it needs is no fault.
    host.link(&echo(), &Grants { state: Some(Access::Read), ..granted }).await.unwrap();
}

#[tokio::test]
async fn a_loop_ends_at_the_deadline() {
    let component = wat::parse_str(
        r#"(component
          (core module $code (func (export "f") (loop $l (br $l))))
          (core instance $code (instantiate $code))
          (func $f (canon lift (core func $code "f")))
          (export "f" (func $f)))"#,
    )
    .unwrap();
    let host = support::host();
    let plugin = host.link(&component, &Grants::default()).await.unwrap();
    let deadline = std::time::Duration::from_millis(20);
    let late = plugin.call("f", &json!({}), Arc::new(Desk::default()), deadline).await;
    assert_eq!(late, Err(ComponentFault::Deadline(deadline).into()));
}

/// Bytes that only look like a component, and any that are cut short.
#[tokio::test]
async fn broken_bytes_are_refused() {
    let whole = echo();
    let host = host();
    for end in (8..whole.len()).step_by(97) {
        assert!(host.inspect(&whole[..end]).await.is_err() || end == 8, "{end}");
    }
}
