//! The command line.

mod apps;
mod doctor;
mod memory;
mod plugin;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use apps::{App, Apps, At, Change, Import};
pub(crate) use doctor::Doctor;
pub(crate) use memory::{Memory, Remember};
pub(crate) use plugin::{Add, Become, Plugin, Update};

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
    /// See the models of the settings and try them, without a server.
    #[command(subcommand)]
    Model(Model),
    /// Record what a model answers, for `nexus-replay`.
    Record(Box<Record>),
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

/// Start a server.
///
/// Settings come from `nexus.yaml`, then from variables (`NEXUS_LIMITS__BODY_BYTES` is `limits.body_bytes`), then from
/// flags; the later wins. The first start makes an admin key: shown once on a terminal, otherwise written to the file
/// `admin-key` in the data directory.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus serve --apps apps\n  nexus serve --config /etc/nexus.yaml --listen 0.0.0.0:7070\n  nexus serve --store redis://127.0.0.1:6379\n  nexus serve --set limits.in_flight=256 --print-config"
)]
pub(crate) struct Serve {
    /// The settings; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept [default: nexus-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// The address to listen on [default: 127.0.0.1:7070].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where runtime state is kept: `embedded`, or a Redis as `redis://HOST:PORT` [default: embedded].
    #[arg(long, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// A folder of applications to import, now and on every change.
    #[arg(long, value_name = "DIR")]
    pub(crate) apps: Option<String>,
    /// Ask for no keys. Only on a loopback address.
    #[arg(long)]
    pub(crate) insecure_local: bool,
    /// Show `/metrics` without a key.
    #[arg(long)]
    pub(crate) metrics_open: bool,
    /// What is logged: a level, or directives as `info,nexus_core=debug`.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// How the log looks.
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<Format>,
    /// Any other setting, as `limits.drain=10s`; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Show the settings as they would be in force, and end.
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}

