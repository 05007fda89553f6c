//! The smallest program for a sandbox: the output is the input, or what a tool makes of it.
//!
//! `worker: { tool: core.state.get, times: 3 }` has it call a tool with the input, so often, and tell how long each call took,
//! in microseconds.

use std::time::{Duration, Instant};

use nexus_orchestrator::{Handler, Host, Work, serve};
use serde_json::{Value, json};

struct Echo;

#[async_trait::async_trait]
impl Handler for Echo {
    async fn run(&self, work: Work, host: Host) -> Result<Value, String> {
        if let Some(wait) = work.definition["sleep_ms"].as_u64() {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        let Some(tool) = work.definition["tool"].as_str() else { return Ok(work.input) };
        let (mut result, mut micros) = (Value::Null, Vec::new());
        for _ in 0..work.definition["times"].as_u64().unwrap_or(1) {
            let begun = Instant::now();
            result = host.call(tool, work.input.clone(), None).await.map_err(|error| error.to_string())?;
            micros.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        host.step("done").await.map_err(|error| error.to_string())?;
        Ok(json!({ "result": result, "micros": micros }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(serve(Echo, 64).await?)
}
