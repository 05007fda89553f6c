//! Hosts and components for tests.

use std::{path::Path, sync::Arc, time::Duration};

use nexus_model::{Component, ComponentAnswer, ComponentFault, ComponentHost, ComponentKind};
use nexus_wasm::{CacheKey, ChildCommand, PoolSize, WasmConfig, WasmHost};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Enough for whatever is not meant to run into it, on a busy machine: it only makes a failure of what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Settings with a cache in `dir`, and patience with a busy machine.
pub(crate) fn config(dir: &Path) -> WasmConfig {
    let child = ChildCommand { program: env!("CARGO_BIN_EXE_nexus-compile-child").into(), args: Vec::new() };
    let mut config = WasmConfig::new(dir.to_owned(), CacheKey::new([7; 32]), child);
    config.generated_compile.wall = Duration::from_mins(1);
    config.pool = PoolSize { instances: 100, concurrent: 80, warm: 16 };
    config
}

pub(crate) fn host_with(config: WasmConfig) -> WasmHost {
    WasmHost::new(config, TaskTracker::new()).unwrap()
}

/// A host whose cache outlives the test: what it holds is signed and named by its content.
pub(crate) fn host() -> WasmHost {
    host_with(config(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")))
}

pub(crate) async fn plugin(host: &WasmHost, component: &[u8]) -> Arc<dyn Component> {
    host.load(ComponentKind::Plugin, component).await.unwrap()
}

pub(crate) async fn javascript(host: &WasmHost, source: &str) -> Arc<dyn Component> {
    let component = host.build(source).await.unwrap();
    host.load(ComponentKind::Generated, &component).await.unwrap()
}

pub(crate) async fn value(component: &dyn Component, input: &str) -> String {
    match component.run(input, PATIENCE).await.unwrap() {
        ComponentAnswer::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn fault(component: &dyn Component, deadline_ms: u64) -> ComponentFault {
    component.run("\"x\"", Duration::from_millis(deadline_ms)).await.unwrap_err()
}

/// The fault of a call on a task of its own, so that one that never gives way ends the test and not its clock.
pub(crate) async fn fault_apart(component: Arc<dyn Component>, deadline: Duration) -> ComponentFault {
    let call = TaskTracker::new().spawn(async move { component.run("\"x\"", deadline).await });
    timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err()
}

/// What a guest made from text consists of, besides what all of them have.
#[derive(Default)]
pub(crate) struct Guest<'a> {
    /// Imports of the component, and what is made of them.
    pub(crate) outer: &'a str,
    /// Arguments of the core module's instantiation.
    pub(crate) with: &'a str,
    /// Imports of the core module.
    pub(crate) imports: &'a str,
    /// More functions of the core module.
    pub(crate) functions: &'a str,
    /// The body of `run`: gets `$input` and `$length`, and may end by falling out, which answers with the input.
    pub(crate) body: &'a str,
}

/// A component that answers with its input, after `body`.
pub(crate) fn guest(body: &str) -> Vec<u8> {
    assemble(&Guest { body, ..Guest::default() })
}

/// Makes the component.
pub(crate) fn assemble(guest: &Guest<'_>) -> Vec<u8> {
    wat::parse_str(text(guest)).unwrap()
}

/// The component as text.
pub(crate) fn text(Guest { outer, with, imports, functions, body }: &Guest<'_>) -> String {
    format!(
        r#"(component
  (core module $memory
    (memory (export "memory") 4)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  {outer}
  (core module $code
    (import "memory" "memory" (memory 4))
    {imports}
    {functions}
    (func (export "run") (param $input i32) (param $length i32) (result i32)
      (local $n i32)
      {body}
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (local.get $input))
      (i32.store (i32.const 24) (local.get $length))
      (i32.const 16)))
  (core instance $code (instantiate $code (with "memory" (instance $memory)) {with}))
  (type $outcome (variant (case "value" string) (case "abstain" string) (case "failure" string)))
  (func $run (param "input" string) (result $outcome)
    (canon lift (core func $code "run") (memory $mem) (realloc $realloc)))
  (component $handler
    (type $variant (variant (case "value" string) (case "abstain" string) (case "failure" string)))
    (import "outcome" (type $outcome (eq $variant)))
    (import "run" (func $run (param "input" string) (result $outcome)))
    (export $exported "outcome" (type $outcome))
    (export "run" (func $run) (func (param "input" string) (result $exported))))
  (instance $handler (instantiate $handler (with "outcome" (type $outcome)) (with "run" (func $run))))
  (export "nexus:operation/handler@0.1.0" (instance $handler)))"#
    )
}

/// A file of `plugins/dist`.
pub(crate) fn built(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist").join(name);
    std::fs::read(&path).unwrap_or_else(|_| panic!("{name} is missing: run `cargo xtask build`"))
}

/// A component of `tests/fixtures/components`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/dist").join(name);
    std::fs::read(&path).unwrap_or_else(|_| panic!("{name} is missing: run `cargo xtask build`"))
}
