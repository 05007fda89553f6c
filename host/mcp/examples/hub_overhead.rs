//! What the hub adds to a call: the same tool of the same program, called by rmcp directly and through the hub. Both ways take
//! turns in short blocks of one run, so that whatever else the machine does hits both alike: with one call at a time, with 32,
//! and with calls that begin at fixed times, half as many as the slower way can answer. And how long it takes to list the tools
//! of twenty servers of which two hang.
//!
//! `cargo run --release -p nexus-mcp --example hub_overhead [-- --json]`
#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::{
    collections::BTreeMap,
    env,
    process::Stdio,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nexus_mcp::hub::{Connect, HubCall, HubConfig, McpHub, ProcessLauncher, ServerSpec};
use nexus_model::SilentCaller;
use rmcp::{
    ErrorData, RoleClient, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
        ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
    },
    service::{ClientLifecycleMode, Peer, RequestContext, RunningService, serve_client_with_lifecycle_and_ct},
    transport::{async_rw::AsyncRwTransport, stdio},
};
use serde_json::{Map, Value, json};
use tokio::{process::Command, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often the two ways take turns.
const BLOCKS: usize = 20;
/// Calls of one block, whatever their number at one time.
const CALLS: usize = 640;
/// Calls that find out how many can be answered: as many as the hub lets through at one time.
const SATURATING: usize = 64;
/// How long calls begin at fixed times, in one block.
const STEADY: Duration = Duration::from_millis(500);
/// Calls that may wait to begin, where they are not answered as fast as they should be.
const WAITING: usize = 4_096;

#[tokio::main]
async fn main() -> Result<()> {
    let argument = env::args().nth(1);
    if argument.as_deref() == Some("serve") {
        Echo.serve(stdio()).await?.waiting().await?;
        return Ok(());
    }
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let hub = McpHub::new(HubConfig::default(), tasks.clone(), cancel.clone()).map_err(|why| anyhow!(why))?;
    let calls = calls(&hub, &tasks, &cancel).await?;
    let lists = lists(&hub, &tasks).await?;
    if argument.as_deref() == Some("--json") {
        let calls: Vec<_> = calls.iter().map(Row::json).collect();
        println!("{}", json!({"calls": calls, "lists": lists.json()}));
    } else {
        println!("{:<28} {:>20} {:>20} {:>20}", "µs, p50 and p99", "direct", "hub", "added");
        calls.iter().for_each(Row::print);
        lists.print();
    }
    cancel.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(10), tasks.wait()).await?;
    Ok(())
}

/// A way to call the tool.
#[derive(Clone)]
enum Way {
    Direct(Peer<RoleClient>),
    Hub(McpHub),
}

impl Way {
    async fn call(&self) -> Result<()> {
        let arguments = Map::from_iter([("say".to_owned(), json!("hello"))]);
        match self {
            Self::Direct(peer) => {
                peer.call_tool(CallToolRequestParams::new("echo").with_arguments(arguments)).await?;
            }
            Self::Hub(hub) => {
                let caller = Arc::new(SilentCaller);
                let call = HubCall { tool: "echo".to_owned(), arguments, meta: Map::new(), caller };
                hub.call("echo", call).await?;
            }
        }
        Ok(())
    }
}

/// The figures of one load, both ways.
struct Row {
    load: String,
    direct: Figures,
    hub: Figures,
}

/// The median and the 99th percentile, in microseconds.
#[derive(Clone, Copy)]
struct Figures {
    p50: f64,
    p99: f64,
}

impl Figures {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let time = times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
            time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        Self { p50: at(50), p99: at(99) }
    }

    fn added(self, to: Self) -> Self {
        Self { p50: self.p50 - to.p50, p99: self.p99 - to.p99 }
    }

    fn json(self) -> Value {
        json!({"p50_us": self.p50, "p99_us": self.p99})
    }

    fn text(self) -> String {
        format!("{:.1} {:>9.1}", self.p50, self.p99)
    }
}

