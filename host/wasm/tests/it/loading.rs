//! What is accepted, and what is refused and how.

use nexus_model::{ComponentAnswer, ComponentHost, ComponentKind, LoadError, PluginHost};
use serde_json::{Value, json};

use crate::support::{Guest, PATIENCE, assemble, built, guest, host, plugin, text, value};

async fn refused(bytes: &[u8]) -> LoadError {
    host().load(ComponentKind::Plugin, bytes).await.unwrap_err()
}

async fn not_a_component(bytes: &[u8]) -> String {
    match refused(bytes).await {
        LoadError::NotAComponent(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_answers_on_both_engines() {
    let host = host();
    let echo = guest("");
    for kind in [ComponentKind::Plugin, ComponentKind::Generated] {
        let component = host.load(kind, &echo).await.unwrap();
        assert_eq!(value(&*component, r#"{"a":1}"#).await, r#"{"a":1}"#);
        assert_eq!(component.digest().len(), 64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_component_answers() {
    let host = host();
    let component = plugin(&host, &built("order-total.wasm")).await;
    let order = json!({ "currency": "EUR", "lines": [{ "sku": "ink", "quantity": 3, "unit_price": "19.99" }] });
    let total: Value = serde_json::from_str(&value(&*component, &order.to_string()).await).unwrap();
    assert_eq!(total, json!({ "currency": "EUR", "total": "59.97" }));
    let order = json!({ "currency": "XXX", "lines": [] }).to_string();
    assert!(matches!(component.run(&order, PATIENCE).await, Ok(ComponentAnswer::Abstain(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_imports_are_named() {
    let component = assemble(&Guest {
        outer: r#"(import "acme:mail/send@1.0.0" (instance (export "send" (func))))
                  (import "wasi:http/types@0.2.6" (instance))
                  (import "wasi:cli/environment@0.2.6" (instance))"#,
        ..Guest::default()
    });
    let LoadError::ForeignImports(names) = refused(&component).await else { panic!() };
    assert_eq!(names, ["acme:mail/send@1.0.0", "wasi:http/types@0.2.6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_wasi_does_not_have_is_foreign() {
    let component = assemble(&Guest {
        outer: r#"(import "wasi:cli/environment@0.2.6" (instance (export "set-environment" (func))))"#,
        ..Guest::default()
    });
    let LoadError::ForeignImports(names) = refused(&component).await else { panic!() };
    assert!(names[0].contains("wasi:cli/environment"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_wrong_export_is_named() {
    let empty = wat::parse_str("(component)").unwrap();
    assert!(
        matches!(refused(&empty).await, LoadError::MissingExport(name) if name.contains("nexus:operation/handler"))
    );
    let other = text(&Guest::default()).replace("\"abstain\"", "\"pass\"");
    assert!(matches!(refused(&wat::parse_str(other).unwrap()).await, LoadError::MissingExport(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_refused_with_a_hint() {
    let module = wat::parse_str("(module)").unwrap();
    assert!(not_a_component(&module).await.contains("core module"));
    assert!(not_a_component(&[0xa5; 4096]).await.contains("does not start"));
    assert!(not_a_component(text(&Guest::default()).as_bytes()).await.contains("text"));
    let whole = guest("");
    for length in [0, 4, 8, 9, whole.len() / 2, whole.len() - 1] {
        // A component that ends after a whole section is a component without exports.
        let error = refused(&whole[..length]).await;
        assert!(matches!(error, LoadError::NotAComponent(_) | LoadError::MissingExport(_)), "{length}: {error:?}");
    }
    let mut broken = whole;
    let middle = broken.len() / 2;
    broken[middle..middle + 16].fill(0xff);
    assert!(!not_a_component(&broken).await.is_empty());
}

/// Found by fuzzing: the decoder of WIT asks for the 2 GiB that a function of this file claims to have.
#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_not_true_is_refused_before_anybody_believes_it() {
    let refused = host().inspect(include_bytes!("long-body.wasm")).await;
    assert!(matches!(refused, Err(LoadError::NotAComponent(_))), "{refused:?}");
}

/// Found by fuzzing: the decoder of WIT panics at a function that is named like an interface.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_wit_does_not_have_is_no_tools_and_the_others_are_there() {
    let component = r#"(component
        (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (export "acme:mail/send" (func $f)) (export "ping" (func $f)))"#;
    let facts = host().inspect(&wat::parse_str(component).unwrap()).await.unwrap();
    assert_eq!(facts.tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), ["ping"]);
    assert_eq!(facts.left_out[0].function, "acme:mail/send");
    assert!(facts.wit.contains("no words"), "{}", facts.wit);
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_is_refused() {
    let mut engine = wasmtime::Config::new();
    engine.epoch_interruption(true).concurrency_support(false);
    let code = wasmtime::Engine::new(&engine).unwrap().precompile_component(&guest("")).unwrap();
    assert!(not_a_component(&code).await.contains("compiled code"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_floor_turns_off_is_refused() {
    let proposals = [
        ("threads", "(component (core module (memory 1 2 shared)))"),
        ("memory64", "(component (core module (memory i64 1)))"),
        ("exceptions", "(component (core module (tag)))"),
        ("gc", "(component (core module (type (struct (field i32)))))"),
        (
            "relaxed simd",
            "(component (core module (func (param v128) (drop (i32x4.relaxed_trunc_f32x4_s (local.get 0))))))",
        ),
        ("memory beyond the cap", "(component (core module $m (memory 1025)) (core instance (instantiate $m)))"),
        (
            "async",
            r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func (export "f") async (canon lift (core func $i "f") async (callback (core func $i "f")))))"#,
        ),
    ];
    for (name, component) in proposals {
        let bytes = match wat::parse_str(component) {
            Ok(bytes) => bytes,
            Err(error) => panic!("{name}: {error}"),
        };
        let error = refused(&bytes).await;
        assert!(matches!(error, LoadError::NotAComponent(_) | LoadError::Compile(_)), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_component_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let host = crate::support::host_with(nexus_wasm::WasmConfig {
        max_component_bytes: 100,
        ..crate::support::config(dir.path())
    });
    let error = host.load(ComponentKind::Plugin, &guest("")).await.unwrap_err();
    assert!(matches!(error, LoadError::NotAComponent(why) if why.contains("at most 100")));
}
