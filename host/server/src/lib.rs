//! The `nexus` program: settings, life cycle, HTTP and the command line. Everything it decides is decided in
//! [`nexus_core`]; this crate is a door, and the only one that reads the environment.

mod apps_folder;
mod asking;
pub mod cli;
mod data_dir;
mod doctor;
mod environment;
mod http;
mod listener;
mod prompts;
mod record;
pub mod replay;
mod runtime_store;
mod sandboxes;
mod secrets;
mod server;
pub mod settings;
mod start_error;

pub use data_dir::DataDirError;
pub use environment::Environment;
pub use http::{
    AgreementView, AnsweredByView, AppDetailView, AppFiles, AppList, AppView, AttemptView, AuditFaultView, AuditList,
    AuditRecordView, AuthorView, BegunView, BudgetView, CauseView, ChangeView, CommunitySecret, CommunityServerList,
    CommunityServerView, ComparisonView, CreatedKey, DeactivateBody, DeadLetterList, DeadLetterView, DiffView,
    DocumentView, EncodedBytes, EvidenceView, ExecutionList, ExecutionView, FaultView, FileContent, FileDiffView,
    FromTemplate, GrantNeedView, HistoryView, HitList, HitView, InspectedView, KeyList, KeyView, LeftOutView, LogList,
    LogRecordView, McpAddition, McpApproval, McpChangeView, McpLoginRequest, McpLoginResult, McpLoginView,
    McpOfferView, McpServerList, McpServerView, MemoryView, MetricList, MovedView, NewApp, NewKeyBody, OperationView,
    OptimizationView, OptimizeView, ParentView, PluginList, PluginSummary, PluginView, PointView, PoolView, Problem,
    ProblemMore, PublishedView, PutApp, RefusalView, RememberedView, RestoreBody, RotateKeyBody, SandboxesView,
    SecretBody, SecretList, SecretView, SeriesView, StepDifferenceView, StepView, TemplateList, TemplateView, ToolList,
    ToolResult, ToolView, TriggerList, TriggerView, UsageView, VerificationView, ViolationView, WrittenView,
    openapi_json,
};
pub use server::{AdminKey, Running, Server, Surroundings};
pub use settings::{DefinitionSettings, RemoteSettings, Settings, SettingsError};
pub use start_error::{AppsError, StartError};
