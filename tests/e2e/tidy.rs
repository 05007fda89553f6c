//! Rules of the house that no compiler checks.

#![expect(clippy::expect_used, reason = "what helpers of tests cannot read fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{read_dir, read_to_string},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The crates of the host and their layers. A crate imports lower layers only.
const LAYERS: [(&str, u8); 12] = [
    ("nexus-model", 0),
    ("nexus-workflow", 1),
    ("nexus-definitions", 2),
    ("nexus-egress", 2),
    ("nexus-llm", 2),
    ("nexus-signals", 2),
    ("nexus-state", 2),
    ("nexus-mcp", 3),
    ("nexus-sandbox", 3),
    ("nexus-wasm", 3),
    ("nexus-core", 4),
    ("nexus-server", 5),
];

/// Heavy dependencies, and the one crate of the host that may name each.
/// (The program in the sandbox, which is not of the host, is a client of MCP by itself.)
const OWNERS: [(&str, &str); 18] = [
    ("axum", "nexus-server"),
    ("bollard", "nexus-sandbox"),
    ("clap", "nexus-server"),
    ("git2", "nexus-state"),
    ("jaq-core", "nexus-workflow"),
    ("minijinja", "nexus-definitions"),
    ("oci-client", "nexus-server"),
    ("rmcp", "nexus-mcp"),
    ("rustls", "nexus-egress"),
    ("opentelemetry-otlp", "nexus-signals"),
    ("opentelemetry_sdk", "nexus-signals"),
    ("redb", "nexus-state"),
    ("redis", "nexus-state"),
    ("tracing-opentelemetry", "nexus-signals"),
    ("wasmtime", "nexus-wasm"),
    ("wasmtime-wasi", "nexus-wasm"),
    ("wasmtime-wasi-http", "nexus-wasm"),
    ("wasmtime-wizer", "nexus-wasm"),
];

/// The programs that run in containers.
const SANDBOXED: [&str; 2] = ["nexus-orchestrator", "nexus-relay"];

/// Crates that must not come in, by whatever way.
const BANNED: [&str; 5] = ["openssl-sys", "native-tls", "serde_yaml", "serde_yml", "wizer"];

/// Licences under which a part of Nexus may come.
const LICENCES: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The only files with unsafe code: where verified machine code is loaded, and the generated bindings of the guests.
const UNSAFE: [&str; 4] = ["guest-sdk/src/", "host/wasm/src/", "plugins/jit-runner/src/", "tests/fixtures/components/"];

/// The only files that read the environment: the server's settings, and what is done while building.
const ENVIRONMENT: [&str; 3] = ["host/server/src/environment.rs", "host/wasm/build.rs", "host/xtask/src/"];

#[test]
fn crates_import_lower_layers_only() {
    let layers = BTreeMap::from(LAYERS);
    for package in workspace_packages() {
        let name = text(&package["name"]);
        let Some(layer) = layers.get(name) else { continue };
        for dependency in dependencies(&package) {
            if let Some(other) = layers.get(dependency) {
                assert!(other < layer, "{name} (layer {layer}) must not import {dependency} (layer {other})");
            }
            assert!(!["nexus-tests", "xtask"].contains(&dependency), "{name} must not import {dependency}");
        }
    }
}

#[test]
fn every_crate_of_the_host_has_a_layer() {
    for package in workspace_packages() {
        let (name, path) = (text(&package["name"]), text(&package["manifest_path"]));
        let beside = name == "xtask" || SANDBOXED.contains(&name);
        let host = path.contains("/host/") && !path.contains("/tests/") && !beside;
        assert_eq!(host, LAYERS.iter().any(|(known, _)| *known == name), "{name}");
    }
}

#[test]
fn what_runs_in_a_sandbox_has_nothing_of_the_host() {
    let packages = workspace_packages();
    for name in SANDBOXED {
        let sandboxed = packages.iter().find(|package| package["name"] == name).expect("there is the program");
        for dependency in dependencies(sandboxed) {
            let lower = ["nexus-model", "nexus-workflow"].contains(&dependency);
            assert!(lower || !dependency.starts_with("nexus-"), "{name} has {dependency}");
        }
    }
}

#[test]
fn heavy_dependencies_have_one_owner() {
    for package in workspace_packages() {
        let name = text(&package["name"]);
        if !LAYERS.iter().any(|(known, _)| *known == name) {
            continue;
        }
        for dependency in dependencies(&package) {
            if let Some((_, owner)) = OWNERS.iter().find(|(heavy, _)| *heavy == dependency) {
                assert_eq!(name, *owner, "only {owner} may depend on {dependency}");
            }
        }
    }
}

