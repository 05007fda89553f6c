//! Events while the server, and the Redis behind it, are killed again and again.

mod report;

use std::{
    collections::BTreeMap,
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

pub use self::report::EventReport;
use self::report::dead_letters;
use crate::{Api, House, HouseOptions, RedisServer};

const APP: &str = "till";
/// Events in one request; also the most that Nexus takes.
const BATCH: usize = 100;
/// Who publishes at one time.
const PUBLISHERS: usize = 4;
/// Keys that events are kept in order by.
const CUSTOMERS: usize = 997;
/// The longest without any progress. A Redis that has much to read again takes its time.
const PATIENCE: Duration = Duration::from_mins(5);

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
    /// How often the Redis that keeps the state is killed (SIGKILL) meanwhile, and started again on what it had written
    /// to its append-only file; `None`: the state is in the server's own file.
    pub redis_kills: Option<usize>,
}

/// How long a server lives at least before the next kill: longer than its lease, so that what the last kill interrupted is worked
/// off. An event that every one of its deliveries is killed with is put aside, and rightly so.
const LIVES: Duration = Duration::from_millis(1_500);

/// What is killed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Server,
    Redis,
}

/// What publishers share.
struct Shared<'a> {
    say: &'a (dyn Fn(&str) + Sync),
    api: Mutex<Api>,
    next: AtomicUsize,
    published: AtomicUsize,
    /// When each event was first tried to be published, in milliseconds since 1970.
    begun: Mutex<BTreeMap<usize, u64>>,
}

impl Shared<'_> {
    fn api(&self) -> Api {
        self.api.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl EventSoak {
    /// Runs it in `folder`, which is emptied first, and tells `say` how far it is. An error says what was lost, done twice,
    /// or not put aside.
    pub fn run(&self, folder: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<EventReport> {
        if folder.exists() {
            remove_dir_all(folder).with_context(|| format!("{} cannot be emptied", folder.display()))?;
        }
        let mut redis = self.redis_kills.map(|_| RedisServer::start(&folder.join("redis"))).transpose()?;
        let mut house = self.start(folder, redis.as_ref())?;
        let begin = Instant::now();
        let shared = Shared {
            say,
            api: Mutex::new(house.api.clone()),
            next: AtomicUsize::new(0),
            published: AtomicUsize::new(0),
            begun: Mutex::default(),
        };
        house = scope(|threads| -> Result<House> {
            let publishers: Vec<_> = (0..PUBLISHERS).map(|_| threads.spawn(|| self.publish(&shared))).collect();
            let house = self.kill(house, redis.as_mut(), &shared);
            for publisher in publishers {
                publisher.join().map_err(|_| anyhow::anyhow!("a publisher broke off"))??;
            }
            house
        })?;
        self.wait_until_done(&house.api, say)?;
        let elapsed = begin.elapsed();
        let first_tries = shared.begun.into_inner().unwrap_or_else(PoisonError::into_inner);
        let report = self.check(&house.api, &first_tries, elapsed);
        house.stop()?;
        report
    }

    fn start(&self, folder: &Path, redis: Option<&RedisServer>) -> Result<House> {
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
        let store = redis.map_or_else(|| "embedded".to_owned(), RedisServer::url);
        let settings = format!(
            "events: {{ lease_ms: 1000, retry_ms: 20, parallel: 64 }}\nlog: {{ level: warn }}\nstore: {store}\n"
        );
        House::start(HouseOptions::new(self.programs.clone(), apps, recordings, settings), &data)
    }

    /// Kills server or Redis whenever another share of the events has been published.
    fn kill(&self, mut house: House, mut redis: Option<&mut RedisServer>, shared: &Shared<'_>) -> Result<House> {
        let kills = self.order_of_kills();
        let mut started = Instant::now();
        for (number, kill) in kills.iter().enumerate() {
            let share = self.events * (number + 1) / (kills.len() + 1);
            progress("publishing", || Ok((shared.published.load(SeqCst), shared.published.load(SeqCst) >= share)))?;
            sleep(LIVES.saturating_sub(started.elapsed()));
            let published = shared.published.load(SeqCst);
            (shared.say)(&format!("kill {} of {}: {kill:?} ({published} published)", number + 1, kills.len()));
            if let (Kill::Redis, Some(redis)) = (kill, &mut redis) {
                redis.kill();
                redis.restart()?;
            } else {
                house = house.crash()?;
                *shared.api.lock().unwrap_or_else(PoisonError::into_inner) = house.api.clone();
            }
            started = Instant::now();
        }
        Ok(house)
    }

    /// All kills, those of Redis spread evenly among those of the server.
    fn order_of_kills(&self) -> Vec<Kill> {
        let redis = self.redis_kills.unwrap_or(0);
        let all = self.kills + redis;
        let is_redis = |number: usize| (number + 1) * redis / all != number * redis / all;
        (0..all).map(|number| if is_redis(number) { Kill::Redis } else { Kill::Server }).collect()
    }

    fn publish(&self, shared: &Shared<'_>) -> Result<()> {
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
            // The server may be gone, starting, full or without its store; an event that comes twice has its effect once.
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

    fn wait_until_done(&self, api: &Api, say: &dyn Fn(&str)) -> Result<()> {
        progress("working off", || {
            let triggers = api.get(&format!("/v1/apps/{APP}/triggers"))?;
            if triggers.status == 503 {
                // The store has just come back.
                return Ok((usize::MAX, false));
            }
            let triggers = triggers.success()?;
            let waiting = triggers["triggers"][0]["waiting"].as_u64().context("the trigger says what waits")?;
            let dead = dead_letters(api)?.len();
            say(&format!("{waiting} events wait, {dead} are put aside"));
            Ok((usize::try_from(waiting)? + (self.poison - dead.min(self.poison)), waiting == 0 && dead >= self.poison))
        })
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

fn millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}
