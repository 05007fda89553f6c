//! The program `nexus`.

use std::process::ExitCode;

use nexus_server::{Environment, cli};

fn main() -> ExitCode {
    // The child that compiles reads no environment and no settings: it is told apart before anything else happens.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "compile-child") {
        return nexus_wasm::child_main();
    }
    cli::run(std::env::args_os(), Environment::of_process())
}
