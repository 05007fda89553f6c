//! A Redis that goes away and comes back under a server with callers.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{Api, House, RedisServer, input};

/// The longest that a server may take to serve from its store again.
const RECOVERY: Duration = Duration::from_mins(1);
/// Time between two questions that need the store, so that they leave the processor to the others.
const PAUSE: Duration = Duration::from_millis(5);

/// How a Redis goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It is stopped (SIGSTOP): its connections stay and nothing answers.
    Stopped,
    /// It is killed (SIGKILL): its connections break, new ones are refused.
    Killed,
}

/// What callers saw while it was away.
#[derive(Debug, Clone)]
pub struct OutageReport {
    /// Answers of compiled code, and how long it was away.
    pub component_answers: usize,
    /// The slowest of them.
    pub slowest_component: Duration,
    /// How long each refusal of what needs the store took, in order of length.
    pub refusals: Vec<Duration>,
    /// How long Redis was away.
    pub away: Duration,
    /// From its return until the store served again.
    pub recovery: Duration,
}

impl OutageReport {
    /// The length that this share of refusals did not exceed; `share` is between 0 and 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index into a list that fits memory"
    )]
    pub fn refusal(&self, share: f64) -> Duration {
        let last = self.refusals.len().saturating_sub(1);
        self.refusals.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }
}

/// Takes Redis away for a time while callers ask for the operation `convert` of `app`, which code answers, and for
/// executions, which only the store has. It is an error when a call of the operation fails, when a refusal is anything but
/// a 503 that says when to come back, when the process no longer counts as alive, or when it still counts as ready.
pub fn outage(house: &House, app: &str, redis: &mut RedisServer, loss: Loss, away: Duration) -> Result<OutageReport> {
    ready(&house.api, 200)?;
    let (stop, slowest) = (AtomicBool::new(false), Mutex::new((0_usize, Duration::ZERO)));
    scope(|threads| {
        let caller = threads.spawn(|| call_until(&stop, &house.api, app, &slowest));
        let seen = away_and_back(&house.api, redis, loss, away);
        stop.store(true, Ordering::Relaxed);
        caller.join().map_err(|_| anyhow::anyhow!("the caller broke off"))?.context("beside the outage")?;
        let (mut refusals, away, recovery) = seen?;
        refusals.sort_unstable();
        let (component_answers, slowest_component) = *slowest.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(component_answers > 0, "code answered nobody in all that time");
        Ok(OutageReport { component_answers, slowest_component, refusals, away, recovery })
    })
}

/// The refusals while it was away, how long it was, and how long after its return the store served again.
fn away_and_back(
    api: &Api,
    redis: &mut RedisServer,
    loss: Loss,
    away: Duration,
) -> Result<(Vec<Duration>, Duration, Duration)> {
    take_away(redis, loss)?;
    let begin = Instant::now();
    let refusals = refusals_for(api, away)?;
    ready(api, 503)?;
    alive(api)?;
    bring_back(redis, loss)?;
    let back = Instant::now();
    Ok((refusals, back - begin, recovered(api, back)?))
}

fn call_until(stop: &AtomicBool, api: &Api, app: &str, seen: &Mutex<(usize, Duration)>) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let reply = api.call(app, "convert", &input("convert", 8))?;
        ensure!(reply.status == 200, "HTTP {}: {}", reply.status, reply.text);
        ensure!(reply.path.as_deref() == Some("component"), "answered by {:?}", reply.path);
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (seen.0 + 1, seen.1.max(reply.elapsed));
    }
    Ok(())
}

fn refusals_for(api: &Api, time: Duration) -> Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let mut refusals = Vec::new();
    while Instant::now() < end || refusals.is_empty() {
        let reply = api.get("/v1/executions?limit=1")?;
        ensure!(reply.status == 503, "HTTP {} without a store: {}", reply.status, reply.text);
        ensure!(reply.retry_after.is_some(), "a refusal does not say when to come back: {}", reply.text);
        refusals.push(reply.elapsed);
        sleep(PAUSE);
    }
    Ok(refusals)
}

fn take_away(redis: &mut RedisServer, loss: Loss) -> Result<()> {
    match loss {
        Loss::Stopped => redis.pause(),
        Loss::Killed => {
            redis.kill();
            Ok(())
        }
    }
}

fn bring_back(redis: &mut RedisServer, loss: Loss) -> Result<()> {
    match loss {
        Loss::Stopped => redis.resume(),
        Loss::Killed => redis.restart(),
    }
}

fn recovered(api: &Api, back: Instant) -> Result<Duration> {
    loop {
        if api.get("/v1/executions?limit=1")?.status == 200 && api.get("/readyz")?.status == 200 {
            return Ok(back.elapsed());
        }
        if back.elapsed() > RECOVERY {
            bail!("the store does not serve {} s after Redis is back", RECOVERY.as_secs());
        }
        sleep(PAUSE);
    }
}

fn ready(api: &Api, status: u16) -> Result<()> {
    let reply = api.get("/readyz")?;
    ensure!(reply.status == status, "/readyz: HTTP {}: {}", reply.status, reply.text);
    Ok(())
}

fn alive(api: &Api) -> Result<()> {
    let reply = api.get("/healthz")?;
    ensure!(reply.status == 200, "/healthz: HTTP {}: {}", reply.status, reply.text);
    Ok(())
}
