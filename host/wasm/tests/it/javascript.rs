//! JavaScript becomes a component.

use std::time::Duration;

use nexus_model::{BuildError, ComponentAnswer, ComponentFault, ComponentHost};
use nexus_wasm::WasmConfig;

use crate::support::{PATIENCE, config, host, host_with, javascript, value};

const DATES: &str = r#"
const MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
  "november", "december"];
function run(input) {
  const match = /^(\d{1,2})(?:st|nd|rd|th)? (?:of )?([a-z]+),? (\d{4})$/i.exec(input.text.trim());
  if (!match) return { abstain: "not a date that I know" };
  const month = MONTHS.indexOf(match[2].toLowerCase()) + 1;
  if (month === 0) return { abstain: "not a month" };
  return { ok: { date: `${match[3]}-${String(month).padStart(2, "0")}-${match[1].padStart(2, "0")}` } };
}"#;

/// A component of the operation's world and its engine may import this much and no more.
const IMPORTS: [&str; 16] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure-seed",
];

async fn refused(source: &str) -> BuildError {
    host().build(source).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_answers_and_abstains() {
    let component = javascript(&host(), DATES).await;
    assert_eq!(value(&*component, r#"{"text":"3rd of March 2024"}"#).await, r#"{"date":"2024-03-03"}"#);
    let answer = component.run(r#"{"text":"tomorrow"}"#, PATIENCE).await.unwrap();
    assert_eq!(answer, ComponentAnswer::Abstain("not a date that I know".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_a_failure() {
    let component = javascript(&host(), "function run(input) { return input.a.b.c; }").await;
    assert!(
        matches!(component.run("{}", PATIENCE).await, Ok(ComponentAnswer::Failure(why)) if why.contains("TypeError"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_the_first_and_gives_the_same_bytes() {
    let source = "let calls = 0; const seen = new Map();
      function run(input) { calls++; for (const k of Object.keys(input)) seen.set(k, calls);
        return { ok: { calls, seen: [...seen], third: 1 / 3, nan: String(0 / 0) } }; }";
    let component = javascript(&host(), source).await;
    let first = value(&*component, r#"{"x":1,"y":2}"#).await;
    assert!(first.contains(r#""calls":1"#), "{first}");
    for _ in 0..100 {
        assert_eq!(value(&*component, r#"{"x":1,"y":2}"#).await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_source_gives_the_same_component() {
    let host = host();
    assert_eq!(host.build(DATES).await.unwrap(), host.build(DATES).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_built_component_is_loaded_from_the_cache_and_imports_inert_wasi_only() {
    let host = host();
    let component = host.build(DATES).await.unwrap();
    let before = host.cache_counters().hits;
    host.load(nexus_model::ComponentKind::Generated, &component).await.unwrap();
    assert_eq!(host.cache_counters().hits, before + 1);
    let engine = wasmtime::Engine::default();
    let component = wasmtime::component::Component::new(&engine, component).unwrap();
    let ty = component.component_type();
    let mut imports: Vec<_> = ty.imports(&engine).map(|(name, _)| name.split('@').next().unwrap()).collect();
    imports.retain(|import| !IMPORTS.contains(import));
    assert!(imports.is_empty(), "{imports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_no_good_is_refused_with_the_reason() {
    for (source, reason) in [
        ("function run(input) {", "SyntaxError"),
        ("throw new Error('not today')", "not today"),
        ("const answer = 42;", "run"),
        ("const run = 42;", ""),
    ] {
        let error = refused(source).await;
        assert!(matches!(&error, BuildError::Source(why) if why.contains(reason)), "{source}: {error:?}");
    }
    let long = format!("// {}", "x".repeat(1 << 20));
    assert!(matches!(refused(&long).await, BuildError::Source(why) if why.contains("at most")));
}

#[tokio::test(flavor = "multi_thread")]
async fn compile_bombs_end() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let host = host_with(WasmConfig { max_source_bytes: 64 << 20, ..config(&dir) });
    host.warm_up().await.unwrap();
    let nested = |open: &str, close: &str| format!("const x = {}1{};", open.repeat(100_000), close.repeat(100_000));
    let bombs = [
        ("nested brackets", nested("[", "]")),
        ("nested parentheses", nested("(", ")")),
        (
            "a long literal",
            format!("const x = '{}'; function run() {{ return {{ ok: x.length }}; }}", "x".repeat(20 << 20)),
        ),
        ("an endless top level", "for (;;) {}".to_owned()),
        ("a top level that takes all memory", "const x = []; for (;;) x.push(new Array(1000).fill(1));".to_owned()),
        ("endless recursion", "function f() { return f() + 1; } f();".to_owned()),
        ("a slow regular expression", "/^(a+)+$/.test('a'.repeat(40) + 'b');".to_owned()),
    ];
    for (name, source) in bombs {
        // Each is refused by a bound of its own, before the processor time of the child is used up.
        match host.build(&source).await.unwrap_err() {
            BuildError::Source(_) => {}
            BuildError::Limit(why) if !why.contains("processor time") => {}
            error => panic!("{name}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_javascript_ends() {
    let host = host();
    let run = |body: &str| format!("function run(input) {{ {body} }}");
    let ends = async |body: &str| javascript(&host, &run(body)).await.run("{}", PATIENCE).await;
    assert_eq!(ends("for (;;) {}").await, Err(ComponentFault::Fuel));
    assert_eq!(ends("/^(a+)+$/.test('a'.repeat(40) + 'b');").await, Err(ComponentFault::Fuel));
    let memory = ends("const x = []; for (;;) x.push(new Array(100000).fill(1));").await;
    assert!(matches!(memory, Ok(ComponentAnswer::Failure(_)) | Err(ComponentFault::Fuel)), "{memory:?}");
    let recursion = ends("const f = (n) => f(n + 1) + 1; return { ok: f(0) };").await;
    assert!(matches!(recursion, Ok(ComponentAnswer::Failure(_)) | Err(ComponentFault::Stack)), "{recursion:?}");
    let long = ends("return { ok: 'x'.repeat(16 << 20) };").await;
    assert!(matches!(long, Err(ComponentFault::Limit(_) | ComponentFault::Fuel)), "{long:?}");
    // With fuel for ever the deadline is what ends it, however late the clock is looked at.
    let dir = tempfile::tempdir().unwrap();
    let mut unfuelled = config(dir.path());
    unfuelled.limits.fuel = u64::MAX;
    let host = host_with(unfuelled);
    let endless = javascript(&host, &run("for (;;) {}")).await;
    let deadline = Duration::from_millis(20);
    assert_eq!(endless.run("{}", deadline).await, Err(ComponentFault::Deadline(deadline)));
}
