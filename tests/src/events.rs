//! Events while the server is killed again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{copy, create_dir_all, read_to_string, remove_dir_all, write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::{scope, sleep},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Api, House, HouseOptions, Latency};

const APP: &str = "till";
/// Events in one request; also the most that Nexus takes.
const BATCH: usize = 100;
/// Who publishes at one time.
const PUBLISHERS: usize = 4;
/// Keys that events are kept in order by.
const CUSTOMERS: usize = 997;
/// The longest without any progress.
const PATIENCE: Duration = Duration::from_mins(2);

/// The application: the component that is written by hand, called for each order.
const TRIGGERS: &str = "  triggers:
    - name: orders
      on: { event: order.placed }
      operation: total
";

/// How much is done.
#[derive(Debug, Clone)]
pub struct EventSoak {
    /// The folder of the built programs.
    pub programs: PathBuf,
    /// Events that are published.
    pub events: usize,
    /// How often the server is killed (SIGKILL) meanwhile.
    pub kills: usize,
    /// Events among them that the operation does not take.
    pub poison: usize,
}

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

/// What publishers share.
struct Shared {
    api: Mutex<Api>,
    next: AtomicUsize,
    published: AtomicUsize,
    /// When each event was first tried to be published, in milliseconds since 1970.
    begun: Mutex<BTreeMap<usize, u64>>,
}

