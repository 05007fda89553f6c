//! The engine that runs the code which Nexus wrote: `QuickJS` as a component of the world `jit-runner`.
//!
//! The host calls `initialize` once, with JavaScript on standard input, and snapshots the instance; the snapshot is the
//! operation's component. A fresh instance of it starts with the code loaded, so that a call costs what its run costs.

mod program;

use std::{
    cell::OnceCell,
    io::{Read, Write, stderr, stdin},
};

use self::program::Program;

mod bindings {
    #![expect(unsafe_code, reason = "generated: the canonical ABI passes raw pointers")]
    #![expect(clippy::same_length_and_capacity, reason = "generated")]

    wit_bindgen::generate!({ path: "../../wit/operation", world: "jit-runner" });

    export!(Runner with_types_in self);

    use super::Runner;
}

use bindings::exports::nexus::operation::handler::Outcome;

thread_local! {
    /// The one program of this instance. It is what the snapshot is taken for: exports are plain functions, and this is
    /// the only place where what one of them made can wait for the other.
    static PROGRAM: OnceCell<Program> = const { OnceCell::new() };
}

struct Runner;

impl bindings::Guest for Runner {
    fn initialize() {
        if let Err(reason) = load() {
            // Nothing is left to do when even this fails; the trap itself is the answer.
            let _ = writeln!(stderr(), "{reason}");
            std::process::abort();
        }
    }
}

impl bindings::exports::nexus::operation::handler::Guest for Runner {
    fn run(input: String) -> Outcome {
        PROGRAM.with(|program| match program.get() {
            Some(program) => program.run(input),
            None => Outcome::Failure("no code was loaded".to_owned()),
        })
    }
}

/// Reads the source from standard input and keeps what it defines.
fn load() -> Result<(), String> {
    let mut source = Vec::new();
    stdin().lock().read_to_end(&mut source).map_err(|error| format!("the source cannot be read: {error}"))?;
    let program = Program::load(source)?;
    PROGRAM.with(|slot| slot.set(program)).map_err(|_| "code was loaded before".to_owned())
}
