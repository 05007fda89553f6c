//! `cargo xtask bench`.

mod activate;
mod calls;
mod fixture;
mod http;
mod load;
mod machine;
mod memory;
mod plugins;
mod workflows;

use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{build, out, workspace::Workspace};

/// What to measure.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench calls             fresh calls in process, beside a fixed spin loop
  cargo xtask bench http --json       requests per second and latencies, beside bare servers
  cargo xtask bench http --seconds 30 longer, for steadier figures")]
pub(crate) struct Arguments {
    /// The benchmark.
    name: Name,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Seconds of each measurement under load.
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    seconds: u32,
    /// The folder of built programs to be taken instead of the workspace's, for `workflows`.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Name {
    /// HTTP to HTTP: a bare server, a bare server with a component, the full path with Rust and with JavaScript.
    Http,
    /// In process: fresh calls of the Rust and the JavaScript component.
    Calls,
    /// From the source of a component to its first answer.
    Activate,
    /// Resident memory with 100 applications, and its growth over 100,000 calls.
    Memory,
    /// Start-up and resident memory with 1,000 plugins that nobody calls.
    Plugins,
    /// Executions of a workflow with three effects, in a warm container and in a plain process, and a thousand that wait.
    Workflows,
}

/// What was measured, and under which settings.
struct Findings {
    name: &'static str,
    configuration: Value,
    figures: Vec<Figure>,
}

/// One figure.
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

impl Figure {
    fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit }
    }
}

/// Builds, measures, prints.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if arguments.programs.is_none() {
        build::run(workspace)?;
    }
    let findings = match arguments.name {
        Name::Http => http::measure(workspace, arguments.seconds)?,
        Name::Calls => calls::measure(workspace)?,
        Name::Activate => activate::measure(workspace)?,
        Name::Memory => memory::measure(workspace)?,
        Name::Plugins => plugins::measure(workspace)?,
        Name::Workflows => workflows::measure(workspace, arguments.seconds, arguments.programs.as_ref())?,
    };
    print(&findings, arguments.json, &machine::describe());
    Ok(())
}

fn print(findings: &Findings, json: bool, machine: &Value) {
    let Findings { name, configuration, figures } = findings;
    if json {
        let listed: Vec<Value> = figures
            .iter()
            .map(|figure| json!({ "name": figure.name, "value": figure.value, "unit": figure.unit }))
            .collect();
        out::line(json!({
            "bench": name, "machine": machine, "configuration": configuration, "figures": listed,
        }));
        return;
    }
    out::line(format!("bench {name}\n\nmachine: {machine:#}\nconfiguration: {configuration:#}\n"));
    let width = figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
    for figure in figures {
        out::line(format!("{:<width$}  {:>12} {}", figure.name, readable(figure.value), figure.unit));
    }
}

fn readable(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
