//! What a tool of the host is.

use std::sync::{Arc, LazyLock};

use futures::future::BoxFuture;
use nexus_model::CatalogueTool;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    HostCatalogue, Outcome, Refusal, definitions, events, executions, memory, model, notes, operations, outside, state,
};
use crate::{Scope, Target};

/// The arguments of a tool, which are the tool: its doc comment is the description, its fields are the schema.
pub(super) trait Arguments: DeserializeOwned + JsonSchema + Send {
    const NAME: &'static str;
    /// What a key must be allowed on an application to see the tool.
    const VERB: fn(Target) -> Scope;
    const READ_ONLY: bool = true;

    /// Does it, as far as the caller may.
    fn run(self, host: &HostCatalogue) -> impl Future<Output = Outcome> + Send;
}

/// A tool, whatever its arguments.
pub(super) struct HostTool {
    pub(super) name: &'static str,
    pub(super) verb: fn(Target) -> Scope,
    pub(super) call: for<'a> fn(&'a HostCatalogue, Value) -> BoxFuture<'a, Outcome>,
    description: String,
    input: Arc<Value>,
    read_only: bool,
}

impl HostTool {
    fn of<T: Arguments>() -> Self {
        let (description, input) = schema_of::<T>();
        Self { name: T::NAME, verb: T::VERB, call: call::<T>, description, input, read_only: T::READ_ONLY }
    }

    /// Whether it has an argument `app`.
    pub(super) fn takes_app(&self) -> bool {
        takes_app(&self.input)
    }

    pub(super) fn shown(&self) -> CatalogueTool {
        CatalogueTool {
            name: self.name.to_owned(),
            description: Some(self.description.clone()),
            input: Arc::clone(&self.input),
            output: None,
            read_only: self.read_only,
        }
    }
}

/// Whether a schema of arguments has one that names an application.
pub(crate) fn takes_app(input: &Value) -> bool {
    input.pointer("/properties/app").is_some()
}

/// What arguments are for, and their schema.
pub(in crate::catalogue) fn schema_of<T: JsonSchema>() -> (String, Arc<Value>) {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
    let description = schema.as_object_mut().and_then(|schema| {
        schema.remove("$schema");
        schema.remove("title");
        schema.remove("description")?.as_str().map(ToOwned::to_owned)
    });
    (description.unwrap_or_default(), Arc::new(schema))
}

fn call<T: Arguments>(host: &HostCatalogue, arguments: Value) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments = serde_json::from_value::<T>(arguments);
        arguments.map_err(|error| Refusal::said("invalid_arguments", error.to_string()))?.run(host).await
    })
}

/// All tools, by name.
pub(super) fn all() -> &'static [HostTool] {
    static ALL: LazyLock<Vec<HostTool>> = LazyLock::new(|| {
        let mut all = vec![
            HostTool::of::<definitions::List>(),
            HostTool::of::<definitions::Read>(),
            HostTool::of::<definitions::Write>(),
            HostTool::of::<definitions::History>(),
            HostTool::of::<definitions::Diff>(),
            HostTool::of::<executions::List>(),
            HostTool::of::<executions::Get>(),
            HostTool::of::<executions::Cancel>(),
            HostTool::of::<events::Publish>(),
            HostTool::of::<events::Subscribe>(),
            HostTool::of::<model::Generate>(),
            HostTool::of::<notes::Config>(),
            HostTool::of::<notes::Log>(),
            HostTool::of::<outside::OpenApi>(),
            HostTool::of::<outside::Request>(),
            HostTool::of::<memory::Read>(),
            HostTool::of::<memory::Append>(),
            HostTool::of::<memory::Search>(),
            HostTool::of::<operations::List>(),
            HostTool::of::<operations::Call>(),
            HostTool::of::<operations::SearchTools>(),
            HostTool::of::<operations::DescribeTool>(),
            HostTool::of::<state::Get>(),
            HostTool::of::<state::Set>(),
            HostTool::of::<state::Delete>(),
            HostTool::of::<state::List>(),
            HostTool::of::<state::Increment>(),
        ];
        all.sort_by_key(|tool| tool.name);
        all
    });
    &ALL
}
