//! From source to active code.

use std::time::Instant;

use anyhow::{Result, bail};
use nexus_tests::{FIXTURE_INPUTS, House, input};
use serde_json::{Value, json};

use super::{Figure, Findings, fixture::Bench};
use crate::{out, workspace::Workspace};

/// Fresh servers that are measured.
const ROUNDS: usize = 5;

/// The application of the fixture.
const APP: &str = "scale-room";

/// So that the oracle waits for the order that is timed.
const SETTINGS: &str = "oracle: { tick_ms: 86400000 }\n";

/// Times `POST …/compile` from the request to the answer: the coder's replayed answer, the build, the own tests, the
/// repair and the sealed set, the commit and the swap. The first of a server has an empty cache, the second does not.
pub(super) fn measure(workspace: &Workspace) -> Result<Findings> {
    let bench = Bench::new(workspace, "activate")?;
    bench.add(APP)?;
    let (mut empty, mut after, mut settings) = (Vec::new(), Vec::new(), Value::Null);
    for round in 0..ROUNDS {
        out::note(format!("round {} of {ROUNDS}", round + 1));
        let house = bench.start(workspace, &format!("state-{round}"), SETTINGS, None)?;
        empty.push(compile(&house, "convert")?);
        house.api.optimize(APP, "convert", "demote")?.success()?;
        after.push(compile(&house, "weigh")?);
        settings = house.settings()?;
        house.stop()?;
    }
    Ok(Findings {
        name: "activate",
        configuration: json!({
            "rounds": ROUNDS, "distinct_inputs": FIXTURE_INPUTS, "settings": settings,
            "counted": "from the order to compile to its answer: replayed coder, build, all checks, commit, swap",
        }),
        figures: vec![
            Figure::new("source to active, empty cache (median)", middle(empty), "s"),
            Figure::new("source to active, after that (median)", middle(after), "s"),
        ],
    })
}

/// Seconds from the order to the answer.
fn compile(house: &House, operation: &str) -> Result<f64> {
    for number in 0..FIXTURE_INPUTS {
        house.api.call(APP, operation, &input(operation, number))?.success()?;
    }
    let begin = Instant::now();
    let status = house.api.optimize(APP, operation, "compile")?.success()?;
    let seconds = begin.elapsed().as_secs_f64();
    if status["state"] != "active" {
        bail!("{operation} was not switched to code: {status}");
    }
    Ok(seconds)
}

fn middle(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or_default()
}