impl Row {
    fn of(load: String, [direct, hub]: [Vec<Duration>; 2]) -> Self {
        Self { load, direct: Figures::of(direct), hub: Figures::of(hub) }
    }

    fn json(&self) -> Value {
        let added = self.hub.added(self.direct).json();
        json!({"load": self.load, "direct": self.direct.json(), "hub": self.hub.json(), "added": added})
    }

    fn print(&self) {
        let added = self.hub.added(self.direct).text();
        println!("{:<28} {:>20} {:>20} {added:>20}", self.load, self.direct.text(), self.hub.text());
    }
}

async fn calls(hub: &McpHub, tasks: &TaskTracker, cancel: &CancellationToken) -> Result<Vec<Row>> {
    let mut child = Command::new(env::current_exe()?);
    let mut child = child.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let (input, output) = (child.stdin.take().context("no input")?, child.stdout.take().context("no output")?);
    // The revision that the hub speaks with it, too.
    let lifecycle = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::V_2025_11_25),
    };
    let transport = AsyncRwTransport::new_client(output, input);
    let direct: RunningService<RoleClient, ()> =
        serve_client_with_lifecycle_and_ct((), transport, lifecycle, cancel.child_token()).await?;
    hub.serve(spec("echo", server(tasks, "serve")?));
    hub.approve("echo", hub.offered("echo").await?)?;
    let ways = [Way::Direct(direct.peer().clone()), Way::Hub(hub.clone())];
    // What is only slow the first time is not counted.
    in_turn(&ways, 2, async |way| closed(way, SATURATING).await.map(|(times, _)| times)).await?;
    let mut rows = Vec::new();
    for concurrent in [1, 32] {
        let times = in_turn(&ways, BLOCKS, async |way| closed(way, concurrent).await.map(|(times, _)| times)).await?;
        rows.push(Row::of(format!("{concurrent} at one time"), times));
    }
    let rate = saturation(&ways).await? / 2.0;
    let times = in_turn(&ways, BLOCKS, async |way| steady(way, rate, tasks).await).await?;
    rows.push(Row::of(format!("{rate:.0} a second, half of all"), times));
    Ok(rows)
}

/// What both ways take, in blocks that alternate; which of them begins does, too.
async fn in_turn(
    ways: &[Way; 2],
    blocks: usize,
    block: impl AsyncFn(&Way) -> Result<Vec<Duration>>,
) -> Result<[Vec<Duration>; 2]> {
    let [direct, hub] = ways;
    let (mut by_direct, mut by_hub) = (Vec::new(), Vec::new());
    for number in 0..blocks {
        if number % 2 == 0 {
            by_direct.extend(block(direct).await?);
            by_hub.extend(block(hub).await?);
        } else {
            by_hub.extend(block(hub).await?);
            by_direct.extend(block(direct).await?);
        }
    }
    Ok([by_direct, by_hub])
}

/// Calls of which so many are under way at any time: what each takes, and what all took.
async fn closed(way: &Way, concurrent: usize) -> Result<(Vec<Duration>, Duration)> {
    let begun = Instant::now();
    let one_after_the_other = (0..concurrent).map(|_| async {
        let mut times = Vec::with_capacity(CALLS / concurrent);
        for _ in 0..CALLS / concurrent {
            let begun = Instant::now();
            way.call().await?;
            times.push(begun.elapsed());
        }
        Ok::<_, anyhow::Error>(times)
    });
    let times = futures::future::try_join_all(one_after_the_other).await?.concat();
    Ok((times, begun.elapsed()))
}

/// The calls that the slower way answers in a second.
async fn saturation(ways: &[Way; 2]) -> Result<f64> {
    let mut slowest = f64::INFINITY;
    for way in ways {
        let (mut calls, mut time) = (0_u32, Duration::ZERO);
        for _ in 0..BLOCKS {
            let (times, took) = closed(way, SATURATING).await?;
            calls += u32::try_from(times.len())?;
            time += took;
        }
        slowest = slowest.min(f64::from(calls) / time.as_secs_f64());
    }
    Ok(slowest)
}

