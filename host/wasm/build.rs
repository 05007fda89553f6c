//! Checks that the engine for generated code, which this crate embeds, has been built.

use std::path::Path;

const JIT_RUNNER: &str = "../../plugins/dist/jit-runner.wasm";

fn main() {
    println!("cargo::rerun-if-changed={JIT_RUNNER}");
    if !Path::new(JIT_RUNNER).exists() {
        println!(
            "cargo::error=plugins/dist/jit-runner.wasm is missing: run `cargo xtask setup`, then `cargo xtask build`"
        );
    }
}
