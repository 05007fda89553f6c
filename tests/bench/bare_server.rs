//! What a server costs that does nothing but the one thing: the yardstick of `cargo xtask bench http`.
//!
//! `bare-server echo` reads JSON and writes it again; `bare-server component FILE` gives the body to a fresh instance of
//! a component and answers what that says. No keys, no schemas, no traces, no limits.

use std::{io::Write, net::Ipv4Addr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::post,
    serve::ListenerExt,
};
use nexus_model::{Component, ComponentAnswer, ComponentHost, ComponentKind};
use nexus_wasm::{CacheKey, ChildCommand, WasmConfig, WasmHost};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

/// The deadline of a call.
const DEADLINE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "compile-child") {
        return nexus_wasm::child_main();
    }
    let served = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the runtime cannot be built")
        .and_then(|runtime| runtime.block_on(serve(&arguments)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &[String]) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let router = match arguments {
        [kind] if kind == "echo" => Router::new().route("/", post(echo)),
        [kind, path] if kind == "component" => {
            let component = load(path, &cache).await?;
            Router::new().route("/", post(run)).with_state(component)
        }
        _ => bail!("usage: bare-server echo | bare-server component FILE"),
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let listening = format!("http://{}", listener.local_addr()?);
    writeln!(std::io::stdout(), "{}", json!({ "listening": listening }))?;
    let listener = listener.tap_io(|connection| {
        // As the server of Nexus has it; a failure shows in the figures.
        let _ = connection.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn load(path: &str, cache: &tempfile::TempDir) -> Result<Arc<dyn Component>> {
    let child = ChildCommand { program: std::env::current_exe()?, args: vec!["compile-child".to_owned()] };
    let config = WasmConfig::new(cache.path().to_owned(), CacheKey::new([7; 32]), child);
    let host = WasmHost::new(config, TaskTracker::new())?;
    let bytes = std::fs::read(path).with_context(|| format!("{path} cannot be read"))?;
    Ok(host.load(ComponentKind::Plugin, &bytes).await?)
}

async fn echo(Json(body): Json<Value>) -> Json<Value> {
    Json(body)
}

async fn run(State(component): State<Arc<dyn Component>>, body: String) -> impl IntoResponse {
    let (status, text) = match component.run(&body, DEADLINE).await {
        Ok(ComponentAnswer::Value(answer)) => (StatusCode::OK, answer),
        Ok(ComponentAnswer::Abstain(reason) | ComponentAnswer::Failure(reason)) => (StatusCode::BAD_GATEWAY, reason),
        Err(fault) => (StatusCode::BAD_GATEWAY, fault.to_string()),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], text)
}