impl Shared {
    fn api(&self) -> Api {
        self.api.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSoak {
    /// Runs it in `folder`, which is emptied first. An error says what was lost, done twice, or not put aside.
    pub fn run(&self, folder: &Path) -> Result<EventReport> {
        let begin = Instant::now();
        let mut house = self.start(folder)?;
        let shared = Shared {
            api: Mutex::new(house.api.clone()),
            next: AtomicUsize::new(0),
            published: AtomicUsize::new(0),
            begun: Mutex::default(),
        };
        house = scope(|threads| -> Result<House> {
            let publishers: Vec<_> = (0..PUBLISHERS).map(|_| threads.spawn(|| self.publish(&shared))).collect();
            let house = self.kill(house, &shared);
            for publisher in publishers {
                publisher.join().map_err(|_| anyhow::anyhow!("a publisher broke off"))??;
            }
            house
        })?;
        self.wait_until_done(&house.api)?;
        let elapsed = begin.elapsed();
        let report = self.check(&house.api, &shared, elapsed);
        house.stop()?;
        report
    }

    fn start(&self, folder: &Path) -> Result<House> {
        if folder.exists() {
            remove_dir_all(folder).with_context(|| format!("{} cannot be emptied", folder.display()))?;
        }
        let (apps, recordings, data) = (folder.join("apps"), folder.join("recordings"), folder.join("data"));
        for folder in [&apps.join(APP).join("schemas"), &apps.join(APP).join("plugins"), &recordings, &data] {
            create_dir_all(folder)?;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let pricing = root.join("apps/pricing");
        let definition = read_to_string(pricing.join("app.yaml"))?.replace("name: pricing", &format!("name: {APP}"));
        write(
            apps.join(APP).join("app.yaml"),
            format!("{}{TRIGGERS}", definition.replace("timeout: 2s", "timeout: 10s")),
        )?;
        for schema in ["schemas/order.json", "schemas/total.json"] {
            copy(pricing.join(schema), apps.join(APP).join(schema))?;
        }
        let component = root.join("plugins/dist/order-total.wasm");
        copy(&component, apps.join(APP).join("plugins/order-total.wasm"))
            .with_context(|| format!("{} is not there; build it with `cargo xtask build`", component.display()))?;
        let options = HouseOptions {
            programs: self.programs.clone(),
            apps: Some(apps.clone()),
            replayed: apps,
            recordings,
            latency: Latency::None,
            seed: 7,
            strict_coder: false,
            missing: None,
            settings: "events: { lease_ms: 1000, retry_ms: 20, parallel: 64 }\nlog: { level: warn }\n".to_owned(),
            cores: None,
        };
        House::start(options, &data)
    }

    /// Kills the server whenever another share of the events has been published.
    fn kill(&self, mut house: House, shared: &Shared) -> Result<House> {
        for kill in 1..=self.kills {
            let share = self.events * kill / (self.kills + 1);
            progress("publishing", || Ok((shared.published.load(SeqCst), shared.published.load(SeqCst) >= share)))?;
            house = house.crash()?;
            *shared.api.lock().unwrap_or_else(PoisonError::into_inner) = house.api.clone();
        }
        Ok(house)
    }

    fn publish(&self, shared: &Shared) -> Result<()> {
        loop {
            let first = shared.next.fetch_add(BATCH, SeqCst);
            if first >= self.events {
                return Ok(());
            }
            let numbers = first..(first + BATCH).min(self.events);
            let now = millis();
            {
                let mut begun = shared.begun.lock().unwrap_or_else(PoisonError::into_inner);
                begun.extend(numbers.clone().map(|number| (number, now)));
            }
            let events: Vec<Value> = numbers.map(|number| self.event(number)).collect();
            let deadline = Instant::now() + PATIENCE;
            // The server may be gone, starting or full; an event that comes twice has its effect once.
            loop {
                match shared.api().publish(APP, &events) {
                    Ok(reply) if reply.status == 202 => break,
                    Ok(reply) if reply.status < 500 => bail!("HTTP {}: {}", reply.status, reply.text),
                    answer if Instant::now() > deadline => bail!("nothing can be published: {answer:?}"),
                    _ => sleep(Duration::from_millis(20)),
                }
            }
            shared.published.fetch_add(events.len(), SeqCst);
        }
    }

    /// Poison events are spread evenly.
    fn is_poison(&self, number: usize) -> bool {
        (number + 1) * self.poison / self.events != number * self.poison / self.events
    }

    fn event(&self, number: usize) -> Value {
        let line = json!({ "sku": format!("a-{number}"), "quantity": 1, "unit_price": "19.99" });
        let order = json!({ "currency": "EUR", "lines": [line] });
        json!({
            "specversion": "1.0", "id": number.to_string(), "source": "/soak", "type": "order.placed",
            "subject": format!("customer-{}", number % CUSTOMERS),
            "data": if self.is_poison(number) { json!({ "currency": 7 }) } else { order },
        })
    }

    fn wait_until_done(&self, api: &Api) -> Result<()> {
        progress("working off", || {
            let triggers = api.get(&format!("/v1/apps/{APP}/triggers"))?.success()?;
            let waiting = triggers["triggers"][0]["waiting"].as_u64().context("the trigger says what waits")?;
            let dead = dead_letters(api)?.len();
            Ok((usize::try_from(waiting)? + (self.poison - dead.min(self.poison)), waiting == 0 && dead >= self.poison))
        })
    }

    fn check(&self, api: &Api, shared: &Shared, elapsed: Duration) -> Result<EventReport> {
        let begun = shared.begun.lock().unwrap_or_else(PoisonError::into_inner);
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
fn dead_letters(api: &Api) -> Result<BTreeSet<usize>> {
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

/// Waits until something is done, as long as the figure beside it moves.
fn progress(what: &str, look: impl Fn() -> Result<(usize, bool)>) -> Result<()> {
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let (figure, done) = look()?;
        if done {
            return Ok(());
        }
        if last != Some(figure) {
            (last, since) = (Some(figure), Instant::now());
        }
        ensure!(since.elapsed() < PATIENCE, "{what} does not go on; the figure stands at {figure}");
        sleep(Duration::from_millis(50));
    }
}

/// When an execution ended, in milliseconds since 1970.
fn ended(execution: &Value) -> Result<u64> {
    let started = execution["started_at"].as_str().context("an execution says when it started")?;
    let duration = execution["duration_us"].as_u64().context("an execution says how long it took")?;
    let started = OffsetDateTime::parse(started, &Rfc3339)?.unix_timestamp_nanos() / 1_000_000;
    Ok(u64::try_from(started)? + duration / 1_000)
}

fn millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}
