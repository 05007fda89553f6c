//! How the engine is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Reading the state of an instance exports its globals, and code for an exported global differs from code for one that
    // is not. Exported from the start, the host compiles the same functions before the snapshot and after it: once.
    println!("cargo::rustc-link-arg-cdylib=--export=__stack_pointer");
}