/// Calls that begin at fixed times, however long those before them take: what each takes from the time at which it should have
/// begun.
async fn steady(way: &Way, rate: f64, tasks: &TaskTracker) -> Result<Vec<Duration>> {
    let (send, mut due) = mpsc::channel(WAITING);
    // A thread sleeps for some tens of microseconds more than it should, and a timer of tokio for a whole millisecond.
    let clock = tasks.spawn_blocking(move || {
        let (begun, mut number) = (Instant::now(), 0_u32);
        while begun.elapsed() < STEADY {
            let at = begun + Duration::from_secs_f64(f64::from(number) / rate);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if send.blocking_send(at).is_err() {
                return;
            }
            number += 1;
        }
    });
    let mut under_way = Vec::new();
    while let Some(at) = due.recv().await {
        let way = way.clone();
        under_way.push(tasks.spawn(async move { way.call().await.map(|()| at.elapsed()) }));
    }
    clock.await?;
    let mut times = Vec::with_capacity(under_way.len());
    for call in under_way {
        times.push(call.await??);
    }
    Ok(times)
}

/// How long it takes to list what many servers offer.
struct Lists {
    count: usize,
    servers: usize,
    first: Duration,
    warm: Figures,
}

impl Lists {
    fn json(&self) -> Value {
        let first = self.first.as_secs_f64() * 1e6;
        json!({"tools": self.count, "servers": self.servers, "first_us": first, "warm": self.warm.json()})
    }

    fn print(&self) {
        println!("{} tools of {} servers, two hanging: first {:.1?}", self.count, self.servers, self.first);
        println!("    warm: p50 {:.1} µs  p99 {:.1} µs", self.warm.p50, self.warm.p99);
    }
}

async fn lists(hub: &McpHub, tasks: &TaskTracker) -> Result<Lists> {
    hub.remove("echo");
    for number in 0..20 {
        let names = (0..50).map(|tool| format!("tool-{tool}"));
        let tool = |name: String| (name.clone(), json!({"name": name, "inputSchema": {"type": "object"}}));
        let approved: BTreeMap<_, _> = names.map(tool).collect();
        let connect = if number < 2 { hanging(tasks) } else { server(tasks, "serve")? };
        hub.serve(ServerSpec { approved: Some(approved), ..spec(&format!("s{number}"), connect) });
    }
    let keys = hub.keys();
    let all = || keys.iter().map(|key| Ok(hub.tools_cached(key)?.tools.len())).sum::<Result<usize>>();
    let begun = Instant::now();
    let count = all()?;
    let first = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut times = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        all()?;
        times.push(begun.elapsed());
    }
    Ok(Lists { count, servers: keys.len(), first, warm: Figures::of(times) })
}

fn spec(key: &str, connect: Connect) -> ServerSpec {
    ServerSpec {
        key: key.to_owned(),
        connect,
        call_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(30),
        result_bytes: 1 << 20,
        approved: None,
    }
}

fn server(tasks: &TaskTracker, argument: &str) -> Result<Connect> {
    Ok(Connect::Stream(Arc::new(ProcessLauncher {
        program: env::current_exe()?,
        arguments: vec![argument.to_owned()],
        environment: BTreeMap::new(),
        folder: None,
        tasks: tasks.clone(),
    })))
}

fn hanging(tasks: &TaskTracker) -> Connect {
    Connect::Stream(Arc::new(ProcessLauncher {
        program: "/bin/sleep".into(),
        arguments: vec!["1000".to_owned()],
        environment: BTreeMap::new(),
        folder: None,
        tasks: tasks.clone(),
    }))
}

/// A server that says what it is told.
struct Echo;

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![Tool::new("echo", "Says it again.", Map::new())]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let said = request.arguments.and_then(|mut arguments| arguments.remove("say")).unwrap_or_default();
        Ok(CallToolResult::success(vec![ContentBlock::text(said.to_string())]).into())
    }
}
