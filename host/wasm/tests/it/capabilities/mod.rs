//! What plugins may use, with real components: those of `tests/fixtures/components`.

mod fetch;
mod folder;
mod grants;
mod hostile;
mod http;
mod mcp;
mod outside;
mod site;
mod state;

use std::{path::Path, sync::Arc};

use nexus_model::{Grants, LinkedPlugin, PluginHost, ToolFault, ToolOutcome};
use nexus_wasm::{WasmConfig, WasmHost};
use serde_json::Value;

use crate::{
    services::Desk,
    support::{PATIENCE, config, fixture, host_with},
};

/// A host with settings of its own, and a cache that outlives the test.
fn host(change: impl FnOnce(&mut WasmConfig)) -> WasmHost {
    let mut config = config(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    change(&mut config);
    host_with(config)
}

/// A component of `tests/fixtures/components`, linked with these grants.
async fn linked(host: &WasmHost, name: &str, grants: &Grants) -> Arc<dyn LinkedPlugin> {
    host.link(&fixture(name), grants).await.unwrap()
}

async fn call(plugin: &Arc<dyn LinkedPlugin>, desk: &Arc<Desk>, tool: &str, arguments: Value) -> Result<Value, Value> {
    match plugin.call(tool, &arguments, desk.clone(), PATIENCE).await {
        Ok(ToolOutcome::Value(value)) => Ok(value),
        Ok(ToolOutcome::Error(error)) => Err(error),
        Err(fault) => panic!("{tool}: {fault}"),
    }
}

async fn fault(plugin: &Arc<dyn LinkedPlugin>, tool: &str, arguments: Value, deadline_ms: u64) -> ToolFault {
    let deadline = std::time::Duration::from_millis(deadline_ms);
    plugin.call(tool, &arguments, Arc::new(Desk::default()), deadline).await.unwrap_err()
}
