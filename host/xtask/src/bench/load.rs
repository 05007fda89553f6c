//! The load generator: `oha`, installed on demand.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    out,
    workspace::{Workspace, run},
};

/// The version that figures were made with.
pub(super) const VERSION: &str = "1.16.0";

/// Connections of a load.
pub(super) const CONNECTIONS: u32 = 32;

/// A load generator on one core.
pub(super) struct Generator {
    program: PathBuf,
    core: &'static str,
}

/// One request, sent again and again.
pub(super) struct Target<'a> {
    pub(super) url: String,
    pub(super) body: &'a str,
    pub(super) key: Option<&'a str>,
}

/// What a load found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) requests_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Measured {
    /// Requests that were answered in all.
    pub(super) fn requests(&self, seconds: u32) -> f64 {
        self.requests_per_second * f64::from(seconds)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    summary: Summary,
    latency_percentiles: Percentiles,
    status_code_distribution: std::collections::BTreeMap<String, u64>,
    #[serde(default)]
    error_distribution: std::collections::BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    requests_per_sec: f64,
}

#[derive(Deserialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Generator {
    /// Takes `oha` from the tools' folder beside the target folder, installing it there first where it is not.
    pub(super) fn find(workspace: &Workspace, core: &'static str) -> Result<Self> {
        let root = workspace.target.join("tools");
        let program = root.join("bin/oha");
        if !program.exists() {
            out::step("bench", &format!("installing the load generator oha {VERSION}, once; this takes some minutes"));
            let mut install = workspace.cargo(["install", "oha", "--version", VERSION, "--locked", "--root"]);
            run(install.arg(&root)).context("oha is needed for this benchmark")?;
        }
        Ok(Self { program, core })
    }

    /// As many requests as the server answers: the next is sent when one is answered.
    pub(super) fn closed(&self, target: &Target<'_>, seconds: u32) -> Result<Measured> {
        self.run(target, seconds, &[])
    }

    /// `rate` requests per second, whether the server answers or not; latency counts from when a request was due.
    pub(super) fn open(&self, target: &Target<'_>, seconds: u32, rate: u32) -> Result<Measured> {
        self.run(target, seconds, &["-q", &rate.to_string(), "--latency-correction"])
    }

    fn run(&self, target: &Target<'_>, seconds: u32, more: &[&str]) -> Result<Measured> {
        let mut command = Command::new("taskset");
        command.args(["-c", self.core]).arg(&self.program);
        command.args(["--no-tui", "--output-format", "json", "-m", "POST", "-T", "application/json"]);
        command.args(["-z", &format!("{seconds}s"), "-c", &CONNECTIONS.to_string(), "-d", target.body]);
        if let Some(key) = target.key {
            command.args(["-H", &format!("authorization: Bearer {key}")]);
        }
        let output = command.args(more).arg(&target.url).stderr(Stdio::inherit()).output();
        let output = output.context("taskset and oha cannot be started (taskset is in the package util-linux)")?;
        read(&output.stdout)
    }
}

/// Reads the report; answers other than 200 make it void.
fn read(report: &[u8]) -> Result<Measured> {
    let report: Report = serde_json::from_slice(report)
        .with_context(|| format!("oha's report is not understood: {}", String::from_utf8_lossy(report)))?;
    let bad: Vec<_> = report.status_code_distribution.keys().filter(|status| *status != "200").collect();
    if !bad.is_empty() || report.status_code_distribution.is_empty() {
        bail!("answers were not all 200: {:?} {:?}", report.status_code_distribution, report.error_distribution);
    }
    Ok(Measured {
        requests_per_second: report.summary.requests_per_sec,
        p50_ms: report.latency_percentiles.p50 * 1e3,
        p99_ms: report.latency_percentiles.p99 * 1e3,
    })
}

/// What the generator was told, for the record.
pub(super) fn configuration(core: &str, seconds: u32) -> Value {
    serde_json::json!({ "oha": VERSION, "connections": CONNECTIONS, "core": core, "seconds": seconds })
}
