//! The official conformance suite: every scenario for clients that counts for a revision has to pass.

use std::{collections::BTreeSet, env, process::Stdio};

use tokio::{process::Command, time::timeout};

use crate::support::{PATIENT, node, peers};

#[tokio::test]
async fn of_2025_11_25() {
    run("2025-11-25").await;
}

#[tokio::test]
async fn of_2026_07_28() {
    run("2026-07-28").await;
}

async fn run(revision: &str) {
    let listed = suite(&["list", "--requirements", revision]).await;
    let scored = listed.split("Client scenarios").nth(1).unwrap().split("Run and reported").next().unwrap();
    let scored: BTreeSet<_> = scored.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    assert!(scored.len() > 10, "{listed}");
    // Cargo builds examples before tests, next to them.
    let client = env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join("conformance_client");
    assert!(client.exists(), "{} is missing: run `cargo test -p nexus-mcp`", client.display());
    let folder = tempfile::tempdir().unwrap();
    let (client, output) = (client.to_str().unwrap(), folder.path().to_str().unwrap());
    let said = suite(&["client", "--command", client, "--requirements", revision, "--output-dir", output]).await;
    let passed: BTreeSet<_> = said
        .lines()
        .filter(|line| line.ends_with(" 0 failed"))
        .filter_map(|line| line.strip_prefix("✓ ")?.split(": ").next())
        .collect();
    let failed: Vec<_> = scored.difference(&passed).collect();
    assert!(failed.is_empty(), "{failed:?}\n{}", said.split("SUITE SUMMARY").nth(1).unwrap_or(&said));
}

/// What the suite says. That it fails is no matter: it also runs what does not count.
async fn suite(arguments: &[&str]) -> String {
    let (program, environment) = node();
    let mut suite = Command::new(program);
    suite.arg(peers().join("node_modules/@modelcontextprotocol/conformance/dist/index.js")).args(arguments);
    suite.env_clear().envs(environment).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENT, suite.output()).await.unwrap().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
