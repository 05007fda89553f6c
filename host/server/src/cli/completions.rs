//! `nexus completions`.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{args::Cli, output::Output};

/// Writes the script with which a shell completes this command line.
pub(super) fn write(shell: Shell, output: Output) {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "nexus", &mut script);
    output.piece(&String::from_utf8_lossy(&script));
}
