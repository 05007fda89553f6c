//! Files that somebody uploads as plugins.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nexus_wasm::fuzzing::component(bytes));
