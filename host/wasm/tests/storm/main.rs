//! Very many hostile components and calls in one process: each ends as it should, a neighbour is answered all along, and
//! memory stays flat. `cargo xtask soak plugins` makes 100,000 calls and compiles 100 bombs, this test a hundredth.
//!
//! It has a process of its own, because memory is measured; so its parts come one after the other.

#![expect(clippy::print_stdout, reason = "what was measured is told to whoever asks with `--nocapture`")]
#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends the test")]

mod bombs;
mod calls;
#[path = "../it/guests.rs"]
mod guests;
mod hostile;
#[expect(dead_code, reason = "the other test needs more of it")]
#[path = "../it/services.rs"]
mod services;
mod strangers;
#[expect(dead_code, reason = "the other test needs more of it")]
#[path = "../it/support.rs"]
mod support;

use std::fs;

use self::support::{config, host_with};

/// How much the process may grow after it has warmed up, in bytes.
const GROWTH: usize = 16 << 20;

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn runs() -> usize {
    #[expect(clippy::disallowed_methods, reason = "the soak says how long this goes on")]
    std::env::var("NEXUS_TEST_RUNS").map_or(1_000, |runs| runs.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_components_end_and_leave_nothing_behind() {
    let (dir, runs) = (tempfile::tempdir().unwrap(), runs());
    let mut config = config(dir.path());
    config.egress = hostile::egress();
    let host = host_with(config);
    let plugins = hostile::plugins(&host).await;
    calls::storm(&plugins, (runs / 10).max(1_000)).await;
    strangers::visit(&host, dir.path(), 1).await;

    let before = resident();
    calls::beside_a_neighbour(&host, &plugins, runs).await;
    strangers::visit(&host, dir.path(), (runs / 1_000).max(1)).await;
    let grown = resident().saturating_sub(before);
    println!("resident_growth_bytes: {grown}");
    assert!(grown <= GROWTH, "{grown} bytes more after {runs} calls");
    bombs::go_off(&host, (runs / 1_000).max(1)).await;
}
