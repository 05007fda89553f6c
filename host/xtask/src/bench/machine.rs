//! What the figures were measured on.

use std::{fs::read_to_string, process::Command, thread::available_parallelism};

use serde_json::{Value, json};

/// Processor, kernel, compiler.
pub(super) fn describe() -> Value {
    let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": cpu.trim_start_matches([' ', '\t', ':']),
        "cores": available_parallelism().map_or(0, std::num::NonZero::get),
        "kernel": kernel.trim(),
        "load_before": load.split(' ').next().unwrap_or_default(),
        "rustc": said(Command::new("rustc").arg("--version")),
        "profile": "release",
    })
}

fn said(command: &mut Command) -> String {
    let output = command.output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
    output.unwrap_or_default().trim().to_owned()
}
