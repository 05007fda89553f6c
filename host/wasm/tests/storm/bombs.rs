//! Sources and components that are made to keep the compiler busy: row 11 of the table of hostile inputs.

use std::fmt::Write as _;

use nexus_model::{BuildError, ComponentHost, ComponentKind, LoadError};
use nexus_wasm::WasmHost;

use crate::support::{Guest, assemble};

/// What the engine for generated code ends of itself, or the bounds of the child that runs it.
const SOURCES: [&str; 4] = [
    "for (;;) {}",
    "const x = []; for (;;) x.push(new Array(1000).fill(1));",
    "function f() { return f() + 1; } f();",
    "/^(a+)+$/.test('a'.repeat(40) + 'b');",
];

/// A component whose one function has very many variables that live in very many loops.
fn component() -> Vec<u8> {
    let (mut locals, mut body) = (String::new(), String::new());
    for local in 0..20_000 {
        let _ = write!(locals, "(local $v{local} i64) ");
    }
    for step in 0_u32..300_000 {
        let (a, b, c) = (step.wrapping_mul(7919) % 20_000, step.wrapping_mul(104_729) % 20_000, step % 20_000);
        let _ =
            write!(body, "(local.set $v{c} (i64.add (local.get $v{a}) (i64.mul (local.get $v{b}) (local.get $v{c}))))");
        if step % 100 == 0 {
            let _ = write!(body, "(loop $l{step} (br_if $l{step} (i64.eqz (local.get $v{a}))))");
        }
    }
    assemble(&Guest { functions: &format!("(func $bomb {locals} {body})"), body: "(call $bomb)", ..Guest::default() })
}

/// Each ends within the bounds of its child, which is killed where nothing else ends it.
pub(crate) async fn go_off(host: &WasmHost, rounds: usize) {
    let component = component();
    for round in 0..rounds {
        if round % 5 == 0 {
            let error = host.load(ComponentKind::Generated, &component).await.map(|_| "compiled");
            assert!(matches!(error, Err(LoadError::Compile(_))), "{error:?}");
        }
        let source = SOURCES[round % SOURCES.len()];
        let error = host.build(source).await.unwrap_err();
        assert!(matches!(error, BuildError::Source(_) | BuildError::Limit(_)), "{source}: {error:?}");
    }
}
