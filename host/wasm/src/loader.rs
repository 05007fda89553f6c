//! From bytes to a component that can be called.

use std::sync::Arc;

use nexus_model::LoadError;
use wasmtime::{
    Engine, Precompiled,
    component::{Component, types::ComponentItem},
};

use crate::{
    handler,
    tier::{LinkedComponent, Tier, permits},
    wasi,
};

const MAGIC: &[u8; 4] = b"\0asm";
const MODULE_VERSION: [u8; 4] = [1, 0, 0, 0];
const COMPONENT_VERSION: [u8; 4] = [13, 0, 1, 0];

/// Looks at the first bytes, so that the usual mistakes get a useful answer without starting a compiler.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    let refused = |why: &str| Err(LoadError::NotAComponent(why.into()));
    if bytes.starts_with(b"\x7fELF") {
        return match Engine::detect_precompiled(bytes) {
            Some(Precompiled::Module | Precompiled::Component) => {
                refused("this is compiled code, which is not accepted; upload the component it was made from")
            }
            None => refused("this is a native program; build for wasm32-wasip2"),
        };
    }
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(magic), Some(version)) if magic == MAGIC => match version {
            version if version == COMPONENT_VERSION => Ok(()),
            version if version == MODULE_VERSION => refused(
                "this is a core module; build for wasm32-wasip2, or make a component of it with `wasm-tools component new`",
            ),
            _ => refused("it is WebAssembly of an unknown version"),
        },
        (Some(magic), None) if magic == MAGIC => refused("the file is truncated"),
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            refused("this is WebAssembly text; make a binary of it with `wasm-tools parse`")
        }
        _ => refused("it does not start as WebAssembly does"),
    }
}

/// What an engine's refusal of bytes that look like a component means for whoever sent them.
pub(crate) fn explain(message: String) -> LoadError {
    LoadError::NotAComponent(if message.contains("async") {
        format!("{message} (the async ABI is not supported: export plain functions)")
    } else {
        message
    })
}

/// Links a compiled component: it imports nothing but inert WASI and exports an operation.
pub(crate) fn link(tier: Arc<Tier>, component: &Component, digest: String) -> Result<LinkedComponent, LoadError> {
    let foreign = foreign_imports(&tier.engine, component);
    if !foreign.is_empty() {
        return Err(LoadError::ForeignImports(foreign));
    }
    let run = handler::find(component)?;
    // All names are known, so what does not fit is a function that WASI 0.2 does not have, or has with another type.
    let instance = tier
        .linker
        .instantiate_pre(component)
        .map_err(|error| LoadError::ForeignImports(vec![format!("{error:#}")]))?;
    Ok(LinkedComponent { tier, digest, instance, run, permits: permits_of(component) })
}

/// How much of the pool an instance of this component takes.
pub(crate) fn permits_of(component: &Component) -> u32 {
    let (memories, tables) =
        component.resources_required().map_or((1, 1), |needs| (needs.num_memories, needs.num_tables));
    permits(memories, tables)
}

/// What a component imports, with versions, but for mere types: nobody has to be there for them.
pub(crate) fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    let ty = component.component_type();
    ty.imports(engine).filter(|(_, import)| !is_type(engine, &import.ty)).map(|(name, _)| name.to_owned()).collect()
}

/// Whether it is a type, or an interface that has types and nothing else.
fn is_type(engine: &Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::Type(_) => true,
        ComponentItem::ComponentInstance(interface) => {
            let mut exports = interface.exports(engine).peekable();
            exports.peek().is_some() && exports.all(|(_, export)| is_type(engine, &export.ty))
        }
        _ => false,
    }
}

fn foreign_imports(engine: &Engine, component: &Component) -> Vec<String> {
    imports(engine, component).into_iter().filter(|name| !wasi::is_inert(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        check_header(bytes).unwrap_err().to_string()
    }

    #[test]
    fn the_usual_mistakes_are_named() {
        assert!(check_header(b"\0asm\x0d\0\x01\0").is_ok());
        assert!(refusal(b"\0asm\x01\0\0\0").contains("wasm-tools component new"));
        assert!(refusal(b"\0asm\x02\0\0\0").contains("unknown version"));
        assert!(refusal(b"\0asm").contains("truncated"));
        assert!(refusal(b"\x7fELF\x02\x01\x01").contains("native program"));
        assert!(refusal(b"\n (component)").contains("text"));
        assert!(refusal(b"").contains("WebAssembly"));
        assert!(refusal(b"GIF89a..").contains("WebAssembly"));
    }
}
