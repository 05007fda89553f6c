//! Calls in process, by criterion.

use std::{fs::read_to_string, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Figure, Findings};
use crate::{
    out,
    workspace::{Workspace, run},
};

/// Runs the benchmarks of `nexus-wasm` and reads what criterion kept. Medians, and each one's ratio to the fixed spin
/// loop: ratios compare between machines, times do not.
pub(super) fn measure(workspace: &Workspace) -> Result<Findings> {
    out::step("bench", "fresh calls in process (criterion)");
    let kept = workspace.target.join("criterion");
    // Figures of an earlier run must not pass for figures of this one.
    let _ = std::fs::remove_dir_all(&kept);
    let mut bench = workspace.cargo(["bench", "--profile", "release", "--package", "nexus-wasm", "--bench", "calls"]);
    run(bench.stdout(std::io::stderr()))?;
    let mut medians = Vec::new();
    collect(&kept, "", &mut medians)?;
    if medians.is_empty() {
        bail!("criterion left no figures in {}", kept.display());
    }
    let spin = medians.iter().find(|(name, _)| name.contains("spin")).map(|(_, nanos)| *nanos);
    let mut figures = Vec::new();
    for (name, nanos) in &medians {
        figures.push(Figure::new(name.clone(), nanos / 1e3, "µs (median)"));
        if let Some(spin) = spin.filter(|_| !name.contains("spin")) {
            figures.push(Figure::new(format!("{name} / spin loop"), nanos / spin, ""));
        }
    }
    Ok(Findings { name: "calls", configuration: json!({ "criterion": "defaults of the benchmark" }), figures })
}

/// Finds `new/estimates.json` below `folder`; a benchmark's name is the path to it.
fn collect(folder: &Path, name: &str, medians: &mut Vec<(String, f64)>) -> Result<()> {
    let estimates = folder.join("new/estimates.json");
    if estimates.exists() {
        let value: Value = serde_json::from_str(&read_to_string(&estimates)?)?;
        let nanos = value["median"]["point_estimate"].as_f64();
        medians.push((name.to_owned(), nanos.with_context(|| format!("{} has no median", estimates.display()))?));
        return Ok(());
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    folders.sort();
    for inner in folders.into_iter().filter(|path| path.is_dir()) {
        let last = inner.file_name().and_then(|last| last.to_str()).unwrap_or_default();
        let path = if name.is_empty() { last.to_owned() } else { format!("{name}/{last}") };
        collect(&inner, &path, medians)?;
    }
    Ok(())
}
