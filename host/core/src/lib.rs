//! The heart of Nexus: which applications there are, who may call them, who answers, and when code takes over.
//!
//! The doors (HTTP, the command line, later MCP) call this crate and nothing below it. The [`RequestRouter`] and the
//! [`OptimizationOracle`] never meet: the oracle reads traces and writes the active component through the
//! [`ApplicationRegistry`]; the router reads the registry.

mod audit;
mod audit_log;
mod budget;
mod catalogue;
mod changes;
mod durable;
mod events;
mod executions;
mod keys;
mod lease;
mod memory;
mod oracle;
mod outgoing;
mod permissions;
mod rates;
mod registry;
mod router;
mod sandboxes;
mod scope;
mod secret;
mod servers;
mod start;
mod tools;
mod traces;
mod vault;
mod work;
mod write_behind;

pub use audit_log::{AuditFault, AuditFilter, AuditLog, AuditLogError, AuditRecord, Denial, Verification};
pub use budget::{BudgetExceeded, BudgetLimit, Budgets, Spent};
pub use catalogue::{AppCatalogue, HostCatalogue};
pub use durable::{
    Begun, Comparison, Ended, History, NewsId, NewsItem, Record, ReplayEffects, ReplayError, ReplayOf, Shown, Status,
    StepDifference, Told, Watching,
};
pub use events::{
    DeadLetter, DeadLetterPage, Events, FollowError, HookError, HookRequest, MAX_BATCH, MAX_EVENT_BYTES, PublishError,
    SecretLookup, SignatureError, TriggerStatus,
};
pub use executions::{ExecutionFilter, Executions, ExecutionsConfig};
pub use keys::{KeyError, KeyInfo, KeyRing, NewKey, PreparedKey, presented_key_id};
pub use memory::{Document, DocumentError, DocumentInfo, Hit, MEMORY_HITS, MEMORY_TEXT_BYTES, Memory, MemoryError};
pub use oracle::{JitStatus, OptimizationOracle, OracleConfig, OracleError};
pub use permissions::{CallRefused, may_call};
pub use rates::{RateExceeded, RateState};
pub use registry::{
    AppDetail, AppStatus, AppSummary, ApplicationRegistry, Condition, Diff, Edit, FileChange, FileDiff, HISTORY_PAGE,
    ImportError, ImportReport, Inactive, LifecycleError, MoveError, OperationDetail, PluginChange, PluginDetail,
    RegistryError, Remote, Widening, WriteError, Written, text_diff,
};
pub use router::{Answer, Call, CallError, CallErrorKind, RequestRouter};
pub use sandboxes::SandboxStartError;
pub use scope::{Principal, Scope, ScopeError, Target};
pub use secret::MasterKey;
pub use servers::{Addition, HostProgram, ImageMaking, Offer, ServerError, ServerStatus};
pub use start::{Core, CoreConfig, NotReady, Parts, StartError};
pub use tools::{ToolAnswer, ToolCall, ToolError, ToolErrorKind, ToolManager, ToolView, widened};
pub use vault::{SecretInfo, SecretVault, VaultError};
pub use work::WorkError;
