//! The host itself: what an agent, or a client of a person who looks after applications, does with them, as `core.*` tools.

mod definitions;
mod events;
mod executions;
mod memory;
mod model;
mod notes;
pub(crate) mod openapi;
mod operations;
mod outcome;
mod outside;
mod state;
mod tool;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use nexus_model::{
    AppName, Author, CatalogueCall, CatalogueError, CatalogueInfo, CatalogueTool, ToolAnswered, ToolCatalogue,
};

pub(super) use self::tool::schema_of;
pub(crate) use self::{
    operations::{described, found},
    tool::takes_app,
};
use self::{
    outcome::{Outcome, Refusal},
    tool::{HostTool, all},
};
use crate::{Core, Principal, Scope, Target, registry::Application, tools::short};

const INSTRUCTIONS: &str = "The tools of a Nexus host. Applications are folders of definitions; their operations take JSON \
    and answer JSON. Begin with `core.operations.list`; `core.tools.search` finds the tools of all applications that the \
    key may call.";

/// The host, as one caller may see it: the tools for which its key has a scope on some application at least.
pub struct HostCatalogue {
    core: Core,
    principal: Principal,
}

impl HostCatalogue {
    /// What this caller sees.
    pub fn new(core: Core, principal: Principal) -> Self {
        Self { core, principal }
    }

    /// The application of this name, if the caller may do this to it and there is one.
    fn app(&self, name: &str, verb: fn(Target) -> Scope) -> Result<AppName, Refusal> {
        let unknown = || Refusal::said("unknown_app", format!("there is no application `{}`", short(name)));
        let app: AppName = name.parse().map_err(|_| unknown())?;
        let scope = verb(Target::App(app.clone()));
        if !self.principal.may(&scope) {
            return Err(Refusal::said("forbidden", format!("the key lacks the scope `{scope}`")));
        }
        if self.core.registry.names().contains(&app) { Ok(app) } else { Err(unknown()) }
    }

    /// The application as it serves, if the caller may do this to it.
    fn serving(&self, name: &str, verb: fn(Target) -> Scope) -> Result<Arc<Application>, Refusal> {
        let app = self.app(name, verb)?;
        let serving = self.core.registry.application(app.as_str());
        serving.ok_or_else(|| Refusal::said("unknown_app", format!("nothing of `{app}` serves")))
    }

    /// The applications to which the caller may do this.
    fn apps(&self, verb: fn(Target) -> Scope) -> Vec<AppName> {
        let names = self.core.registry.names().into_iter();
        names.filter(|app| self.principal.may(&verb(Target::App(app.clone())))).collect()
    }

    /// Whose commits these calls make.
    fn author(&self) -> Author {
        let name = self.principal.name.to_string();
        Author { name, email: format!("{}@nexus.invalid", self.principal.key_id) }
    }

    /// Writes to the audit log what is about to be done; it is not done where this fails.
    async fn note(&self, action: &str, target: String) -> Result<(), Refusal> {
        self.core.audit_log.record(&self.principal, action, target, serde_json::json!({})).await?;
        Ok(())
    }

    /// Whether a tool has an argument `app`.
    pub(crate) fn takes_app(&self, tool: &str) -> bool {
        self.visible().any(|known| known.name == tool && known.takes_app())
    }

    fn visible(&self) -> impl Iterator<Item = &'static HostTool> {
        all().iter().filter(|tool| self.principal.may_some(tool.verb))
    }
}

#[async_trait]
impl ToolCatalogue for HostCatalogue {
    fn about(&self) -> CatalogueInfo {
        CatalogueInfo { name: "nexus".to_owned(), instructions: INSTRUCTIONS.to_owned() }
    }

    fn owner(&self) -> &str {
        &self.principal.key_id
    }

    fn version(&self) -> String {
        String::new()
    }

    async fn changed_from(&self, _: &str) {
        std::future::pending::<()>().await;
    }

    fn tools(&self) -> Vec<CatalogueTool> {
        self.visible().map(HostTool::shown).collect()
    }

    async fn call(&self, call: CatalogueCall) -> Result<ToolAnswered, CatalogueError> {
        let found = self.visible().find(|known| known.name == call.tool);
        let found =
            found.ok_or_else(|| CatalogueError::Unknown(format!("there is no tool `{}`", short(&call.tool))))?;
        match (found.call)(self, call.arguments).await {
            Ok(value) => Ok(ToolAnswered::Result(value)),
            Err(Refusal::Said(why)) => Ok(ToolAnswered::Refused(why)),
            Err(Refusal::Broken(error)) => Err(error),
        }
    }
}

impl fmt::Debug for HostCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostCatalogue").field("key", &self.principal.key_id).finish_non_exhaustive()
    }
}
