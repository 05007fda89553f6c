//! The compile child alone, for tests and benchmarks of this crate. The `nexus` program has it as a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    nexus_wasm::child_main()
}
