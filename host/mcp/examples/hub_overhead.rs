//! What the hub adds to a call: the same tool of the same program, called by rmcp directly and through the hub, in one run; and
//! how long it takes to list the tools of twenty servers of which two hang.
//!
//! `cargo run --release -p nexus-mcp --example hub_overhead`
#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::{
    collections::BTreeMap,
    env,
    future::Future,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nexus_mcp::hub::{Connect, HubCall, HubConfig, McpHub, ProcessLauncher, ServerSpec};
use nexus_model::SilentCaller;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::{async_rw::AsyncRwTransport, stdio},
};
use serde_json::{Map, json};
use tokio::process::Command;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Calls that are timed, for each figure.
const CALLS: usize = 4_000;

#[tokio::main]
async fn main() -> Result<()> {
    if env::args().nth(1).as_deref() == Some("serve") {
        Echo.serve(stdio()).await?.waiting().await?;
        return Ok(());
    }
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let hub = McpHub::new(HubConfig::default(), tasks.clone(), cancel.clone()).map_err(|why| anyhow!(why))?;
    calls(&hub, &tasks).await?;
    lists(&hub, &tasks).await?;
    cancel.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(10), tasks.wait()).await?;
    Ok(())
}

async fn calls(hub: &McpHub, tasks: &TaskTracker) -> Result<()> {
    let mut child = Command::new(env::current_exe()?);
    let mut child = child.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let (input, output) = (child.stdin.take().context("no input")?, child.stdout.take().context("no output")?);
    let direct = ().serve(AsyncRwTransport::new_client(output, input)).await?;
    hub.serve(spec("echo", server(tasks, "serve")?));
    hub.approve("echo", hub.offered("echo").await?)?;
    let arguments = Map::from_iter([("say".to_owned(), json!("hello"))]);
    for concurrent in [1, 32] {
        let peer = direct.peer().clone();
        let by_rmcp = measure(concurrent, || {
            let (peer, arguments) = (peer.clone(), arguments.clone());
            async move {
                peer.call_tool(CallToolRequestParams::new("echo").with_arguments(arguments)).await?;
                Ok(())
            }
        });
        let by_rmcp = by_rmcp.await?;
        let by_hub = measure(concurrent, || {
            let (hub, arguments) = (hub.clone(), arguments.clone());
            let call = HubCall { tool: "echo".to_owned(), arguments, meta: Map::new(), caller: Arc::new(SilentCaller) };
            async move {
                hub.call("echo", call).await?;
                Ok(())
            }
        });
        let by_hub = by_hub.await?;
        for (name, figures) in [("rmcp", by_rmcp), ("hub", by_hub)] {
            println!("{concurrent:>3} at one time, {name:<4}: p50 {:>8.1?}  p99 {:>8.1?}", figures.0, figures.1);
        }
        println!(
            "    added by the hub: p50 {:.1?}  p99 {:.1?}",
            by_hub.0.saturating_sub(by_rmcp.0),
            by_hub.1.saturating_sub(by_rmcp.1)
        );
    }
    Ok(())
}

/// The median and the 99th percentile of many calls, some of them at one time.
async fn measure<F>(concurrent: usize, call: impl Fn() -> F) -> Result<(Duration, Duration)>
where
    F: Future<Output = Result<()>>,
{
    let one_after_the_other = (0..concurrent).map(|_| async {
        let mut times = Vec::with_capacity(CALLS / concurrent);
        for _ in 0..CALLS / concurrent {
            let begun = Instant::now();
            call().await?;
            times.push(begun.elapsed());
        }
        Ok::<_, anyhow::Error>(times)
    });
    let mut times = futures::future::try_join_all(one_after_the_other).await?.concat();
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

async fn lists(hub: &McpHub, tasks: &TaskTracker) -> Result<()> {
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
    println!("{count} tools of {} servers, two hanging: first {:.1?}", keys.len(), begun.elapsed());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut times = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        all()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("    warm: p50 {:.1?}  p99 {:.1?}", times[500], times[990]);
    Ok(())
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
