//! The interface `nexus:operation/handler`, from the host's side.

use nexus_model::{ComponentAnswer, LoadError};
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, Lift, types};

use crate::fault::cut;

/// The interface that an operation exports.
pub(crate) const INTERFACE: &str = "nexus:operation/handler@0.1.0";
const FUNCTION: &str = "run";

/// The variant `outcome`.
#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Outcome {
    #[component(name = "value")]
    Value(String),
    #[component(name = "abstain")]
    Abstain(String),
    #[component(name = "failure")]
    Failure(String),
}

impl From<Outcome> for ComponentAnswer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Value(json) => Self::Value(json),
            Outcome::Abstain(why) => Self::Abstain(cut(why)),
            Outcome::Failure(why) => Self::Failure(cut(why)),
        }
    }
}

/// Finds the function `run` and checks its type, once per component.
pub(crate) fn find(component: &Component) -> Result<ComponentExportIndex, LoadError> {
    let missing = || LoadError::MissingExport(format!("{INTERFACE}#{FUNCTION}: func(input: string) -> outcome"));
    let interface = component.get_export_index(None, INTERFACE).ok_or_else(missing)?;
    match component.get_export(Some(&interface), FUNCTION) {
        Some((types::ComponentItem::ComponentFunc(function), index)) if is_run(&function) => Ok(index),
        _ => Err(missing()),
    }
}

fn is_run(function: &types::ComponentFunc) -> bool {
    let takes_text = function.params().map(|(_, ty)| ty).eq([types::Type::String]);
    let mut results = function.results();
    let outcome = match (results.next(), results.next()) {
        (Some(types::Type::Variant(variant)), None) => variant
            .cases()
            .map(|case| (case.name.to_owned(), case.ty))
            .eq(["value", "abstain", "failure"].map(|name| (name.to_owned(), Some(types::Type::String)))),
        _ => false,
    };
    takes_text && outcome && !function.async_()
}
