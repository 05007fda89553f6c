//! What fuzz targets put in, and what must hold of what comes out. The targets are in `tests/fuzz`.

use std::{cell::Cell, panic, sync::OnceLock};

use nexus_model::{ComponentKind, Grants};
use serde_json::json;
use wasmtime::{Engine, component::Component};

pub use crate::tools::fuzzing::Type;
use crate::{capabilities, child, docs, engine::compile_engine, loader, tools::Tools};

thread_local! {
    /// Whether a panic is caught where it may come: the fuzzer's own hook knows only the end for one.
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// The engine that plugins are compiled for.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let ends = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CATCHES.get() {
                ends(info)
            }
        }));
        match compile_engine(ComponentKind::Plugin, None) {
            Ok(engine) => engine,
            Err(error) => panic!("{error:#}"),
        }
    })
}

/// All that is read of a file that somebody uploads as a plugin, in the server and in its compile child.
pub fn component(bytes: &[u8]) {
    let docs = docs::read(bytes);
    drop(docs::without_docs(bytes));
    if loader::check_header(bytes).is_err() {
        return;
    }
    let Ok(component) = Component::new(engine(), bytes) else { return };
    CATCHES.set(true);
    assert!(!child::world_text(bytes).is_empty());
    CATCHES.set(false);
    let imports = loader::imports(engine(), &component);
    drop(capabilities::missing(imports.iter().map(String::as_str), &Grants::default()));
    loader::permits_of(&component);
    let Ok(tools) = Tools::of(engine(), &component) else { return };
    for signature in tools.signatures(&docs) {
        let Some(tool) = tools.get(&signature.name) else { panic!("{} is not there", signature.name) };
        for arguments in [json!({}), json!({ "value": [null, -1, "x"] })] {
            drop(tool.arguments(&arguments));
        }
    }
}
