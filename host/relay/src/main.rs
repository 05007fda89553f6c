//! `nexus-relay CONNECTIONS ADDRESS…`, on standard input and output.

use std::{
    error::Error,
    io::{Write, stderr},
    process::ExitCode,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Err(error) = nexus_relay::run(std::env::args().skip(1)).await else { return ExitCode::SUCCESS };
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    // Nobody is told where nobody listens.
    let _ = writeln!(stderr(), "{error}{cause}");
    ExitCode::FAILURE
}
