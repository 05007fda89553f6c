//! A workflow as it is read: typed, whole, and without faults.

mod authentication;
mod call;
mod catch;
mod components;
mod duration;
mod endpoint;
mod event;
mod info;
mod kind;
mod list;
mod node;
mod places;
mod reader;
mod run_task;
mod schema;
mod sealing;
mod task;
mod workflow;

use serde::{Deserialize, Serialize};

pub use authentication::Authentication;
pub use call::{CallKind, HttpOutput, NexusFunction, Transport};
pub use catch::{Backoff, Catch, CatchErrors, Retry};
pub use components::{Components, ErrorTemplate};
pub use duration::Duration;
pub(crate) use duration::from_value as duration_from;
pub use endpoint::{Endpoint, Part, Url};
pub use event::{Correlation, EventFilter, ForEach, Listening, Matching, ReadEvents, Strategy, Until};
pub use info::{DocumentInfo, Schedule};
pub use list::TaskList;
pub use places::{SurfaceField, surface};
pub use run_task::{ProcessKind, Running};
pub use schema::Schema;
pub use sealing::{Sealing, SecretReference};
pub use task::{Case, Flow, Task, TaskKind, Transform};
pub use workflow::Workflow;

/// What a document may do beyond what every document may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Run containers.
    pub container: bool,
    /// Run scripts.
    pub script: bool,
    /// Run shell commands.
    pub shell: bool,
}
