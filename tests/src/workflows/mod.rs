//! Executions of workflows while hosts and the programs in sandboxes are killed: each ends, and each effect is had as often
//! as its policy says.

mod app;
mod counter;
mod random;
mod report;
mod walkers;

use std::{
    collections::BTreeMap,
    fs::{copy, create_dir_all, remove_dir_all},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use self::{
    app::{APP, Race, STEPS},
    counter::Asked,
    random::Random,
};
pub use self::{counter::CountingService, report::WorkflowReport, walkers::WalkerDriver};
use crate::{Api, House, HouseOptions, RedisServer};

/// The longest without any progress at the end.
const PATIENCE: Duration = Duration::from_mins(2);
/// The longest until a server that has executions has a program that walks them.
const START: Duration = Duration::from_secs(20);
/// How soon another host is to have taken over what a killed one had.
const TAKE_OVER: Duration = Duration::from_secs(15);
/// A kill comes this many milliseconds after the last at the earliest, and so many later at the latest.
const BETWEEN: (u64, u64) = (60, 700);
/// Of so many kills of a host that is not alone, one leaves it dead until the other has taken over.
const LEFT_DEAD: usize = 5;

/// How much is done.
#[derive(Debug, Clone)]
pub struct WorkflowSoak {
    /// The folder of the built programs.
    pub programs: PathBuf,
    /// What the sandboxes are.
    pub driver: WalkerDriver,
    /// Kills (SIGKILL): every third of the programs in sandboxes, the others of the server.
    pub kills: usize,
    /// Executions that are begun in a second.
    pub rate: u32,
    /// Keep the state in a Redis that two servers share, of which one is killed at a time; otherwise in the server's own file.
    pub redis: bool,
    /// What chance goes by.
    pub seed: u64,
}

/// An execution that was asked for.
#[derive(Debug, Clone)]
struct Begun {
    race: Race,
    /// Its id, if the server acknowledged that it began. One that was not acknowledged may have begun all the same.
    id: Option<String>,
    /// Which of the servers was asked.
    host: usize,
}

/// What the threads share.
struct Shared {
    /// The servers that run.
    hosts: Mutex<BTreeMap<usize, Api>>,
    begun: Mutex<BTreeMap<usize, Begun>>,
    stop: AtomicBool,
}

/// What the killing found.
#[derive(Debug, Default)]
struct Killed {
    servers: usize,
    programs: usize,
    /// How long it took until the other server went on with what a killed one had.
    taken_over: Vec<Duration>,
}

impl WorkflowSoak {
    /// Runs it in `folder`, which is emptied first, and tells `say` how far it is. An error says what did not end, or what was
    /// done too often.
    pub fn run(&self, folder: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<WorkflowReport> {
        if folder.exists() {
            remove_dir_all(folder).with_context(|| format!("{} cannot be emptied", folder.display()))?;
        }
        let service = CountingService::start(self.seed)?;
        let redis = self.redis.then(|| RedisServer::start(&folder.join("redis"))).transpose()?;
        let mut houses = self.start(folder, &service, redis.as_ref())?;
        let shared = Shared {
            hosts: Mutex::new(houses.iter().enumerate().map(|(host, house)| (host, house.api.clone())).collect()),
            begun: Mutex::default(),
            stop: AtomicBool::new(false),
        };
        let start = Instant::now();
        let (killed, houses) = scope(|threads| -> Result<_> {
            let beginner = threads.spawn(|| self.begin_all(&shared));
            let killed = self.kill_all(&mut houses, &shared, &service, say);
            shared.stop.store(true, SeqCst);
            beginner.join().map_err(|_| anyhow::anyhow!("the beginner broke off"))??;
            Ok((killed?, houses))
        })?;
        let api = &houses.first().context("a server runs")?.api;
        let known = shared.begun.into_inner().unwrap_or_else(PoisonError::into_inner);
        wait_until_done(api, say).with_context(|| houses[0].nexus.tail(20))?;
        let report = report::check(api, &known, &service, &killed, start.elapsed());
        for house in houses {
            house.stop()?;
        }
        report
    }

    fn start(&self, folder: &Path, service: &CountingService, redis: Option<&RedisServer>) -> Result<Vec<House>> {
        let (apps, recordings) = (folder.join("apps"), folder.join("recordings"));
        create_dir_all(&recordings)?;
        app::write_to(&apps, &service.origin())?;
        let driver = match &self.driver {
            WalkerDriver::Process => "{ driver: process }".to_owned(),
            WalkerDriver::Docker(host) => format!("{{ driver: docker, docker_host: \"{host}\" }}"),
        };
        let store = redis.map_or_else(|| "embedded".to_owned(), RedisServer::url);
        let repository = folder.join("definitions.git");
        let settings = format!(
            "sandbox: {driver}\nstore: {store}\ndefinitions: {{ repository: {} }}\nlog: {{ level: warn }}\negress: {{ private_networks: [\"127.0.0.0/8\"] }}\n",
            repository.display()
        );
        let mut houses: Vec<House> = Vec::new();
        for host in 0..if self.redis { 2 } else { 1 } {
            let data = folder.join(format!("data-{host}"));
            create_dir_all(&data)?;
            let options = HouseOptions::new(self.programs.clone(), apps.clone(), recordings.clone(), settings.clone());
            houses.push(match houses.first() {
                None => House::start(options, &data)?,
                Some(first) => {
                    // Both are one: they have one key, and the first has the applications.
                    let store = data.join("store");
                    create_dir_all(&store)?;
                    for file in ["master-key", "admin-key"] {
                        copy(first.store().join(file), store.join(file))?;
                    }
                    House::start_beside(first, HouseOptions { apps: None, ..options }, &data)?
                }
            });
        }
        let served = |house: &House| house.api.get(&format!("/v1/apps/{APP}")).is_ok_and(|reply| reply.status == 200);
        let end = Instant::now() + PATIENCE;
        while !houses.iter().all(served) {
            ensure!(Instant::now() < end, "the application is not served everywhere");
            sleep(Duration::from_millis(20));
        }
        Ok(houses)
    }

    /// Begins executions at a steady rate, each race in turn, at each server that runs in turn.
    fn begin_all(&self, shared: &Shared) -> Result<()> {
        let every = Duration::from_secs(1) / self.rate.max(1);
        let mut due = Instant::now();
        for number in 0.. {
            if shared.stop.load(SeqCst) {
                break;
            }
            sleep(due.saturating_duration_since(Instant::now()));
            due = (due + every).max(Instant::now());
            let race = Race::ALL[number % Race::ALL.len()];
            let running: Vec<(usize, Api)> =
                locked(&shared.hosts).iter().map(|(host, api)| (*host, api.clone())).collect();
            let Some((host, api)) = running.get(number / Race::ALL.len() % running.len().max(1)) else { continue };
            let id = match api.begin(APP, race.operation(), &json!({ "number": number })) {
                Ok(reply) if reply.status == 202 => {
                    Some(reply.json()["execution"].as_str().context("an execution has an id")?.to_owned())
                }
                Ok(reply) if reply.status < 500 => bail!("HTTP {}: {}", reply.status, reply.text),
                // It is killed, or starts.
                _ => None,
            };
            locked(&shared.begun).insert(number, Begun { race, id, host: *host });
        }
        Ok(())
    }

    fn kill_all(
        &self,
        houses: &mut Vec<House>,
        shared: &Shared,
        service: &CountingService,
        say: &dyn Fn(&str),
    ) -> Result<Killed> {
        let mut random = Random::new(self.seed);
        let mut killed = Killed::default();
        for number in 0..self.kills {
            sleep(Duration::from_millis(BETWEEN.0 + random.below(BETWEEN.1 - BETWEEN.0)));
            let host = usize::try_from(random.below(houses.len() as u64))?;
            if number % 3 == 2 {
                killed.programs += self.kill_programs(&houses[host])?;
            } else {
                let left_dead = self.redis && killed.servers % LEFT_DEAD == LEFT_DEAD - 1;
                if left_dead {
                    until_it_works(shared, service, host)?;
                }
                locked(&shared.hosts).remove(&host);
                let fallen = houses.remove(host).kill();
                let at = Instant::now();
                killed.servers += 1;
                if left_dead {
                    killed.taken_over.extend(taken_over(shared, service, host, at)?);
                }
                let house = fallen.start()?;
                locked(&shared.hosts).insert(host, house.api.clone());
                houses.insert(host, house);
            }
            say(&format!("kill {} of {}: {} executions begun", number + 1, self.kills, locked(&shared.begun).len()));
        }
        Ok(killed)
    }
}

impl WorkflowSoak {
    /// Kills the programs of a server as soon as there are some; how many there were.
    fn kill_programs(&self, house: &House) -> Result<usize> {
        let end = Instant::now() + START;
        loop {
            match self.driver.kill(house)? {
                0 => ensure!(Instant::now() < end, "no program walks workflows within {START:?}"),
                killed => return Ok(killed),
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// The executions that a server has begun lately, and that have done fewer steps than these.
fn waiting_at(shared: &Shared, service: &CountingService, host: usize, most: usize) -> Vec<usize> {
    let asked = service.asked();
    let steps = |number: usize| (0..STEPS).filter(|step| asked.contains_key(&(number, *step))).count();
    locked(&shared.begun)
        .iter()
        .rev()
        .take_while(|(number, _)| steps(**number) < STEPS)
        // What fails is over at its first interruption, and asks for nothing more.
        .filter(|(_, begun)| begun.host == host && begun.id.is_some() && !begun.race.is_at_most_once())
        .map(|(number, _)| *number)
        .filter(|number| steps(*number) < most)
        .collect()
}

/// Waits until a server has an execution that is far from through.
fn until_it_works(shared: &Shared, service: &CountingService, host: usize) -> Result<()> {
    let end = Instant::now() + START;
    while waiting_at(shared, service, host, STEPS / 2).is_empty() {
        ensure!(Instant::now() < end, "the server has begun nothing within {START:?}");
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Waits until every execution that a killed server had begun lately, and that was not through, goes on; how long that took.
fn taken_over(shared: &Shared, service: &CountingService, host: usize, killed: Instant) -> Result<Option<Duration>> {
    let mut waiting = waiting_at(shared, service, host, STEPS);
    let mut last = None;
    while !waiting.is_empty() {
        waiting.retain(|number| match service.last(*number).filter(|at| *at > killed) {
            Some(at) => {
                last = last.max(Some(at - killed));
                false
            }
            None => true,
        });
        ensure!(killed.elapsed() < TAKE_OVER, "executions {waiting:?} were not taken over in {TAKE_OVER:?}");
        sleep(Duration::from_millis(10));
    }
    Ok(last)
}

/// Waits until no execution is open, as long as there are fewer and fewer.
fn wait_until_done(api: &Api, say: &dyn Fn(&str)) -> Result<()> {
    let (mut least, mut since) = (usize::MAX, Instant::now());
    loop {
        let open = api.get(&format!("/v1/executions?app={APP}&unfinished=true&limit=200"))?.success()?;
        let open = open["executions"].as_array().context("executions are listed")?;
        if open.is_empty() {
            return Ok(());
        }
        say(&format!("{} executions are open", open.len()));
        if open.len() < least {
            (least, since) = (open.len(), Instant::now());
        }
        let shown: Vec<&Value> = open.iter().take(3).collect();
        ensure!(since.elapsed() < PATIENCE, "{} executions do not end, among them {shown:?}", open.len());
        sleep(Duration::from_millis(100));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
