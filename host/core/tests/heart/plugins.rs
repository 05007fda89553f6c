//! Plugins and their tools, on twins.

use std::{
    fmt::Write as _,
    os::unix::fs::PermissionsExt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nexus_core::{CallErrorKind, ImportError, ToolCall, ToolError, ToolErrorKind};
use nexus_definitions::FaultCode;
use nexus_model::{FileTree, sha256_hex};
use serde_json::{Value, json};

use crate::{
    plugin_twins::component,
    twins::{Bench, Coder, files},
};

const ALL: [&str; 8] = ["echo", "fails", "version", "big", "picky", "loops", "held", "does"];

/// The application `sums` with these plugins: name, component and the rest of its definition.
fn plugins(plugins: &[(&str, &Arc<[u8]>, &str)]) -> FileTree {
    let mut app = "apiVersion: nexus/v1\nkind: Application\nmetadata: { name: sums }\nspec:\n  limits: { timeout: 5s, \
                   concurrency: 2, cost_per_execution_usd: 1 }\n  plugins:\n"
        .to_owned();
    let mut tree = FileTree::new();
    for (name, component, rest) in plugins {
        let rest = if rest.is_empty() { String::new() } else { format!(", {rest}") };
        writeln!(app, "    {name}: {{ component: plugins/{name}.wasm{rest} }}").unwrap();
        tree.insert(format!("plugins/{name}.wasm"), Arc::clone(component));
    }
    tree.insert("app.yaml".to_owned(), files::bytes(&app));
    tree
}

async fn bench(tree: FileTree) -> Bench {
    Bench::start(tree, Coder::default(), |_| {}).await
}

async fn call(bench: &Bench, tool: &str, arguments: &Value) -> Result<Value, ToolError> {
    let body = arguments.to_string();
    let answer = bench.core.call_tool(ToolCall { app: "sums", tool, body: body.as_bytes() }).await?;
    Ok(serde_json::from_str(&answer.output).unwrap())
}

/// What `does` says to what it is told: its result, or its error as text.
async fn does(bench: &Bench, arguments: Value) -> Result<Value, String> {
    match call(bench, "p.does", &arguments).await {
        Ok(value) => Ok(value),
        Err(ToolError { kind: ToolErrorKind::Failed(error), .. }) => Err(error.as_str().unwrap().to_owned()),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn tools_are_listed_described_and_called() {
    let bench =
        bench(plugins(&[("p", &component("1", &ALL, &[]), ""), ("q", &component("2", &["version"], &[]), "")])).await;
    let tools = bench.core.tools.list("sums").unwrap();
    assert_eq!(tools.len(), ALL.len() + 1);
    assert_eq!((tools[0].name.as_str(), tools[ALL.len()].name.as_str()), ("p.echo", "q.version"));
    assert_eq!(bench.core.tools.get("sums", "q.version").unwrap(), tools[ALL.len()]);
    assert!(bench.core.tools.list("none").is_none());

    let arguments = json!({ "lines": [{ "qty": 2 }] });
    assert_eq!(call(&bench, "p.echo", &arguments).await.unwrap(), arguments);
    assert_eq!(call(&bench, "q.version", &json!({})).await.unwrap(), "2");
    let failed = call(&bench, "p.fails", &json!({})).await.unwrap_err();
    assert!(failed.execution.is_some());
    assert!(matches!(failed.kind, ToolErrorKind::Failed(error) if error == json!({ "sorry": {} })));
    for (tool, code) in [
        ("p.picky", "invalid_arguments"),
        ("p.loops", "component_deadline"),
        ("p.big", "result_too_large"),
        ("p.none", "unknown_tool"),
        ("none.echo", "unknown_tool"),
        ("echo", "unknown_tool"),
    ] {
        assert_eq!(call(&bench, tool, &json!({})).await.unwrap_err().kind.code(), code, "{tool}");
    }
    let near = call(&bench, "p.ecko", &json!({})).await.unwrap_err().kind;
    assert!(matches!(near, ToolErrorKind::UnknownTool { nearest: Some(near), .. } if near == "p.echo"));
    let broken = bench.core.call_tool(ToolCall { app: "sums", tool: "p.echo", body: b"{" }).await.unwrap_err();
    assert_eq!(broken.kind.code(), "invalid_json");
    let nobody = bench.core.call_tool(ToolCall { app: "sun", tool: "p.echo", body: b"{}" }).await.unwrap_err();
    assert!(matches!(nobody.kind, ToolErrorKind::Call(CallErrorKind::UnknownApp { .. })));
    bench.stop().await;
}

#[tokio::test]
async fn a_component_is_looked_at_once_and_linked_when_it_is_called() {
    let one = component("1", &ALL, &[]);
    let bench = bench(plugins(&[("p", &one, ""), ("q", &one, "")])).await;
    let counts = || (bench.plugins.inspected.load(Ordering::SeqCst), bench.plugins.linked.load(Ordering::SeqCst));
    assert_eq!(counts().1, 0, "nothing is linked before it is called");
    let looked = counts().0;
    for _ in 0..3 {
        call(&bench, "p.version", &json!({})).await.unwrap();
    }
    assert_eq!(counts(), (looked, 1));

    // Another revision with the same component and grants: nothing is done again.
    bench.import(plugins(&[("p", &one, ""), ("q", &one, "grants: { clocks: true }")])).await;
    call(&bench, "p.version", &json!({})).await.unwrap();
    assert_eq!(counts(), (looked, 1));
    bench.import(plugins(&[("p", &one, "grants: { logging: true }"), ("q", &one, "")])).await;
    call(&bench, "p.version", &json!({})).await.unwrap();
    assert_eq!(counts(), (looked, 2), "other grants are linked anew");
    bench.stop().await;
}

#[tokio::test]
async fn a_swap_lets_calls_end_with_the_component_that_they_began_with() {
    let (one, two) = (component("1", &ALL, &[]), component("2", &ALL, &[]));
    let bench = Arc::new(bench(plugins(&[("p", &one, "")])).await);
    let held = {
        let bench = Arc::clone(&bench);
        async move { call(&bench, "p.held", &json!({})).await.unwrap() }
    };
    let swap = async {
        while bench.plugins.held.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        bench.import(plugins(&[("p", &two, "")])).await;
        let new = call(&bench, "p.version", &json!({})).await.unwrap();
        bench.plugins.held.release.notify_waiters();
        new
    };
    let both = tokio::time::timeout(Duration::from_secs(10), futures::future::join(held, swap)).await.unwrap();
    assert_eq!(both, (json!("1"), json!("2")));
    Arc::into_inner(bench).unwrap().stop().await;
}

#[tokio::test]
async fn all_that_is_not_granted_is_told_with_what_would_grant_it() {
    let needs = [
        ("wasi:http/outgoing-handler@0.2.6", "http:\n  - https://api.example.com"),
        ("wasi:keyvalue/store@0.2.0", "state: read"),
        ("nexus:host/tools@1.0.0", "tools: [\"orders.*\"]"),
    ];
    let asking = component("1", &["echo"], &needs);
    let bench = bench(plugins(&[("p", &component("1", &ALL, &[]), "")])).await;
    let two = plugins(&[("p", &asking, "grants: { state: read }"), ("q", &asking, "")]);
    let Err(ImportError::Faults(told)) = bench.try_import(two).await else { panic!("no faults") };
    let told = &told[&bench.operation.app];
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told.iter().all(|fault| fault.code == FaultCode::MissingGrant && fault.file == "app.yaml"));
    assert_eq!((told[0].line, told[1].line), (7, 8));
    let expected = "these lines below its `grants`, or fewer imports:\n  http:\n    - https://api.example.com\n  \
                    tools: [\"orders.*\"]";
    assert_eq!(told[0].expected, expected);
    assert!(told[1].expected.contains("state: read"), "{}", told[1].expected);

    let mut broken = plugins(&[("p", &files::bytes("\0asm\u{d}\0\u{1}\0{"), "")]);
    let Err(ImportError::Faults(told)) = bench.try_import(broken.clone()).await else { panic!("no faults") };
    assert_eq!(told[&bench.operation.app][0].path, "/spec/plugins/p/component");
    broken.insert("plugins/p.wasm".to_owned(), component("1", &["echo"], &[]));
    let wrong = format!("digest: \"sha256:{}\"", sha256_hex("else"));
    let app = String::from_utf8(broken["app.yaml"].to_vec()).unwrap();
    let app = app.replace("p.wasm", &format!("p.wasm, {wrong}, grants: {{ tools: [p.ech] }}"));
    broken.insert("app.yaml".to_owned(), files::bytes(&app));
    let Err(ImportError::Faults(told)) = bench.try_import(broken.clone()).await else { panic!("no faults") };
    assert_eq!(told[&bench.operation.app][0].code, FaultCode::WrongDigest);
    broken.insert("app.yaml".to_owned(), files::bytes(&app.replace(&format!("{wrong}, "), "")));
    let Err(ImportError::Faults(told)) = bench.try_import(broken).await else { panic!("no faults") };
    let fault = &told[&bench.operation.app][0];
    assert_eq!((fault.code, fault.nearest.as_deref()), (FaultCode::UnknownTool, Some("p.echo")));
    assert_eq!(call(&bench, "p.version", &json!({})).await.unwrap(), "1", "what served goes on");
    bench.stop().await;
}

#[tokio::test]
async fn an_application_has_its_share_of_concurrency() {
    let bench = bench(plugins(&[("p", &component("1", &ALL, &[]), "")])).await;
    let (nothing, held) = (json!({}), &bench.plugins.held);
    let busy = async {
        while held.waiting.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        let busy = call(&bench, "p.version", &nothing).await.unwrap_err();
        held.release.notify_waiters();
        busy.kind.code()
    };
    let all = futures::future::join3(call(&bench, "p.held", &nothing), call(&bench, "p.held", &nothing), busy);
    let (one, two, busy) = tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(busy, "busy");
    bench.stop().await;
}

#[tokio::test]
async fn state_is_the_applications_within_the_grant() {
    let grants = "grants: { state: read-write, folder: read }";
    let bench = bench(plugins(&[("p", &component("1", &ALL, &[]), grants)])).await;
    let on = |what: &str, bucket: &str, key: &str| json!({ "what": what, "bucket": bucket, "key": key, "value": "v" });
    assert_eq!(does(&bench, on("get", "b", "k")).await, Ok(Value::Null));
    assert_eq!(does(&bench, on("set", "b", "k")).await, Ok(Value::Null));
    assert_eq!(does(&bench, on("get", "b", "k")).await, Ok(json!("v")));
    assert_eq!(does(&bench, on("get", "", "k")).await, Ok(Value::Null), "another bucket");
    assert_eq!(does(&bench, on("increment", "n", "k")).await, Ok(json!(2)));
    assert_eq!(does(&bench, on("increment", "n", "k")).await, Ok(json!(4)));
    assert!(does(&bench, on("increment", "b", "k")).await.unwrap_err().contains("no whole number"));
    assert_eq!(does(&bench, on("swap", "b", "k")).await, Ok(json!(false)), "it is there");
    assert_eq!(does(&bench, on("swap", "b", "new")).await, Ok(json!(true)));
    assert_eq!(does(&bench, on("delete", "b", "new")).await, Ok(Value::Null));
    assert!(does(&bench, on("get", "b/../x", "k")).await.unwrap_err().contains("not found"));
    for n in 0..101 {
        assert!(does(&bench, on("set", "many", &format!("{n:03}"))).await.is_ok());
    }
    let page = does(&bench, on("keys", "many", "")).await.unwrap();
    assert_eq!((page["keys"].as_array().unwrap().len(), &page["next"]), (100, &json!("099")));
    let rest = does(&bench, json!({ "what": "keys", "bucket": "many", "cursor": "099" })).await.unwrap();
    assert_eq!(rest, json!({ "keys": ["100"], "next": null }));

    let folder = does(&bench, json!({ "what": "folder" })).await.unwrap();
    let folder = bench.folders.path().join("sums").to_str().map(|path| (path == folder, path.to_owned())).unwrap();
    assert!(folder.0);
    assert_eq!(std::fs::metadata(folder.1).unwrap().permissions().mode() & 0o777, 0o700);

    bench.import(plugins(&[("p", &component("1", &ALL, &[]), "grants: { state: read }")])).await;
    assert_eq!(does(&bench, on("get", "b", "k")).await, Ok(json!("v")));
    for write in ["set", "delete", "increment", "swap", "folder"] {
        assert!(does(&bench, on(write, "b", "k")).await.unwrap_err().contains("not granted"), "{write}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn what_is_granted_by_name_is_granted_and_nothing_else() {
    let grants = "grants: { http: [{ origin: \"https://a.example\", credential: { secret: key } }], events: [\"order.*\"], \
                  models: [writer], tools: [\"p.*\"], logging: true }";
    let bench =
        bench(plugins(&[("p", &component("1", &ALL, &[]), grants), ("q", &component("1", &ALL, &[]), "")])).await;
    assert_eq!(does(&bench, json!({ "what": "secret", "key": "key" })).await, Ok(json!("the key of sums")));
    assert!(does(&bench, json!({ "what": "secret", "key": "other" })).await.unwrap_err().contains("not granted"));

    let publish = |kind: &str, subject: Option<&str>| json!({ "what": "publish", "type": kind, "subject": subject });
    assert!(does(&bench, publish("order.placed", Some("7"))).await.unwrap().is_string());
    assert!(does(&bench, publish("order.placed", None)).await.unwrap().is_string());
    for kind in ["mail.sent", "nexus.app.activated", ""] {
        assert!(does(&bench, publish(kind, None)).await.unwrap_err().contains("not granted"), "{kind}");
    }
    assert!(does(&bench, publish("order.placed", Some("a\nb"))).await.unwrap_err().contains("no event"));

    let generate = |model: &str| json!({ "what": "generate", "model": model, "prompt": "hello" });
    assert_eq!(does(&bench, generate("writer")).await, Ok(json!("hello!")));
    assert!(does(&bench, generate("small")).await.unwrap_err().contains("not granted"));

    let nested = |tool: &str| json!({ "what": "call", "tool": tool, "arguments": { "a": 1 } });
    assert_eq!(does(&bench, nested("p.echo")).await, Ok(json!({ "a": 1 })));
    assert_eq!(does(&bench, nested("p.fails")).await, Ok(json!({ "own error": { "sorry": { "a": 1 } } })));
    assert!(does(&bench, nested("p.none")).await.unwrap_err().contains("no tool"));
    assert!(does(&bench, nested("q.echo")).await.unwrap_err().contains("not granted"));
    let deep = does(&bench, json!({ "what": "recurse", "tool": "p.does" })).await;
    assert_eq!(deep, Ok(json!(7)), "the eighth call, the seventh below the first, is refused a ninth");
    assert_eq!(does(&bench, json!({ "what": "log", "value": "hello" })).await, Ok(Value::Null));
    bench.stop().await;
}
