//! Components with generated WIT types: what is read of them is what was generated.
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use nexus_wasm::fuzzing::Type;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

fuzz_target!(|bytes: &[u8]| {
    let Ok(ty) = Type::of_wit(&mut Unstructured::new(bytes)) else { return };
    for schema in ty.schemas().into_iter().flatten() {
        assert!(jsonschema::meta::is_valid(&schema), "{schema}");
    }
    match component(&ty.wit()) {
        Ok(component) => ty.must_be_read_from(&component),
        Err(error) => panic!("{error}: {}", ty.wit()),
    }
});

/// A component that exports what the WIT says, with functions that only trap.
fn component(wit: &str) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("a.wit", wit).map_err(|error| text(&error))?;
    let world = resolve.select_world(&[package], Some("w")).map_err(|error| text(&error))?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(|error| text(&error))?;
    let encoder = ComponentEncoder::default().module(&module).map_err(|error| text(&error))?;
    let mut encoder = encoder.validate(true);
    encoder.encode().map_err(|error| text(&error))
}