/// Check applications, without a server.
///
/// Shows every fault at once, each with its place and what was expected. `--json` writes an array of faults.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexus check apps\n  nexus check apps/order-desk --json")]
pub(crate) struct Check {
    /// An application's folder, or a folder of them.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) dirs: Vec<PathBuf>,
    /// Check the aliases of models against these settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Run an operation.
///
/// The answer goes to standard output; which path gave it, and how long it took, to standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus call order-desk parse-date --input '{\"text\": \"next Friday\"}'\n  nexus call order-desk line-items --input @order.json\n  echo '{\"text\": \"3 March\"}' | nexus call order-desk parse-date --stream"
)]
pub(crate) struct Call {
    /// The application.
    pub(crate) app: String,
    /// The operation.
    pub(crate) operation: String,
    /// The input: JSON, `@` and a file, or `-` for standard input.
    #[arg(long, short, value_name = "JSON", default_value = "-")]
    pub(crate) input: String,
    /// Show the answer as it comes.
    #[arg(long)]
    pub(crate) stream: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Begin an application from a template, without a server.
///
/// Writes its files into a new folder and checks them. `nexus templates NAME` shows what can be set.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus new classify --set name=support\n  nexus new extract --set name=invoices --set model=large --dir apps/invoices\n  nexus new summarise --set 'reader=a board member' --set points=3"
)]
pub(crate) struct New {
    /// The template.
    pub(crate) template: String,
    /// A parameter: YAML, or else text; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// The folder [default: the application's name].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key. It is shown once.
    #[command(
        after_help = "Examples:\n  nexus key create --name 'web shop' --scope apps:order-desk:invoke --expires 90d\n  nexus key create --name ci --scope 'apps:*:read' --scope 'apps:*:write'"
    )]
    Create {
        /// For people.
        #[arg(long)]
        name: String,
        /// What it may do: `admin`, or `apps:<application or *>:<invoke, read or write>`; may be repeated.
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<String>,
        /// How long it is good for, as `12h` or `90d`; for ever if left out.
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        /// Requests that it may make in a minute, at each replica; any number if left out.
        #[arg(long, value_name = "REQUESTS")]
        per_minute: Option<std::num::NonZeroU32>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List keys, revoked ones included, and when each was used last.
    #[command(
        after_help = "Examples:\n  nexus key list\n  nexus key list --json | jq '.keys[] | select(.last_used_at == null)'"
    )]
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Give a key a new secret. It is shown once; the old one goes on for the overlap.
    #[command(
        after_help = "Examples:\n  nexus key rotate 9f86d081884c7d65 --overlap 24h\n  nexus key rotate 9f86d081884c7d65   # the old secret ends at once"
    )]
    Rotate {
        /// The key's id, as `nexus key list` shows it.
        id: String,
        /// How long the old secret goes on, as `24h`, at most `30d`; not at all if left out.
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Revoke a key: it opens nothing any more.
    #[command(after_help = "Examples:\n  nexus key revoke 9f86d081884c7d65")]
    Revoke {
        /// The key's id, as `nexus key list` shows it.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Keep a secret. The value is read from standard input, or asked for on a terminal without showing it.
    #[command(
        after_help = "Examples:\n  nexus secret set openai                        # asks for the value\n  nexus secret set crm-token --app order-desk < token.txt\n  pass show openai | nexus secret set openai"
    )]
    Set {
        /// Its name: 1 to 63 of a-z, 0-9 and `-`.
        name: String,
        /// The application whose secret it is; the host's if left out.
        #[arg(long)]
        app: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List names, and where each value is.
    #[command(after_help = "Examples:\n  nexus secret list\n  nexus secret list --app order-desk --json")]
    List {
        /// The application whose secrets are listed; the host's if left out.
        #[arg(long)]
        app: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Forget a secret of the store. Those of variables and files are yours to take away.
    #[command(after_help = "Examples:\n  nexus secret delete crm-token --app order-desk")]
    Delete {
        /// Its name.
        name: String,
        /// The application whose secret it is; the host's if left out.
        #[arg(long)]
        app: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List changes and requests that were turned away, newest first.
    #[command(
        after_help = "Examples:\n  nexus audit list --action key.\n  nexus audit list --by 9f86d081884c7d65 --limit 100 --json"
    )]
    List {
        /// Only actions that begin with this, as `key.` or `denied`.
        #[arg(long)]
        action: Option<String>,
        /// Only what the key with this id did.
        #[arg(long, value_name = "ID")]
        by: Option<String>,
        /// Only what was done to this.
        #[arg(long)]
        target: Option<String>,
        /// Only records before this one.
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
        /// At most this many, 1 to 200.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
    /// Check that no record was changed, taken out or moved. Says which one, and exits with 1.
    #[command(after_help = "Examples:\n  nexus audit verify\n  nexus audit verify --from 100000")]
    Verify {
        /// The first record to check.
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        from: u64,
        #[command(flatten)]
        connection: Connection,
    },
}

/// One operation.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The application.
    pub(crate) app: String,
    /// The operation.
    pub(crate) operation: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Jit {
    /// Show how far code has come.
    #[command(after_help = "Examples:\n  nexus jit status order-desk\n  nexus jit status order-desk parse-date")]
    Status {
        /// The application.
        app: String,
        /// The operation; all of them if left out.
        operation: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have code written now. Skips the rules of when, never the checks.
    Compile(Target),
    /// Put checked code in front of the model.
    Promote(Target),
    /// Let the model answer again.
    Demote(Target),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Executions {
    /// List executions, newest first.
    #[command(
        after_help = "Examples:\n  nexus executions list --app order-desk --path model\n  nexus executions list --before 0197a1b2-0000-7000-8000-000000000000"
    )]
    List {
        /// Only those of this application.
        #[arg(long)]
        app: Option<String>,
        /// Only those of this operation.
        #[arg(long)]
        operation: Option<String>,
        /// Only those that this path answered: `component` or `model`.
        #[arg(long)]
        path: Option<String>,
        /// Only those older than this one.
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// At most this many, 1 to 200.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show one execution.
    Show {
        /// Its id, from the header `x-nexus-execution`.
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// List the models: provider, price and its date, whether the key is there.
    #[command(after_help = "Examples:\n  nexus model list\n  nexus model list --config /etc/nexus.yaml --json")]
    List {
        /// The settings; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Ask a model once: can it be reached, is the key accepted, does it keep to a schema, does it stream.
    Test(ModelTest),
}

/// Ask a model once: can it be reached, is the key accepted, does it keep to a schema, does it stream.
///
/// The call is real and costs some hundred tokens. Fall-backs are not asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nexus model test small\n  nexus model test coder --json --timeout 2m")]
pub(crate) struct ModelTest {
    /// The model's alias.
    pub(crate) alias: String,
    /// The settings; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How long it may take.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) timeout: String,
}

/// Record what a model answers, for `nexus-replay`.
///
/// Each input is rendered with the operation's prompt and asked of its model, without fall-backs. What comes back is added to
/// `<recordings>/<app>/<operation>.jsonl` with measured tokens and latency. Nothing is written over, and what is recorded
/// already is not asked again: a run that was ended goes on where it was.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus record order-desk parse-date --inputs inputs.jsonl --dry-run\n  nexus record order-desk parse-date --inputs inputs.jsonl --parallel 8\n  nexus record order-desk parse-date --from-server --limit 500"
)]
pub(crate) struct Record {
    /// The application.
    pub(crate) app: String,
    /// The operation.
    pub(crate) operation: String,
    /// Inputs, one a line, as JSON.
    #[arg(long, value_name = "FILE", required_unless_present = "from_server", conflicts_with = "from_server")]
    pub(crate) inputs: Option<PathBuf>,
    /// Take the inputs of a running server's executions.
    #[arg(long)]
    pub(crate) from_server: bool,
    /// The folder of applications.
    #[arg(long, value_name = "DIR", default_value = "apps")]
    pub(crate) apps: PathBuf,
    /// The folder of recordings [default: `recordings` in the folder of applications].
    #[arg(long, value_name = "DIR")]
    pub(crate) recordings: Option<PathBuf>,
    /// The settings with the model; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Ask the model of this alias instead of the one that the prompt names.
    #[arg(long, value_name = "ALIAS")]
    pub(crate) model: Option<String>,
    /// How many are asked at one time, 1 to 64.
    #[arg(long, default_value_t = 4, value_parser = at_one_time)]
    pub(crate) parallel: usize,
    /// Record at most so many.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) limit: usize,
    /// Ask nobody; show what it would cost.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Read what was said, by the host and by components, oldest first.
///
/// With a key that is not an admin's, only what is about the applications that it may read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus logs --app order-desk --level warn --since 1h\n  nexus logs --execution 0197a1b2-0000-7000-8000-000000000000\n  nexus logs --grep 'time-out' --follow --json"
)]
pub(crate) struct Logs {
    /// Only about this application.
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Only about operations of this name.
    #[arg(long)]
    pub(crate) operation: Option<String>,
    /// Only about this execution.
    #[arg(long, value_name = "ID")]
    pub(crate) execution: Option<String>,
    /// Only what matters at least so much: `trace`, `debug`, `info`, `warn` or `error`.
    #[arg(long)]
    pub(crate) level: Option<String>,
    /// Only what holds this text; case does not matter.
    #[arg(long, value_name = "TEXT")]
    pub(crate) grep: Option<String>,
    /// Not before this time, or not longer ago than `15m`, `2h` or `7d`.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Before this time, or longer ago than that.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// At most this many, the newest.
    #[arg(long, default_value_t = 200)]
    pub(crate) limit: usize,
    /// Go on with what is said from now on.
    #[arg(long, short, conflicts_with = "until")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// See what operations did within the last day: calls, errors, times, tokens, cost, fuel, and why code passed calls on.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus metrics\n  nexus metrics --app order-desk --since 24h\n  nexus metrics --app order-desk --metric calls,errors --step 10m --json"
)]
pub(crate) struct Metrics {
    /// Only of this application.
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Only of operations of this name.
    #[arg(long)]
    pub(crate) operation: Option<String>,
    /// Only these, with commas between, point by point; the names are in the README.
    #[arg(long, value_name = "NAMES")]
    pub(crate) metric: Option<String>,
    /// From this time, or from so long ago.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) since: String,
    /// To this time, or to so long ago; now if left out.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// The length of a point, as `1m` or `2h`; one point if left out.
    #[arg(long, value_name = "DURATION")]
    pub(crate) step: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

fn at_one_time(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=64).contains(count)).ok_or_else(|| "write a number from 1 to 64".to_owned())
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
