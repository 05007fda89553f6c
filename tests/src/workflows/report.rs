//! What became of executions, and the figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{APP, Asked, Begun, CountingService, Killed, Race, STEPS};
use crate::Api;

/// Faults that an error names.
const NAMED: usize = 5;

/// What was seen. That every execution ended, and that effects were had as often as they may, has been checked.
#[derive(Debug, Clone)]
pub struct WorkflowReport {
    /// Executions whose beginning was acknowledged, all of which completed.
    pub acknowledged: usize,
    /// Executions that completed; a few began without being acknowledged.
    pub completed: usize,
    /// Effects, each once by its key.
    pub effects: usize,
    /// Requests for them.
    pub requests: usize,
    /// Executions of a workflow with `fail` in which a call was interrupted.
    pub interrupted: usize,
    /// Kills of servers.
    pub servers: usize,
    /// Kills of programs in sandboxes.
    pub programs: usize,
    /// How long it took until another server went on with what a killed one had, in order of length.
    pub taken_over: Vec<Duration>,
    /// How long all of it took.
    pub elapsed: Duration,
}

impl WorkflowReport {
    /// For programs.
    pub fn json(&self) -> Value {
        let millis: Vec<_> = self.taken_over.iter().map(|time| u64::try_from(time.as_millis()).unwrap_or(0)).collect();
        json!({
            "executions": self.completed, "acknowledged": self.acknowledged, "effects": self.effects,
            "requests": self.requests, "interrupted": self.interrupted,
            "kills": { "servers": self.servers, "programs": self.programs },
            "taken_over_ms": millis, "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

/// Looks through all executions and all that was asked of the service.
pub(super) fn check(
    api: &Api,
    begun: &BTreeMap<usize, Begun>,
    service: &CountingService,
    killed: &Killed,
    elapsed: Duration,
) -> Result<WorkflowReport> {
    let ended = ended(api)?;
    let asked = service.asked();
    let mut faults = Vec::new();
    let (mut effects, mut requests, mut interrupted) = (0, 0, 0);
    for (number, Begun { race, id, .. }) in begun {
        let Some(end) = ended.get(number) else {
            if let Some(id) = id {
                faults.push(format!("execution {id} (number {number}, {race:?}) is lost"));
            }
            continue;
        };
        ensure!(id.as_ref().is_none_or(|id| end["id"] == **id), "{id:?} has another id: {end}");
        if end["status"] != "completed" || end["output"]["number"] != *number {
            faults.push(format!("{race:?} did not complete: {end}"));
        }
        let was_interrupted = end["output"]["interrupted"] == true;
        interrupted += usize::from(was_interrupted);
        for step in 0..STEPS {
            let Asked { requests: count, keys } = asked.get(&(*number, step)).cloned().unwrap_or_default();
            requests += count;
            effects += keys.len();
            if let Some(what) = fault(*race, was_interrupted, count, keys.len()) {
                faults.push(format!("{race:?}, step {step}, {what}: {count} requests, keys {keys:?}, {end}"));
            }
        }
    }
    let strange: Vec<_> = ended.keys().filter(|number| !begun.contains_key(number)).collect();
    ensure!(strange.is_empty(), "nobody began {strange:?}");
    let named = faults.iter().take(NAMED).cloned().collect::<Vec<_>>().join("\n");
    ensure!(faults.is_empty(), "{} faults in {} executions:\n{named}", faults.len(), ended.len());
    let mut taken_over = killed.taken_over.clone();
    taken_over.sort_unstable();
    Ok(WorkflowReport {
        acknowledged: begun.values().filter(|begun| begun.id.is_some()).count(),
        completed: ended.len(),
        effects,
        requests,
        interrupted,
        servers: killed.servers,
        programs: killed.programs,
        taken_over,
        elapsed,
    })
}

/// What is wrong with how often an effect was asked for.
fn fault(race: Race, was_interrupted: bool, requests: usize, keys: usize) -> Option<&'static str> {
    match race {
        _ if race.is_at_most_once() && requests > 1 => Some("more than once"),
        _ if requests == 0 && !was_interrupted => Some("not at all"),
        Race::Retry if keys != 1 => Some("not one key"),
        Race::RetryAnew if keys != requests => Some("not each time with another key"),
        _ => None,
    }
}

/// All executions that have ended, by number.
fn ended(api: &Api) -> Result<BTreeMap<usize, Value>> {
    let (mut found, mut ids, mut before) = (BTreeMap::new(), BTreeSet::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/executions?app={APP}&limit=200{before}"))?.success()?;
        for execution in page["executions"].as_array().context("executions are listed")? {
            let number = execution["input"]["number"].as_u64().context("an execution has its number")?;
            ensure!(ids.insert(execution["id"].to_string()), "an execution is listed twice: {execution}");
            let before = found.insert(usize::try_from(number)?, execution.clone());
            ensure!(before.is_none(), "an execution was begun twice: {before:?} {execution}");
        }
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return Ok(found),
        }
    }
}
