//! HTTP to HTTP: what the full path costs beside servers that do nothing else.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use nexus_tests::{House, Program};
use serde_json::json;

use super::{
    Figure, Findings,
    fixture::{Bench, copy_app},
    load::{self, Generator, Measured, Target},
};
use crate::{
    out,
    workspace::{Workspace, run},
};

/// The core of the server that is measured.
const SERVER: &str = "0";

/// The core of everything else.
const OTHER: &str = "1";

/// Seconds of load before a measurement.
const WARM_UP: u32 = 3;

/// A body for the Rust component `order-total`.
const ORDER: &str = r#"{"currency":"EUR","lines":[{"sku":"BX-20","quantity":3,"unit_price":"19.90"},{"sku":"TP-01","quantity":12,"unit_price":"0.45"}],"discount_percent":10}"#;

/// A body for the fixture's JavaScript.
const WEIGHT: &str = r#"{"text":"12 kg"}"#;

/// Measures the four servers one after the other, all in one run.
pub(super) fn measure(workspace: &Workspace, seconds: u32) -> Result<Findings> {
    let generator = Generator::find(workspace, OTHER)?;
    run(&mut workspace.cargo(["build", "--release", "--example", "bare-server"]))?;
    let bench = Bench::new(workspace, "http")?;
    bench.add("scale-room")?;
    copy_app(&workspace.root.join("apps/pricing"), &bench.apps().join("pricing"))?;
    let component = workspace.root.join("plugins/dist/order-total.wasm");
    let mut figures = Figures { generator, seconds, list: Vec::new(), echo: None };
    figures.bare("a: bare axum echo", workspace, &bench.folder, &["echo"])?;
    figures.bare(
        "b: bare axum, Rust component",
        workspace,
        &bench.folder,
        &["component", &component.to_string_lossy()],
    )?;
    let house = bench.start(workspace, "state", "", Some((SERVER, OTHER)))?;
    let state = house.teach("scale-room", "convert")?;
    if state != "active" {
        bail!("the fixture's code is {state} instead of active");
    }
    figures.full("c: full path, Rust component", &house, "/v1/apps/pricing/operations/total", ORDER)?;
    figures.full("d: full path, JavaScript component", &house, "/v1/apps/scale-room/operations/convert", WEIGHT)?;
    let settings = house.settings()?;
    house.stop()?;
    Ok(Findings {
        name: "http",
        configuration: json!({
            "server_core": SERVER, "load": load::configuration(OTHER, seconds), "warm_up_seconds": WARM_UP,
            "open_loop": "half of the saturation found, latency from when a request was due",
            "nexus": "as shipped: keys, schemas, traces, audit and limits on; a fresh store per call",
            "settings": settings,
            "busy": "below 100 % the load generator is the limit, not the server; processor time per request holds in any case",
            "replay": "no latency, on the load generator's core",
        }),
        figures: figures.list,
    })
}

struct Figures {
    generator: Generator,
    seconds: u32,
    list: Vec<Figure>,
    /// Requests per second of the bare echo, and microseconds of processor time for one, which the others are compared
    /// with.
    echo: Option<(f64, f64)>,
}

impl Figures {
    fn bare(&mut self, name: &str, workspace: &Workspace, folder: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("taskset");
        command.args(["-c", SERVER]).arg(workspace.programs().join("examples/bare-server")).args(arguments);
        let log = folder.join("bare-server.log");
        let server = Program::start("bare-server", &mut command, &log, Duration::from_secs(30))?;
        let target = Target { url: format!("{}/", server.said("listening")?), body: ORDER, key: None };
        self.measure(name, &server, &target)
    }

    fn full(&mut self, name: &str, house: &House, path: &str, body: &str) -> Result<()> {
        let reply = house.api.post(path, body.as_bytes())?;
        if reply.path.as_deref() != Some("component") {
            bail!("{path} is not answered by a component: HTTP {} {}", reply.status, reply.text);
        }
        let target = Target { url: format!("{}{path}", house.api.base()), body, key: Some(&house.key) };
        self.measure(name, &house.nexus, &target)
    }

    fn measure(&mut self, name: &str, server: &Program, target: &Target<'_>) -> Result<()> {
        out::step("bench", name);
        self.generator.closed(target, WARM_UP)?;
        let before = server.processor_time()?;
        let full = self.generator.closed(target, self.seconds).with_context(|| name.to_owned())?;
        let busy = server.processor_time()?.saturating_sub(before).as_secs_f64();
        let half = whole(full.requests_per_second / 2.0);
        let open = self.generator.open(target, self.seconds, half).with_context(|| name.to_owned())?;
        self.add(name, full, busy, half, open);
        Ok(())
    }

    fn add(&mut self, name: &str, full: Measured, busy: f64, half: u32, open: Measured) {
        let micros = busy * 1e6 / full.requests(self.seconds);
        let (echo, echo_micros) = *self.echo.get_or_insert((full.requests_per_second, micros));
        self.list.extend([
            Figure::new(format!("{name}: closed loop"), full.requests_per_second, "requests/s"),
            Figure::new(format!("{name}: of the bare echo"), full.requests_per_second / echo, ""),
            Figure::new(format!("{name}: server's core busy"), busy / f64::from(self.seconds) * 100.0, "%"),
            Figure::new(format!("{name}: processor time"), micros, "µs/request"),
            Figure::new(format!("{name}: of the bare echo, by processor time"), echo_micros / micros, ""),
            Figure::new(format!("{name}: p50 at {half}/s"), open.p50_ms, "ms"),
            Figure::new(format!("{name}: p99 at {half}/s"), open.p99_ms, "ms"),
        ]);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "requests per second are few and positive")]
fn whole(rate: f64) -> u32 {
    rate.max(1.0) as u32
}
