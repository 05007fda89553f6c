//! `cargo xtask build`, first half: the components.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{
    out,
    setup::{Compiler, TARGET},
    workspace::{Workspace, run as run_command},
};

/// A component: its crate, where its file goes, and the WIT that describes its tools, if it has any.
struct Plugin {
    package: &'static str,
    places: &'static [&'static str],
    wit: Option<&'static str>,
}

const PLUGINS: [Plugin; 10] = [
    Plugin { package: "data", places: &["plugins/dist/data.wasm"], wit: Some("plugins/data/wit/data.wit") },
    Plugin { package: "fetch", places: &["plugins/dist/fetch.wasm"], wit: Some("plugins/fetch/wit/fetch.wit") },
    Plugin { package: "jit-runner", places: &["plugins/dist/jit-runner.wasm"], wit: None },
    Plugin {
        package: "order-total",
        places: &["plugins/dist/order-total.wasm", "apps/pricing/plugins/order-total.wasm"],
        wit: None,
    },
    Plugin {
        package: "pricing",
        places: &["plugins/dist/pricing.wasm", "apps/support-desk/plugins/pricing.wasm"],
        wit: Some("plugins/pricing/wit/pricing.wit"),
    },
    Plugin { package: "fixture-folder", places: &["tests/fixtures/dist/folder.wasm"], wit: None },
    Plugin { package: "fixture-host", places: &["tests/fixtures/dist/host.wasm"], wit: None },
    Plugin { package: "fixture-http", places: &["tests/fixtures/dist/http.wasm"], wit: None },
    Plugin { package: "fixture-mcp", places: &["tests/fixtures/dist/mcp.wasm"], wit: None },
    Plugin { package: "fixture-state", places: &["tests/fixtures/dist/state.wasm"], wit: None },
];

/// What is built for WebAssembly only: the components, and what they have in common.
pub(crate) fn packages() -> impl Iterator<Item = &'static str> {
    std::iter::once("nexus-guest").chain(PLUGINS.iter().map(|plugin| plugin.package))
}

/// Builds the components and puts them where the host's crates and the applications look for them.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    out::step("build", "the components, for WebAssembly");
    let mut cargo = cargo(workspace, "build")?;
    for plugin in &PLUGINS {
        cargo.args(["--package", plugin.package]);
    }
    run_command(&mut cargo)?;
    let built = workspace.target.join(TARGET).join("guest");
    for plugin in &PLUGINS {
        let component = built.join(format!("{}.wasm", plugin.package.replace('-', "_")));
        for place in plugin.places {
            place_at(&component, &workspace.root.join(place))?;
        }
        if let Some(wit) = plugin.wit {
            let place = workspace.root.join("plugins/dist").join(plugin.package).with_extension("wit");
            place_at(&workspace.root.join(wit), &place)?;
        }
    }
    Ok(())
}

/// `cargo` with a task for WebAssembly; the packages are still to be named.
pub(crate) fn cargo(workspace: &Workspace, task: &str) -> Result<Command> {
    let mut cargo = workspace.cargo([task, "--profile", "guest", "--target", TARGET]);
    let header = workspace.root.join("plugins").join("jit-runner").join("quickjs.h");
    Compiler::find()?.apply(&mut cargo, &header)?;
    // Flags for this machine's programs would be wrong for another target's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    Ok(cargo)
}

/// Copies a file where it differs: crates that embed it are not built again for nothing.
fn place_at(file: &Path, place: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    if fs::read(place).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let folder = place.parent().with_context(|| format!("{} is in no folder", place.display()))?;
    // A server that watches the folder never sees half a component.
    let fresh = place.with_extension("new");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&fresh, bytes))
        .and_then(|()| fs::rename(&fresh, place))
        .with_context(|| format!("{} cannot be written", place.display()))
}
