//! JSON for parameters of generated types. The type is made from the end of the input, the JSON is its beginning.
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use nexus_wasm::fuzzing::Type;

fuzz_target!(|bytes: &[u8]| {
    let (json, seed) = bytes.split_at(bytes.len() - bytes.len().min(40));
    if let Ok(ty) = Type::any(&mut Unstructured::new(seed)) {
        ty.must_survive(json);
    }
});
