//! The exported functions of a component as tools: what they are called, their schemas, and calls with JSON.

mod content;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod read;
mod schema;
mod shape;
mod write;

#[cfg(test)]
mod properties;

use std::{collections::BTreeMap, sync::Arc};

use nexus_model::{LeftOut, LoadError, Offers, ToolFault, ToolOutcome, ToolSignature};
use serde_json::Value;
use wasmtime::{
    Engine,
    component::{
        Component, ComponentExportIndex, Val,
        types::{ComponentFunc, ComponentItem},
    },
};

use self::shape::{FunctionShape, NoTool};
use crate::docs::Docs;

/// The longest name of a tool, which is that of MCP.
const MAX_NAME_BYTES: usize = 128;

/// The most tools of one component.
const MAX_TOOLS: usize = 500;

/// The interface of a program that is run, not called.
const COMMAND: &str = "wasi:cli/run";

/// What componentize-py leaves behind in a component: it was called before the component was written, and has no use since.
const PYTHON_HOOK: (&str, &str, [&str; 3]) = ("exports", "init", ["app-name", "symbols", "stub-wasi"]);

/// One exported function.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Where the function is in the component.
    pub(crate) index: ComponentExportIndex,
    /// The interface that it is exported in, with package and version; `None` for one of the world itself.
    interface: Option<String>,
    function: String,
    shape: FunctionShape,
}

impl Tool {
    /// The parameters of a call, from an object with one property for each.
    pub(crate) fn arguments(&self, arguments: &Value) -> Result<Vec<Val>, ToolFault> {
        read::arguments(&self.shape.params, arguments)
    }

    /// Room for the function's result.
    pub(crate) fn results(&self) -> Vec<Val> {
        self.shape.result.iter().map(|_| Val::Bool(false)).collect()
    }

    /// What the function answered.
    pub(crate) fn outcome(&self, answer: Vec<Val>) -> wasmtime::Result<ToolOutcome> {
        write::outcome(self.shape.result.as_ref(), answer).map_err(wasmtime::Error::new)
    }
}

/// All tools of a component, and the functions that it offers to MCP clients beside them.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    by_name: BTreeMap<String, Tool>,
    offers: Offers,
    /// Whether it knows the types of `nexus:mcp`.
    speaks_mcp: bool,
    left_out: Vec<LeftOut>,
}

