//! Calls in process, by criterion.

use std::{fs::read_to_string, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Figure, Findings};
use crate::{
    out,
    workspace::{Workspace, run},
};

/// Runs the benchmarks of `nexus-wasm` and reads what criterion kept: medians, each one's ratio to the fixed reference
/// loop (ratios compare between machines, times do not), and rates where criterion has them.
pub(super) fn measure(workspace: &Workspace) -> Result<Findings> {
    out::step("bench", "fresh calls in process (criterion)");
    let kept = workspace.target.join("criterion");
    // Figures of an earlier run must not pass for figures of this one.
    let _ = std::fs::remove_dir_all(&kept);
    // No package is named: that would be another set of features, for which Wasmtime would be built once more.
    let mut bench = workspace.cargo(["bench", "--profile", "release", "--bench", "calls"]);
    run(bench.stdout(std::io::stderr()))?;
    let mut medians = Vec::new();
    collect(&kept, &mut medians)?;
    if medians.is_empty() {
        bail!("criterion left no figures in {}", kept.display());
    }
    medians.sort_by(|one, other| one.name.cmp(&other.name));
    let reference = medians.iter().find(|median| median.name.starts_with(REFERENCE)).map(|median| median.nanos);
    Ok(Findings {
        name: "calls",
        configuration: json!({ "criterion": "the benchmark's own settings; see host/wasm/benches/calls.rs" }),
        figures: medians.iter().flat_map(|median| figures(median, reference)).collect(),
    })
}

/// How the name of the reference loop begins.
const REFERENCE: &str = "reference";

struct Median {
    name: String,
    nanos: f64,
    /// Whether it is the time of one of many that run at the same time.
    rate: bool,
}

fn figures(median: &Median, reference: Option<f64>) -> Vec<Figure> {
    let Median { name, nanos, rate } = median;
    let mut figures = vec![Figure::new(name.clone(), nanos / 1e3, "µs (median)")];
    if *rate {
        figures.push(Figure::new(format!("{name}, rate"), 1e9 / nanos, "calls/s"));
    }
    if let Some(reference) = reference.filter(|_| !name.starts_with(REFERENCE)) {
        figures.push(Figure::new(format!("{name}, of the reference"), nanos / reference, ""));
    }
    figures
}

/// Reads `new/estimates.json` and `new/benchmark.json` wherever they are below `folder`.
fn collect(folder: &Path, medians: &mut Vec<Median>) -> Result<()> {
    let new = folder.join("new");
    if new.join("estimates.json").exists() {
        let (estimates, about) = (read(&new.join("estimates.json"))?, read(&new.join("benchmark.json"))?);
        let nanos = estimates["median"]["point_estimate"].as_f64();
        medians.push(Median {
            name: about["title"].as_str().context("criterion names no title")?.to_owned(),
            nanos: nanos.with_context(|| format!("{} has no median", new.display()))?,
            rate: about["throughput"].is_object(),
        });
        return Ok(());
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, medians)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    let text = read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}
