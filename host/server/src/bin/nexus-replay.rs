//! The program `nexus-replay`: a stand-in for a language model that replays recorded answers.

use std::process::ExitCode;

use nexus_server::{Environment, replay};

fn main() -> ExitCode {
    replay::cli::run(std::env::args_os(), &Environment::of_process())
}
