//! What Nexus talks about: names, definitions, executions, and the ports to the outside.
//!
//! This crate does no I/O and knows no runtime. Everything above it shares these types; the ports (traits) are the true
//! edges of the system: a store, a model provider, a host of components.

mod app;
mod canonical;
mod catalogue;
mod component;
mod conversation;
mod definitions;
mod event;
mod execution;
mod generation;
mod guest_services;
mod ids;
mod jit;
mod mcp_server;
mod money;
mod plugin;
mod prompt_tests;
mod remote;
mod runtime;
mod secrets;
mod stream;
mod tcp_destination;
mod trigger;
mod web_origin;
mod workflow;

pub use app::{
    App, Budget, Implementation, Limits, Message, MessageTemplate, ModelParameters, Operation, Optimize, OptimizeMode,
    Prompt, PromptExample, Role, Security,
};
pub use canonical::{canonical_json, sha256_hex};
pub use catalogue::{
    AskError, CatalogueCall, CatalogueError, CatalogueInfo, CataloguePrompt, CatalogueResource, CatalogueTemplate,
    CatalogueTool, CompletionOf, CompletionWanted, LogLine, Progress, PromptArgument, PromptLine, PromptWanted,
    Question, ResourceBody, ResourceData, SilentCaller, ToolAnswered, ToolCaller, ToolCatalogue, ToolContent,
};
pub use component::{BuildError, Component, ComponentAnswer, ComponentFault, ComponentHost, ComponentKind, LoadError};
pub use conversation::{ChatMessage, ConverseRequest, ModelTool, Reply, ToolRequest};
pub use definitions::{
    Author, Change, CommitError, DefinitionError, DefinitionStore, Expected, FileTree, MemoryAction, MemoryEdit,
    Snapshot, apply_memory,
};
pub use event::{AttributeValue, Attributes, CloudEvent, EventData, EventFault, EventFilter, RESERVED_TYPES};
pub use execution::{Cause, Execution, FallbackReason, MODEL_SPAN, Origin, Parent, SPANS, ServedBy, Trace};
pub use generation::{
    AnsweredBy, GenerateRequest, Generation, ModelError, ModelErrorKind, ModelProvider, TokenSink, Usage,
};
pub use guest_services::{GuestLevel, GuestServices, KeyPage, ServiceError};
pub use ids::{
    AppName, ExecutionId, InvalidName, OperationName, OperationRef, PluginName, Revision, SecretName, VersionHash,
};
pub use jit::{Agreement, Attempt, Evidence, JitRecord, JitState, Refusal};
pub use mcp_server::{
    EnvValue, McpServer, McpServerAt, SERVER_TIMEOUT, SandboxPool, ServerAuth, ServerGrants, ServerImage, Share,
    ToolUse,
};
pub use money::NanoUsd;
pub use plugin::{
    Access, Credential, GrantNeed, Grants, HttpGrant, LeftOut, LinkedPlugin, Offers, Plugin, PluginFacts, PluginHost,
    ToolFault, ToolOutcome, ToolSignature,
};
pub use prompt_tests::{AnswerCheck, Evaluator, JsonCheck, JudgeCheck, PromptTests, TestCase, TextCheck};
pub use remote::{DefinitionRemote, Moved, RemoteError};
pub use runtime::{Batch, Durability, Entry, Key, Quota, QuotaKind, RuntimeStore, StoreError, Write};
pub use secrets::{SecretOwner, SecretSource};
pub use stream::{ConsumerGroup, Delivery, PendingEntry, StreamStart};
pub use tcp_destination::{InvalidTcpDestination, TcpDestination};
pub use trigger::{MissedRuns, SignatureScheme, Trigger, TriggerInput, TriggerOn, Verification};
pub use web_origin::{InvalidWebOrigin, WebHost, WebOrigin};
pub use workflow::{AgentTask, InterruptedPolicy, StepOf, WorkflowDefinition};
