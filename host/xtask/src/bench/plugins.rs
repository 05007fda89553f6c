//! What a thousand plugins that nobody calls cost.

use std::{
    fmt::Write,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nexus_tests::{House, HouseOptions};
use serde_json::json;

use super::{Figure, Findings, fixture::Bench, memory::mebibytes};
use crate::{out, workspace::Workspace};

/// Applications, and the plugins of each.
const APPS: usize = 100;
const PLUGINS: usize = 10;

/// What each component is larger than a small one, in bytes: about what one in Rust is.
const BYTES: usize = 60_000;

/// A component with three tools; each plugin's is this one with a section of its own.
const COMPONENT: &str = "tests/fuzz/seeds/component/echo";

/// The longest that a server may take to look at all components for the first time.
const PATIENCE: Duration = Duration::from_mins(20);

/// Starts a server without applications and one with a thousand plugins, each of which has another component, the second from
/// a warm cache.
pub(super) fn measure(workspace: &Workspace) -> Result<Findings> {
    let bench = Bench::new(workspace, "plugins")?;
    let data = bench.folder.join("empty");
    fs::create_dir_all(&data).with_context(|| format!("{} cannot be made", data.display()))?;
    let recordings = bench.folder.join("recordings");
    let options = HouseOptions::new(workspace.programs(), bench.apps(), recordings, String::new());
    let (_, empty) = started_again(House::start(HouseOptions { apps: None, ..options }, &data)?)?;
    let base = fs::read(workspace.root.join(COMPONENT)).with_context(|| format!("{COMPONENT} cannot be read"))?;
    for app in 0..APPS {
        add(&bench, &format!("shop-{app}"), &base, app)?;
    }
    out::note(format!("{} components are compiled once, which takes some minutes", APPS * PLUGINS));
    let house = bench.start(workspace, "full", "", None)?;
    wait(&house)?;
    let (took, full) = started_again(house)?;
    Ok(Findings {
        name: "plugins",
        configuration: json!({ "applications": APPS, "plugins": APPS * PLUGINS, "component_bytes": base.len() + BYTES }),
        figures: vec![
            Figure::new("start-up from a warm cache", took.as_secs_f64(), "s"),
            Figure::new("resident, no application", mebibytes(empty), "MiB"),
            Figure::new("resident, all plugins", mebibytes(full), "MiB"),
            Figure::new("for the plugins", mebibytes(full) - mebibytes(empty), "MiB"),
        ],
    })
}

/// How long a server takes to start on what it has, and its memory then.
fn started_again(house: House) -> Result<(Duration, u64)> {
    let fallen = house.restart_without_apps()?.kill();
    let start = Instant::now();
    let house = fallen.start()?;
    let took = start.elapsed();
    let resident = house.nexus.resident_bytes()?;
    house.stop()?;
    Ok((took, resident))
}

fn add(bench: &Bench, app: &str, base: &[u8], number: usize) -> Result<()> {
    let folder = bench.apps().join(app);
    fs::create_dir_all(folder.join("plugins"))?;
    let mut yaml = format!("apiVersion: nexus/v1\nkind: Application\nmetadata: {{ name: {app} }}\nspec:\n  plugins:\n");
    for plugin in 0..PLUGINS {
        let component = [base, &section(number * PLUGINS + plugin)].concat();
        fs::write(folder.join(format!("plugins/p{plugin}.wasm")), component)?;
        writeln!(yaml, "    p{plugin}: {{ component: plugins/p{plugin}.wasm }}")?;
    }
    fs::write(folder.join("app.yaml"), yaml)?;
    Ok(())
}

/// A custom section of noise, another for each number: a stream of xorshift64.
fn section(number: usize) -> Vec<u8> {
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let noise = (0..BYTES).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    });
    let content: Vec<u8> = [4].into_iter().chain(*b"seed").chain(noise).collect();
    // Its length in LEB128, with all five bytes that a number of 32 bits may have.
    let length = content.len().to_le_bytes();
    let bits = u64::from_le_bytes(length);
    let mut section = vec![0];
    section.extend((0..5).map(|byte| (bits >> (7 * byte)).to_le_bytes()[0] & 0x7f | if byte < 4 { 0x80 } else { 0 }));
    section.extend(content);
    section
}

/// Waits until all plugins are there.
fn wait(house: &House) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let apps = house.api.get("/v1/apps")?.success()?;
        let listed = apps["apps"].as_array().map_or(0, Vec::len);
        ensure!(listed <= APPS, "{listed} applications");
        if listed == APPS {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    bail!("the plugins were not there after {PATIENCE:?}")
}
