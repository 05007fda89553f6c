//! `nexus:host`: tools, events and models of the application.

use nexus_model::{Grants, ServiceError};
use serde_json::Value;
use wasmtime::component::{HasSelf, Linker};

use super::Capability;
use crate::wasi::GuestState;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/host",
        world: "host",
        imports: { default: async | trappable },
    });
}

use bindings::nexus::host::{events, llm, tools};

pub(super) const TOOLS: Capability = Capability {
    interfaces: &["nexus:host/tools@0.1.0"],
    granted: |grants: &Grants| !grants.tools.is_empty(),
    yaml: |_| "tools: [\"core.*\"]   # the tools that it may call",
    add_to_linker: |linker: &mut Linker<GuestState>| {
        tools::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
    },
};

pub(super) const EVENTS: Capability = Capability {
    interfaces: &["nexus:host/events@0.1.0"],
    granted: |grants: &Grants| !grants.events.is_empty(),
    yaml: |_| "events: [\"com.example.*\"]   # the types of events that it may publish",
    add_to_linker: |linker: &mut Linker<GuestState>| {
        events::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
    },
};

pub(super) const LLM: Capability = Capability {
    interfaces: &["nexus:host/llm@0.1.0"],
    granted: |grants: &Grants| !grants.models.is_empty(),
    yaml: |_| "models: [small]   # the models that it may ask, by alias",
    add_to_linker: |linker: &mut Linker<GuestState>| {
        llm::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
    },
};

impl tools::Host for GuestState {
    async fn call(&mut self, name: String, arguments: String) -> wasmtime::Result<Result<String, tools::Error>> {
        let arguments = match serde_json::from_str(&arguments) {
            Ok(arguments) => arguments,
            Err(error) => return Ok(Err(tools::Error::InvalidArguments(error.to_string()))),
        };
        Ok(match self.services()?.call_tool(&name, arguments).await {
            Ok(Ok(result)) => Ok(result.to_string()),
            Ok(Err(error)) => Err(tools::Error::Tool(error.to_string())),
            Err(error) => Err(error.into()),
        })
    }
}

impl From<ServiceError> for tools::Error {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Denied(why) => Self::Denied(why),
            ServiceError::NotFound(what) => Self::NotFound(what),
            ServiceError::Limit(which) => Self::Limit(which),
            ServiceError::Failed(why) => Self::Failed(why),
        }
    }
}

impl events::Host for GuestState {
    async fn publish(
        &mut self,
        kind: String,
        subject: Option<String>,
        data: String,
    ) -> wasmtime::Result<Result<String, events::Error>> {
        let data: Value = match serde_json::from_str(&data) {
            Ok(data) => data,
            Err(error) => return Ok(Err(events::Error::InvalidData(error.to_string()))),
        };
        Ok(self.services()?.publish(&kind, subject.as_deref(), data).await.map_err(Into::into))
    }
}

impl From<ServiceError> for events::Error {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Denied(why) => Self::Denied(why),
            ServiceError::Limit(which) => Self::Limit(which),
            ServiceError::NotFound(why) | ServiceError::Failed(why) => Self::Failed(why),
        }
    }
}

impl llm::Host for GuestState {
    async fn generate(
        &mut self,
        model: String,
        system: Option<String>,
        prompt: String,
    ) -> wasmtime::Result<Result<String, llm::Error>> {
        Ok(self.services()?.generate(&model, system.as_deref(), &prompt).await.map_err(Into::into))
    }
}

impl From<ServiceError> for llm::Error {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Denied(why) => Self::Denied(why),
            ServiceError::NotFound(what) => Self::NotFound(what),
            ServiceError::Limit(which) => Self::Limit(which),
            ServiceError::Failed(why) => Self::Failed(why),
        }
    }
}