impl Tools {
    /// Finds the tools of a component. It is refused when it has none, with the reason for each function.
    pub(crate) fn of(engine: &Engine, component: &Component) -> Result<Self, LoadError> {
        let ty = component.component_type();
        let mut tools = Self { speaks_mcp: content::is_known(engine, &ty), ..Self::default() };
        for (name, export) in ty.exports(engine) {
            match export.ty {
                ComponentItem::ComponentFunc(function) => tools.add(component, None, name, &function)?,
                ComponentItem::ComponentInstance(interface) if !is_command(name) => {
                    for (function, export) in interface.exports(engine) {
                        if let ComponentItem::ComponentFunc(ty) = export.ty
                            && !is_hook(name, function, &ty)
                        {
                            tools.add(component, Some(name), function, &ty)?;
                        }
                    }
                }
                _ => {}
            }
        }
        if tools.by_name.is_empty() {
            return Err(tools.none(engine, component));
        }
        Ok(tools)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Tool> {
        self.by_name.get(name)
    }

    /// What it offers to MCP clients beside tools.
    pub(crate) fn offers(&self) -> Offers {
        self.offers
    }

    pub(crate) fn left_out(&self) -> Vec<LeftOut> {
        self.left_out.clone()
    }

    /// The tools for people and for models, with what the component says about them.
    pub(crate) fn signatures(&self, docs: &Docs) -> Vec<ToolSignature> {
        let signature = |(name, tool): (&String, &Tool)| ToolSignature {
            name: name.clone(),
            description: docs.function(tool.interface.as_deref(), &tool.function).map(ToOwned::to_owned),
            input: Arc::new(schema::arguments(&tool.shape)),
            output: schema::answer(&tool.shape).map(Arc::new),
            content: self.speaks_mcp && tool.shape.result.as_ref().is_some_and(content::is_answer),
        };
        let tools = self.by_name.iter().filter(|(_, tool)| !tool.interface.as_deref().is_some_and(is_offer));
        tools.map(signature).collect()
    }

    fn add(
        &mut self,
        component: &Component,
        interface: Option<&str>,
        function: &str,
        ty: &ComponentFunc,
    ) -> Result<(), LoadError> {
        let name = tool_name(interface, function);
        match tool(component, interface, function, ty) {
            _ if name.len() > MAX_NAME_BYTES => {
                self.leave_out(interface, function, format!("its name has more than {MAX_NAME_BYTES} bytes"));
            }
            Err(why) => self.leave_out(interface, function, why.to_string()),
            Ok(_) if self.by_name.len() == MAX_TOOLS => {
                return Err(LoadError::NoTools(format!("it exports more than {MAX_TOOLS} functions")));
            }
            Ok(tool) => {
                self.offers.resources |= interface == Some(Offers::RESOURCES);
                self.offers.prompts |= interface == Some(Offers::PROMPTS);
                if self.by_name.insert(name.clone(), tool).is_some() {
                    return Err(LoadError::NoTools(format!(
                        "two of its functions would be the tool `{name}`: export only one of the interfaces of this name"
                    )));
                }
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, interface: Option<&str>, function: &str, reason: String) {
        let function = interface.map_or_else(|| function.to_owned(), |name| format!("{name}#{function}"));
        self.left_out.push(LeftOut { function, reason });
    }

    fn none(&self, engine: &Engine, component: &Component) -> LoadError {
        let ty = component.component_type();
        if ty.exports(engine).any(|(name, _)| is_command(name)) {
            return LoadError::NoTools(format!(
                "it is a program (it exports `{COMMAND}`): make a library of it that exports functions, in Rust with `crate-type = [\"cdylib\"]`"
            ));
        }
        if self.left_out.is_empty() {
            return LoadError::NoTools("it exports no function".to_owned());
        }
        let reasons: Vec<String> =
            self.left_out.iter().map(|left| format!("`{}`: {}", left.function, left.reason)).collect();
        LoadError::NoTools(format!("none of its functions can be a tool: {}", reasons.join("; ")))
    }
}

fn tool(component: &Component, interface: Option<&str>, function: &str, ty: &ComponentFunc) -> Result<Tool, NoTool> {
    if function.starts_with('[') {
        return Err(NoTool::OfResource);
    }
    if !function.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(NoTool::Name);
    }
    let shape = FunctionShape::of(ty)?;
    let parent = interface.map(|interface| component.get_export_index(None, interface).ok_or(NoTool::Unreachable));
    let index = component.get_export_index(parent.transpose()?.as_ref(), function).ok_or(NoTool::Unreachable)?;
    Ok(Tool { index, interface: interface.map(ToOwned::to_owned), function: function.to_owned(), shape })
}

/// `function`, or `interface.function` without package and version; where it is no tool, `interface#function` with both.
fn tool_name(interface: Option<&str>, function: &str) -> String {
    match interface {
        None => function.to_owned(),
        Some(interface) if is_offer(interface) => format!("{interface}#{function}"),
        Some(interface) => {
            let plain = interface.split_once('@').map_or(interface, |(name, _)| name);
            let plain = plain.rsplit_once('/').map_or(plain, |(_, name)| name);
            format!("{plain}.{function}")
        }
    }
}

fn is_offer(interface: &str) -> bool {
    [Offers::RESOURCES, Offers::PROMPTS].contains(&interface)
}

fn is_command(export: &str) -> bool {
    export.split('@').next() == Some(COMMAND)
}

fn is_hook(interface: &str, function: &str, ty: &ComponentFunc) -> bool {
    (interface, function) == (PYTHON_HOOK.0, PYTHON_HOOK.1) && ty.params().map(|(name, _)| name).eq(PYTHON_HOOK.2)
}
