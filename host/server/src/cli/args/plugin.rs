//! `nexus plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use nexus_model::PluginName;

use super::Connection;

const GRANTS: &str = "\
Grants, as `grants` in app.yaml has them; `nexus plugin grants FILE` says which a component needs:
  --grant http=https://api.example.com   send requests to this origin; may be repeated
  --grant config.currency=EUR            a value of wasi:config; may be repeated
  --grant state=read                     the application's state: read or read-write
  --grant folder=read-write              a folder of the application's own
  --grant logging --grant clocks --grant random
  --grant 'tools=orders.*'               call tools of the application; may be repeated
  --grant 'events=order.*'               publish events of these types; may be repeated
  --grant models=small                   ask a model; may be repeated
  --grant caller                         tell the MCP client that called, and ask it
A credential that the host adds to requests is written in a file for --grants.";

const ADD: &str = "\
Examples:
  nexus plugin add orders.wasm --app shop
  nexus plugin add orders.wasm --app shop --wit wit --grant state=read --grant http=https://api.example.com
  nexus plugin add orders.wasm --app shop --name prices --grants grants.yaml
  nexus plugin add oci.example/acme/orders:1.2 --app shop     # from an OCI registry; the digest is written down with it
  nexus plugin add oci.example/acme/orders:1.2 --app shop --signed-by cosign.pub";

const UPDATE: &str = "\
Examples:
  nexus plugin update orders.wasm --app shop              # the grants stay
  nexus plugin update oci.example/acme/orders:1.3 --app shop
  nexus plugin update --app shop --name orders --grant state=read --yes   # other grants, the same component";

const REGISTRY: &str = "\
A reference begins with its registry, and ends with a tag, `:latest` if left out, or with a digest: `name@sha256:…` is that and
nothing else. The login is that of `docker login`: ~/.docker/config.json with its credential helpers, or the same JSON in
DOCKER_AUTH_CONFIG. It goes to the registry, never to Nexus. A file of the same name goes before.";

const NEW: &str = "\
Examples:
  nexus plugin new orders
  nexus plugin new orders --lang python --dir plugins/orders";

const DEV: &str = "\
Examples:
  nexus plugin dev --app shop                       # the plugin in this folder, by the folder's name
  nexus plugin dev plugins/orders --app shop --grant state=read
  nexus plugin dev --app shop --build 'make component' --component out/orders.wasm";

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Begin a plugin, without a server.
    ///
    /// Writes a new folder with the WIT of the plugin's tools, code, a test and a README that says how it is built. Nothing in
    /// it belongs to Nexus: what it is built with is the language's own.
    #[command(after_help = NEW)]
    New(New),
    /// Build a plugin whenever its files change, and have the server take it over. Ctrl-C ends it.
    ///
    /// It is added where it is not there yet. A folder with `Cargo.toml` is built by cargo, one with `package.json` by
    /// `npm run build`, one with `build.sh` by `sh build.sh`; the last two leave the component in `dist`.
    #[command(after_help = DEV, after_long_help = format!("{DEV}\n\n{GRANTS}"))]
    Dev(Dev),
    /// Add a component: its exported functions are tools of the application from then on.
    #[command(after_help = ADD, after_long_help = format!("{ADD}\n\n{REGISTRY}\n\n{GRANTS}"))]
    Add(Add),
    /// Replace a plugin's component, or its grants. Running calls end with the component that they began with.
    ///
    /// More grants than before are asked for on a terminal, and otherwise need --yes.
    #[command(after_help = UPDATE, after_long_help = format!("{UPDATE}\n\n{REGISTRY}\n\n{GRANTS}"))]
    Update(Update),
    /// List an application's plugins.
    #[command(after_help = "Examples:\n  nexus plugin list --app shop\n  nexus plugin list --app shop --json")]
    List {
        /// The application.
        #[arg(long)]
        app: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what a component, or a plugin of an application, exports and imports.
    #[command(
        after_help = "Examples:\n  nexus plugin inspect orders.wasm\n  nexus plugin inspect oci.example/acme/orders:1.2\n  nexus plugin inspect orders --app shop"
    )]
    Inspect {
        /// A component's file, or its reference in an OCI registry; with --app, the name of a plugin.
        #[arg(value_name = "FILE|REFERENCE|NAME")]
        what: String,
        /// The application whose plugin it is.
        #[arg(long)]
        app: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show the least grants that a component needs, as YAML to paste.
    #[command(after_help = "Example:\n  nexus plugin grants orders.wasm > grants.yaml   # then put in what is meant")]
    Grants {
        /// A component's file, or its reference in an OCI registry.
        #[arg(value_name = "FILE|REFERENCE")]
        component: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Remove a plugin and its component.
    #[command(after_help = "Example:\n  nexus plugin remove orders --app shop")]
    Remove {
        /// The plugin.
        name: String,
        /// The application.
        #[arg(long)]
        app: String,
        /// What the history says of it.
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Call a tool. Its result goes to standard output.
    #[command(
        after_help = "Examples:\n  nexus plugin run orders.price --app shop --args '{\"sku\": \"oak\", \"quantity\": 3}'\n  nexus plugin run orders.import --app shop --args @orders.json"
    )]
    Run {
        /// The tool, as `nexus plugin list` shows it.
        tool: String,
        /// The application.
        #[arg(long)]
        app: String,
        /// The arguments: a JSON object, `@` and a file, or `-` for standard input.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        args: String,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The plugin's name, which is the namespace of its tools.
    pub(crate) name: PluginName,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(crate) lang: Language,
    /// The folder [default: the plugin's name].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// What a plugin can be begun in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Rust,
    Js,
    Python,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The plugin's folder.
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The plugin's name [default: the folder's].
    #[arg(long)]
    pub(crate) name: Option<PluginName>,
    /// How it is built, where the folder does not say so: a command of the shell, which runs in the folder.
    #[arg(long, value_name = "COMMAND", requires = "component")]
    pub(crate) build: Option<String>,
    /// What that makes, below the folder.
    #[arg(long, value_name = "FILE", requires = "build")]
    pub(crate) component: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) what: Become,
}

/// What a plugin is to become, but for its component.
#[derive(Debug, Clone, Args)]
pub(crate) struct Become {
    /// The application.
    #[arg(long)]
    pub(crate) app: String,
    /// What it may use: a file of YAML or JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) grants: Option<PathBuf>,
    /// One thing that it may use, on top of --grants; may be repeated. `--help` lists them.
    #[arg(long = "grant", value_name = "WHAT[=VALUE]")]
    pub(crate) grant: Vec<String>,
    /// The folder of its WIT: puts the doc comments in there into the component, as descriptions of its tools.
    #[arg(long, value_name = "DIR")]
    pub(crate) wit: Option<PathBuf>,
    /// Take from a registry only what has a signature of cosign's with this public key (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) signed_by: Option<PathBuf>,
    /// What the history says of it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The component's file, or its reference in an OCI registry, as `oci.example/acme/orders:1.2`.
    #[arg(value_name = "FILE|REFERENCE")]
    pub(crate) component: String,
    /// The plugin's name [default: the file's or the repository's].
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) what: Become,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The new component's file or reference; the component stays if left out.
    #[arg(value_name = "FILE|REFERENCE")]
    pub(crate) component: Option<String>,
    /// The plugin's name [default: the file's or the repository's].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Grant more than before without being asked.
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) what: Become,
}