/// The programs, the tests and the image are made of the same crates with the same features. Otherwise all that lies above the one
/// that differs is built twice, the engine for WebAssembly first of all.
#[test]
fn nothing_is_built_twice() {
    let tests = features(&["--edges", "normal,build,dev"]);
    for others in [&["--edges", "normal,build"][..], &["--package", "nexus-server", "--edges", "normal,build"]] {
        let twice: Vec<_> = features(others).difference(&tests).cloned().collect();
        assert_eq!(twice, Vec::<String>::new(), "ask for the features of these where {others:?} sees them, too");
    }
}

/// Every crate that is built, each with its features.
fn features(arguments: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--quiet", "--prefix", "none", "--format", "{p} {f}"]).args(arguments).current_dir(root());
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let crates = lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned());
    crates.filter(|line| !line.is_empty() && !line.starts_with('[')).collect()
}

#[test]
fn the_model_crate_does_no_io() {
    let packages = workspace_packages();
    let model = packages.iter().find(|package| package["name"] == "nexus-model").expect("there is a model crate");
    for dependency in dependencies(model) {
        assert!(
            !["tokio", "reqwest", "axum", "git2", "redb", "redis"].contains(&dependency),
            "nexus-model has {dependency}"
        );
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in workspace_packages() {
        let path = text(&package["manifest_path"]);
        let manifest = read_to_string(path).expect("a manifest is readable");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{path}");
    }
}

#[test]
fn licences_are_permissive_and_banned_crates_are_absent() {
    let faults: Vec<String> = all_packages()
        .iter()
        .map(|package| (text(&package["name"]), package["license"].as_str().unwrap_or_default()))
        .filter(|(name, licence)| BANNED.contains(name) || !permitted(licence))
        .map(|(name, licence)| format!("{name} ({licence})"))
        .collect();
    assert!(faults.is_empty(), "banned, or under another licence: {}", faults.join(", "));
}

#[test]
fn one_version_of_the_runtime() {
    let versions = all_packages().into_iter().filter(|package| package["name"] == "wasmtime").count();
    assert_eq!(versions, 1);
}

#[test]
fn unsafe_code_is_where_it_is_known() {
    for (path, source) in sources() {
        let unsafe_code = source.contains("(unsafe_code") || source.contains("unsafe {");
        assert!(!unsafe_code || UNSAFE.iter().any(|known| path.starts_with(known)), "unsafe code in {path}");
    }
}

#[test]
fn only_the_settings_read_the_environment() {
    for (path, source) in sources() {
        if !(path.starts_with("host/") && path.contains("/src/")) {
            continue;
        }
        let reads = ["env::var", "env::vars", "env::var_os", "env::vars_os"].iter().any(|call| source.contains(call));
        assert!(!reads || ENVIRONMENT.iter().any(|known| path.starts_with(known)), "{path} reads the environment");
    }
}

/// Whether one alternative of an SPDX expression asks only for licences that are permitted. Parentheses are taken apart
/// conservatively: `(A OR B) AND C` is read as `A OR B`, `C`.
fn permitted(expression: &str) -> bool {
    let plain = expression.replace('/', " OR ");
    if let Some((left, right)) = plain.strip_prefix('(').and_then(|rest| rest.split_once(") AND ")) {
        return permitted(left) && permitted(right);
    }
    plain
        .replace(['(', ')'], "")
        .split(" OR ")
        .any(|choice| choice.split(" AND ").all(|licence| LICENCES.contains(&licence.trim())))
}

fn dependencies(package: &Value) -> Vec<&str> {
    let all = package["dependencies"].as_array().expect("a package lists its dependencies");
    all.iter().filter(|dependency| dependency["kind"] != "dev").map(|dependency| text(&dependency["name"])).collect()
}

fn workspace_packages() -> Vec<Value> {
    packages(&["--no-deps"])
}

/// What is built for this machine.
fn all_packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(version.stdout).expect("rustc speaks UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    packages(&["--filter-platform", host])
}

fn packages(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("cargo metadata lists packages").clone()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the workspace")
}

/// All Rust sources but this one, each with its path below the root.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["guest-sdk", "host", "plugins", "tests"] {
        collect(&root().join(folder), &mut files);
    }
    let relative = |path: &Path| path.strip_prefix(root()).expect("below the root").display().to_string();
    let named = files.iter().map(|path| (relative(path), read_to_string(path).expect("a source is readable")));
    named.filter(|(path, _)| path != "tests/e2e/tidy.rs").collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in read_dir(folder).expect("a folder is readable") {
        let path = entry.expect("an entry is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}
