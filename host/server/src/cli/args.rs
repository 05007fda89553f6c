//! The command line.

mod access;
mod apps;
mod doctor;
mod folders;
mod guard;
mod mcp;
mod memory;
mod models;
mod observe;
mod operations;
mod plugin;
mod prompts;
mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use access::{Audit, Key, Secret};
pub(crate) use apps::{App, Apps, At, Change, Import};
pub(crate) use doctor::Doctor;
pub(crate) use folders::{Check, New};
pub(crate) use guard::Guard;
pub(crate) use mcp::{Mcp, McpAdd, McpServer};
pub(crate) use memory::{Memory, Remember};
pub(crate) use models::{Model, ModelTest, Record};
pub(crate) use observe::{Logs, Metrics};
pub(crate) use operations::{Call, Executions, Jit, Target};
pub(crate) use plugin::{Add, Become, Dev, Language, New as NewPlugin, Plugin, Update};
pub(crate) use prompts::{Prompt, PromptRender, PromptTest};
pub(crate) use serve::{Format, Serve};

const EXIT_CODES: &str = "Exit codes:\n  0  done\n  1  the answer is an error, or there are faults\n  2  wrong usage, bad settings, or no connection";

const COMPLETIONS: &str = "\
Install it:
  nexus completions bash > ~/.local/share/bash-completion/completions/nexus
  nexus completions zsh  > \"${fpath[1]}/_nexus\"
  nexus completions fish > ~/.config/fish/completions/nexus.fish";

/// Runs AI applications: operations answered by a model first, and by code that Nexus wrote and checked later.
#[derive(Debug, Parser)]
#[command(name = "nexus", version, after_help = EXIT_CODES, arg_required_else_help = true, propagate_version = true)]
pub(crate) struct Cli {
    /// Write JSON, for scripts.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server.
    Serve(Box<Serve>),
    /// Check applications, without a server.
    Check(Check),
    /// Run an operation.
    Call(Call),
    /// Ask whether the server is ready. Exits with 1 when it is not, or when there is none: for health checks.
    #[command(after_help = "Examples:\n  nexus health\n  nexus health --url http://10.0.0.7:7070")]
    Health(Connection),
    /// Make, list, rotate and revoke API keys.
    #[command(subcommand)]
    Key(Key),
    /// Keep secrets by name; no command shows a value.
    #[command(subcommand)]
    Secret(Secret),
    /// See who changed what, and check that nobody changed the record of it.
    #[command(subcommand)]
    Audit(Audit),
    /// See and steer how code takes over from the model.
    #[command(subcommand)]
    Jit(Jit),
    /// See what happened.
    #[command(subcommand)]
    Executions(Executions),
    /// See and change applications.
    #[command(subcommand)]
    Apps(Apps),
    /// Read, change and search what applications are to remember.
    #[command(subcommand)]
    Memory(Memory),
    /// Add components whose functions are tools, say what they may use, and call them.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Let MCP clients use applications, and applications use MCP servers.
    #[command(subcommand)]
    Mcp(Mcp),
    /// See the models of the settings and try them, without a server.
    #[command(subcommand)]
    Model(Model),
    /// Record what a model answers, for `nexus-replay`.
    Record(Box<Record>),
    /// Test prompts with their own test data, and see what they say, without a server.
    #[command(subcommand)]
    Prompt(Prompt),
    /// Follow and publish events, and see what they trigger.
    #[command(subcommand)]
    Events(super::event_args::Events),
    /// Begin an application from a template, without a server.
    New(New),
    /// List the templates, without a server.
    #[command(after_help = "Examples:\n  nexus templates\n  nexus templates classify   # what can be set")]
    Templates {
        /// Only this one, with its parameters.
        name: Option<String>,
    },
    /// Read what was said, by the host and by components.
    Logs(Logs),
    /// See what operations did within the last day.
    Metrics(Metrics),
    /// Look for what is wrong with settings, stores, models and this machine, and say how to mend it.
    Doctor(Doctor),
    /// Stand before a Docker engine, and let through only what Nexus does with it.
    EngineGuard(Guard),
    /// Write the script with which a shell completes this command line.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the server is and who asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// The server.
    #[arg(long, value_name = "URL", env = "NEXUS_URL", default_value = "http://127.0.0.1:7070")]
    pub(crate) url: String,
    /// The API key; otherwise the file `admin-key` in the data directory, if it can be read.
    #[arg(long, value_name = "KEY", env = "NEXUS_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Where that file is looked for.
    #[arg(long, value_name = "DIR", env = "NEXUS_DATA_DIR", default_value = "nexus-data")]
    pub(crate) data_dir: PathBuf,
}

pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("write it as NAME=VALUE, as in `limits.drain=10s`")?;
    Ok((path.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
