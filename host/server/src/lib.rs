//! The `nexus` program: settings, life cycle, HTTP and the command line. Everything it decides is decided in
//! [`nexus_core`]; this crate is a door, and the only one that reads the environment.

mod apps_folder;
pub mod cli;
mod data_dir;
mod environment;
mod http;
mod listener;
mod model_keys;
mod record;
pub mod replay;
mod server;
pub mod settings;
mod start_error;

pub use data_dir::DataDirError;
pub use environment::Environment;
pub use http::{
    AgreementView, AnsweredByView, AppDetailView, AppList, AppView, AttemptView, CauseView, CreatedKey, DeadLetterList,
    DeadLetterView, EvidenceView, ExecutionList, ExecutionView, FaultView, KeyList, KeyView, NewKeyBody, OperationView,
    OptimizationView, OptimizeView, Problem, PublishedView, RefusalView, TriggerList, TriggerView, UsageView,
    ViolationView, openapi_json,
};
pub use server::{AdminKey, Running, Server, Surroundings};
pub use settings::{Settings, SettingsError};
pub use start_error::{AppsError, StartError};
