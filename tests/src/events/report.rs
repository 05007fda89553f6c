//! What became of published events, and the figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{APP, EventSoak};
use crate::Api;

/// What was seen. That nothing was lost and nothing was done twice has been checked.
#[derive(Debug, Clone)]
pub struct EventReport {
    /// Events that had their effect.
    pub effects: usize,
    /// Events that were put aside.
    pub dead: usize,
    /// Effects that needed a second delivery.
    pub redelivered: usize,
    /// Events in a second, from the first publication to the last effect.
    pub per_second: f64,
    /// From the first try to publish an event to the end of its call, in milliseconds: half were faster.
    pub p50_ms: u64,
    /// The same: 99 in 100 were faster.
    pub p99_ms: u64,
}

impl EventReport {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "effects": self.effects, "dead": self.dead, "redelivered": self.redelivered,
            "events_per_second": self.per_second, "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
        })
    }
}

impl EventSoak {
    /// Looks through all executions and dead letters; `begun` says when each event was first tried to be published, in
    /// milliseconds since 1970.
    pub(super) fn check(&self, api: &Api, begun: &BTreeMap<usize, u64>, elapsed: Duration) -> Result<EventReport> {
        let (mut keys, mut numbers, mut took) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let (mut redelivered, mut before) = (0, String::new());
        loop {
            let page = api.get(&format!("/v1/executions?app={APP}&limit=200{before}"))?.success()?;
            for execution in page["executions"].as_array().context("executions are listed")? {
                let cause = &execution["cause"];
                ensure!(execution.get("error").is_none(), "an execution failed: {execution}");
                ensure!(keys.insert(cause["idempotency_key"].to_string()), "an effect was had twice: {execution}");
                let number: usize = cause["event_id"].as_str().unwrap_or_default().parse().context("a number")?;
                numbers.insert(number);
                redelivered += usize::from(cause["delivery"] != 1);
                took.push(ended(execution)?.saturating_sub(begun.get(&number).copied().unwrap_or(0)));
            }
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        let dead: BTreeSet<usize> = dead_letters(api)?;
        let (poison, good): (BTreeSet<usize>, BTreeSet<usize>) = (0..self.events).partition(|n| self.is_poison(*n));
        let lost: Vec<&usize> = good.difference(&numbers).take(10).collect();
        ensure!(lost.is_empty(), "{} events were lost, among them {lost:?}", good.difference(&numbers).count());
        ensure!(numbers == good, "poison had an effect");
        ensure!(dead == poison, "{} of {} poison events were put aside", dead.len(), poison.len());
        took.sort_unstable();
        let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
        let per_second = self.events as f64 / elapsed.as_secs_f64();
        Ok(EventReport {
            effects: numbers.len(),
            dead: dead.len(),
            redelivered,
            per_second,
            p50_ms: at(50),
            p99_ms: at(99),
        })
    }
}

/// The numbers of the events that were put aside, each after five deliveries.
pub(super) fn dead_letters(api: &Api) -> Result<BTreeSet<usize>> {
    let (mut found, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/apps/{APP}/dead-letters?limit=100{after}"))?.success()?;
        for letter in page["dead_letters"].as_array().context("dead letters are listed")? {
            // A server that was killed during the last delivery cannot say what went wrong.
            let code = letter["code"].as_str().unwrap_or_default();
            ensure!(letter["deliveries"] == 5 && ["invalid_input", "interrupted"].contains(&code), "{letter}");
            found.insert(letter["event"]["id"].as_str().unwrap_or_default().parse()?);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(found),
        }
    }
}

/// When an execution ended, in milliseconds since 1970.
fn ended(execution: &Value) -> Result<u64> {
    let started = execution["started_at"].as_str().context("an execution says when it started")?;
    let duration = execution["duration_us"].as_u64().context("an execution says how long it took")?;
    let started = OffsetDateTime::parse(started, &Rfc3339)?.unix_timestamp_nanos() / 1_000_000;
    Ok(u64::try_from(started)? + duration / 1_000)
}
