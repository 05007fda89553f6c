//! The port to the Wasm tier.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::GrantNeed;

/// Where a component came from; decides the engine it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ComponentKind {
    /// Written by Nexus: runs with fuel, so that a run can be repeated exactly.
    Generated,
    /// Written by people.
    Plugin,
}

/// What a component said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentAnswer {
    /// JSON text. Nothing has checked it yet.
    Value(String),
    /// It will not answer this input, and why (cut to 500 characters).
    Abstain(String),
    /// It tried and failed, and why (cut to 500 characters).
    Failure(String),
}

/// Why a call of a component gave no answer. The instance is gone; the next call has a new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentFault {
    /// It ran past its deadline.
    #[error("the component ran past its deadline of {} ms", .0.as_millis())]
    Deadline(Duration),
    /// It used up its fuel.
    #[error("the component used up its fuel")]
    Fuel,
    /// It asked for more than a limit allows: memory, tables, host resources or data passed to the host.
    #[error("the component ran into a limit: {0}")]
    Limit(String),
    /// It recursed too deeply.
    #[error("the component overflowed its stack")]
    Stack,
    /// Any other trap.
    #[error("the component trapped: {0}")]
    Trap(String),
    /// No instance was free within the call's deadline.
    #[error("no instance was free in time")]
    Exhausted,
}

/// Why a component was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Not a component: random bytes, a core module, a truncated file, a precompiled artefact.
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// It imports what nobody granted.
    #[error("the component imports what it has not been granted: {}", .0.join(", "))]
    ForeignImports(Vec<String>),
    /// It imports what it has not been granted, though it could be: all of that.
    #[error("{}", proposal(.0))]
    NotGranted(Vec<GrantNeed>),
    /// A grant that is not well-formed: which, and why.
    #[error("a grant of the component is not well-formed: {0}")]
    Grant(String),
    /// It does not export what the world asks for.
    #[error("the component does not export {0}")]
    MissingExport(String),
    /// None of its functions can be a tool.
    #[error("the component has no tools: {0}")]
    NoTools(String),
    /// Compiling to machine code took too long, too much memory, or failed.
    #[error("the component could not be compiled: {0}")]
    Compile(String),
    /// The host failed, not the component.
    #[error("the component could not be loaded: {0}")]
    Host(String),
}

/// What is missing, and the lines for `app.yaml` that mend it.
fn proposal(needs: &[GrantNeed]) -> String {
    let imports: Vec<_> = needs.iter().map(|need| need.import.as_str()).collect();
    let mut lines: Vec<_> = needs.iter().map(|need| need.yaml.as_str()).collect();
    lines.dedup();
    format!(
        "the component imports what it has not been granted: {}. If it may use that, say so where `app.yaml` names it:\n\
         grants:\n  {}",
        imports.join(", "),
        lines.join("\n  ")
    )
}

/// Why source did not become a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The engine refused the source: it does not parse, or its top level throws.
    #[error("the source was refused: {0}")]
    Source(String),
    /// The child process ran into its limit of time or memory.
    #[error("building the component took more than its limit: {0}")]
    Limit(String),
    /// The host failed, not the source.
    #[error("the component could not be built: {0}")]
    Host(String),
}

/// A component that is ready to answer, of the world `nexus:operation/operation`.
#[async_trait]
pub trait Component: Send + Sync + std::fmt::Debug {
    /// Asks a fresh instance. `input` is JSON. Never takes longer than `deadline`, by more than a tick of the engine.
    async fn run(&self, input: &str, deadline: Duration) -> Result<ComponentAnswer, ComponentFault>;

    /// As [`Component::run`], and tells how much fuel the run used, where the engine counts it.
    async fn run_counted(
        &self,
        input: &str,
        deadline: Duration,
    ) -> (Result<ComponentAnswer, ComponentFault>, Option<u64>) {
        (self.run(input, deadline).await, None)
    }

    /// SHA-256 of the component's bytes, hexadecimal.
    fn digest(&self) -> &str;
}

/// Makes components and makes them ready.
#[async_trait]
pub trait ComponentHost: Send + Sync {
    /// JavaScript that defines `run(input)` becomes a sealed, portable component. Runs in a limited child process.
    async fn build(&self, source: &str) -> Result<Vec<u8>, BuildError>;

    /// Compiles (in a limited child process, once per component: the machine code is cached) and links a component.
    async fn load(&self, kind: ComponentKind, component: &[u8]) -> Result<Arc<dyn Component>, LoadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_grants_can_be_pasted() {
        let need = |import: &str, yaml: &str| GrantNeed { import: import.to_owned(), yaml: yaml.to_owned() };
        let error = LoadError::NotGranted(vec![
            need("wasi:keyvalue/store@0.2.0-draft2", "state: read-write"),
            need("wasi:keyvalue/atomics@0.2.0-draft2", "state: read-write"),
            need("wasi:logging/logging@0.1.0-draft", "logging: true"),
        ]);
        let text = error.to_string();
        assert!(text.ends_with("\ngrants:\n  state: read-write\n  logging: true"), "{text}");
        assert!(text.contains("wasi:keyvalue/atomics@0.2.0-draft2"), "{text}");
    }
}
