//! Thousands of hostile calls leave the host as large as it was.

use std::{sync::Arc, time::Duration};

use nexus_model::Component;

use crate::support::{config, guest, host_with, plugin};

/// Resident memory of this process in KiB.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

async fn storm(components: &[Arc<dyn Component>], rounds: usize) {
    for _ in 0..rounds {
        let calls = components.iter().map(|component| component.run("1", Duration::from_millis(5)));
        futures::future::join_all(calls).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resident_memory_stays_flat() {
    let dir = tempfile::tempdir().unwrap();
    let host = host_with(config(dir.path()));
    let mut components = Vec::new();
    for body in [
        "",
        "unreachable",
        "(loop $l (br $l))",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))",
        "(drop (memory.grow (i32.const 256))) (memory.fill (i32.const 65536) (i32.const 1) (i32.const 8388608))",
        "(local.set $length (i32.const 100000000))",
    ] {
        components.push(plugin(&host, &guest(body)).await);
    }
    storm(&components, 50).await;
    let before = resident();
    storm(&components, 500).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more after 3,000 calls");
}
