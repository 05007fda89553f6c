//! Resident memory.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread::scope,
};

use anyhow::{Result, bail};
use nexus_tests::{House, input};
use serde_json::json;

use super::{Figure, Findings, fixture::Bench};
use crate::{out, workspace::Workspace};

/// Applications of the server.
const APPS: usize = 100;

/// Applications that have active code.
const ACTIVE: usize = 20;

/// Calls before the growth is measured.
const WARM_UP: usize = 5_000;

/// Calls over which the growth is measured.
const CALLS: usize = 100_000;

/// Calls at one time.
const CONCURRENCY: usize = 8;

/// Starts with 100 applications, has code written for 20 of them, and calls these.
pub(super) fn measure(workspace: &Workspace) -> Result<Findings> {
    let bench = Bench::new(workspace, "memory")?;
    for number in 0..APPS {
        bench.add(&app(number))?;
    }
    let house = bench.start(workspace, "state", "", None)?;
    let idle = house.nexus.resident_bytes()?;
    for number in 0..ACTIVE {
        let state = house.teach(&app(number), "convert")?;
        if state != "active" {
            bail!("{} is {state} instead of active", app(number));
        }
    }
    let active = house.nexus.resident_bytes()?;
    out::note(format!("{WARM_UP} calls of warm-up, then {CALLS}"));
    call(&house, WARM_UP)?;
    let warm = house.nexus.resident_bytes()?;
    call(&house, CALLS)?;
    let end = house.nexus.resident_bytes()?;
    let settings = house.settings()?;
    house.stop()?;
    Ok(Findings {
        name: "memory",
        configuration: json!({
            "applications": APPS, "with_active_javascript": ACTIVE, "warm_up_calls": WARM_UP, "calls": CALLS,
            "concurrency": CONCURRENCY, "settings": settings,
        }),
        figures: vec![
            Figure::new(format!("resident, {APPS} applications, none active"), mebibytes(idle), "MiB"),
            Figure::new(format!("resident, {ACTIVE} of them with active JavaScript"), mebibytes(active), "MiB"),
            Figure::new(format!("resident after {WARM_UP} calls"), mebibytes(warm), "MiB"),
            Figure::new(format!("resident after {CALLS} more"), mebibytes(end), "MiB"),
            Figure::new(format!("growth over {CALLS} calls"), mebibytes(end) - mebibytes(warm), "MiB"),
        ],
    })
}

fn app(number: usize) -> String {
    format!("scale-room-{number}")
}

/// Calls the active operations in turn, with inputs that their code handles.
fn call(house: &House, count: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    scope(|threads| {
        let workers: Vec<_> = (0..CONCURRENCY)
            .map(|_| {
                threads.spawn(|| -> Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return Ok(());
                        }
                        let input = input("convert", number % 25 * 8);
                        house.api.call(&app(number % ACTIVE), "convert", &input)?.success()?;
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a caller broke off")))
    })
}

#[expect(clippy::cast_precision_loss, reason = "shown to people")]
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
