//! Reads an application's folder: `app.yaml`, its prompts, workflows and JSON Schemas become a [`nexus_model::App`],
//! or every fault that was found, each with its place.
//!
//! Nothing here touches a file system or a network; everything is bounded (see [`limits`]).

mod app;
mod community;
mod document;
mod duration;
mod edit;
mod evaluate;
mod explain;
mod expose;
mod fault;
mod image;
mod json;
mod json_schema;
mod keywords;
mod nearest;
mod outline;
mod places;
mod plugins;
mod prompt;
mod referenced;
mod scalar_place;
mod schedule;
mod schema_file;
mod servers;
mod starter;
mod template;
mod template_check;
mod template_tags;
mod tool_use;
mod tree;
mod triggers;
mod workflow;
mod yaml;
mod yaml_scalar;

use nexus_model::{App, AppName, FileTree};

pub use community::{
    BaseImages, CommunityChoice, CommunityEnv, CommunityError, CommunityServer, NeededSecret, Needs, Package,
    PackageIndex, community_server, community_servers,
};
pub use edit::{EditError, remove_plugin, remove_server, set_plugin, set_server};
pub use evaluate::{Judgement, Verdict, evaluate};
pub use fault::{Fault, FaultCode};
pub use json_schema::{SchemaError, Violation, schema_validator, violations};
pub use nearest::nearest;
pub use outline::{AppOutline, WrittenPlugin};
pub use places::AppPlaces;
pub use schedule::{Schedule, ScheduleError};
pub use starter::{StarterError, StarterTemplate, starter, starters};
pub use template::{PromptTemplate, RenderError, render};
pub use workflow::{LimitFault, agent_limits, server_of_transport, workflow_operation};

/// The JSON Schema of `app.yaml`, for editors.
pub const APP_SCHEMA: &str = include_str!("../schemas/app.json");

/// Names that no application can have: `/v1/apps/{name}` would be another path of the API.
pub const RESERVED_APP_NAMES: [&str; 1] = ["from-template"];

/// The JSON Schema of `*.prompt.yml`, for editors.
pub const PROMPT_SCHEMA: &str = include_str!("../schemas/prompt.json");

/// The JSON Schema of the front matter of `*.prompty`, for editors.
pub const PROMPTY_SCHEMA: &str = include_str!("../schemas/prompty.json");

/// The bounds of what is read.
pub mod limits {
    /// The largest definition file, in bytes. Components are not bounded here.
    pub const FILE_BYTES: usize = 1 << 20;
    /// The deepest nesting of a YAML file. JSON files may nest 127 deep.
    pub const YAML_DEPTH: usize = 64;
    /// The most values in one file, aliases expanded.
    pub const NODES: usize = 10_000;
    /// The most that the aliases of one file may expand to, in bytes.
    pub const ALIAS_BYTES: usize = 1 << 20;
    /// The most faults of one folder that are told.
    pub const FAULTS: usize = 200;
    /// The longest template of one message, in bytes.
    pub const TEMPLATE_BYTES: usize = 64 << 10;
    /// The most that one tag of a template may hold, strings and white space aside, in bytes.
    pub const TAG_BYTES: usize = 2048;
    /// The most block tags (`{% … %}`) in one message's template.
    pub const BLOCK_TAGS: usize = 1000;
    /// The most steps `call: prompt` of one workflow: each is an operation.
    pub const PROMPT_STEPS: usize = 100;
    /// The most text that one prompt renders to, in bytes, all its messages together.
    pub const RENDERED_BYTES: usize = 256 << 10;
}

/// What is known outside the folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// The folder's name, which `metadata.name` must equal; not checked if `None`.
    pub folder: Option<&'a AppName>,
    /// The aliases of models in the server's settings; not checked if `None`.
    pub models: Option<&'a [String]>,
    /// The applications that there are, which `security` and triggers may name; not checked if `None`.
    pub apps: Option<&'a [AppName]>,
}

/// What a file says, whatever it is for: JSON if its name ends with `.json`, else YAML; within the bounds of
/// [`limits`]. The error is its first fault.
pub fn value_of(path: &str, bytes: &[u8]) -> Result<serde_json::Value, Fault> {
    let format = document::Format::of(path);
    let files = FileTree::from([(path.to_owned(), bytes.into())]);
    let mut faults = fault::Faults::default();
    let document = document::Document::open(&files, path, format, &mut faults);
    let mut faults = faults.into_sorted().into_iter();
    match (document, faults.next()) {
        (Some(document), None) => Ok(document.value),
        (_, Some(fault)) => Err(fault),
        (None, None) => Err(document::missing(path, fault::Finding::new(FaultCode::BadValue, "not readable"))),
    }
}

/// Reads an application from the files of its folder (paths relative to it, with `/`).
///
/// Files that nothing refers to are no fault.
///
/// # Errors
/// All faults of all its files, sorted by file, line and column, at most [`limits::FAULTS`], never none.
pub fn load(files: &FileTree) -> Result<App, Vec<Fault>> {
    load_with(files, Surroundings::default())
}

/// As [`load`]; that `metadata.name` is not `folder` is a fault.
///
/// # Errors
/// As [`load`].
pub fn load_named(folder: &AppName, files: &FileTree) -> Result<App, Vec<Fault>> {
    load_with(files, Surroundings { folder: Some(folder), ..Surroundings::default() })
}

/// As [`load`], checked against what is known outside the folder.
///
/// # Errors
/// As [`load`].
pub fn load_with(files: &FileTree, surroundings: Surroundings<'_>) -> Result<App, Vec<Fault>> {
    app::read(files, surroundings)
}
