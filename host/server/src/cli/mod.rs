//! The command line: what is asked, to whom it goes, and how the answer is shown.

mod apps;
mod args;
mod audit;
mod budget;
mod call;
mod check;
mod client;
mod community;
mod completions;
mod definitions;
mod doctor;
mod event_args;
mod events;
mod executions;
mod failure;
mod guard;
mod health;
mod jit;
mod key;
mod logs;
mod mcp;
mod mcp_servers;
mod memory;
mod metrics;
mod model;
mod oci;
pub(crate) mod output;
mod plugin;
mod prompt;
mod record;
mod secret;
mod serve;
mod sse;
mod templates;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;
use nexus_signals::Redactor;

use self::{
    args::{Cli, Command},
    failure::Failure,
    output::Output,
};
use crate::environment::Environment;

/// Does what the arguments ask for. Exit codes: 0 done; 1 the answer is an error, or there are faults; 2 wrong usage, bad
/// settings, or no connection.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: Environment) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Whoever reads may have gone away.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(cli.json, &environment);
    // Until a server is started, which makes records of panics: what a command opened is not to be in one either.
    let redactor = Redactor::default();
    nexus_signals::show_panics(redactor.clone());
    match dispatch(cli.command, output, environment, redactor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.show(output);
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command, output: Output, environment: Environment, redactor: Redactor) -> Result<(), Failure> {
    match command {
        Command::Check(check) => check::run(&check, output, &environment),
        Command::Serve(serve) => serve::run(&serve, output, environment, redactor),
        Command::EngineGuard(guard) => guard::run(&guard, output, redactor),
        Command::New(new) => templates::new(&new, output),
        Command::Templates { name } => templates::list(name.as_deref(), output),
        Command::Completions { shell } => {
            completions::write(shell, output);
            Ok(())
        }
        Command::Doctor(doctor) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
            let ended = runtime.block_on(doctor::run(&doctor, output, environment, redactor));
            // What hangs longer than it was given is not waited for.
            runtime.shutdown_background();
            ended
        }
        Command::Mcp(mcp) => {
            let runtime = current_thread()?;
            let ended = runtime.block_on(mcp::run(&mcp, output));
            // The end of standard input is not waited for.
            runtime.shutdown_background();
            ended
        }
        Command::Model(model) => current_thread()?.block_on(model::run(&model, output, environment, &redactor)),
        Command::Plugin(plugin) => current_thread()?.block_on(plugin::run(&plugin, output, &environment, &redactor)),
        Command::Prompt(prompt) => current_thread()?.block_on(prompt::run(&prompt, output, &environment, &redactor)),
        Command::Record(record) => current_thread()?.block_on(record::run(&record, output, &environment, &redactor)),
        command => current_thread()?.block_on(ask(command, output)),
    }
}

fn current_thread() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)
}

async fn ask(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Call(call) => call::run(&call, output).await,
        Command::Health(connection) => health::run(&connection, output).await,
        Command::Key(key) => key::run(&key, output).await,
        Command::Secret(secret) => secret::run(&secret, output).await,
        Command::Audit(audit) => audit::run(&audit, output).await,
        Command::Jit(jit) => jit::run(&jit, output).await,
        Command::Executions(executions) => executions::run(&executions, output).await,
        Command::Apps(apps) => apps::run(&apps, output).await,
        Command::Logs(logs) => logs::run(&logs, output).await,
        Command::Metrics(metrics) => metrics::run(&metrics, output).await,
        Command::Events(events) => events::run(&events, output).await,
        Command::Memory(memory) => memory::run(&memory, output).await,
        Command::Check(_)
        | Command::Serve(_)
        | Command::Mcp(_)
        | Command::Model(_)
        | Command::Record(_)
        | Command::Prompt(_)
        | Command::Plugin(_)
        | Command::New(_)
        | Command::Templates { .. }
        | Command::Completions { .. }
        | Command::Doctor(_)
        | Command::EngineGuard(_) => Ok(()),
    }
}
