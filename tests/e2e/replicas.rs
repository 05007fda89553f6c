//! Two servers on one Redis are one: what one is told the other does, and nothing is done twice.

#![expect(clippy::print_stderr, reason = "how soon the other server sees a change is measured, never asserted")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{OpenOptions, copy, create_dir_all, read_to_string, write},
    io::Write,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nexus_tests::{Api, Fixture, House, RedisServer, Stage, Taste, input};
use serde_json::{Value, json};

const APP: &str = "scale-room";
/// Longer than anything takes, however slow the machine. What is promised is a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// A clock that does not come round within a test: what is seen all the same was told.
const NEVER: &str = "3600000";

/// What both servers have.
struct Place {
    folder: tempfile::TempDir,
    redis: RedisServer,
}

impl Place {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let redis = RedisServer::start(&folder.path().join("redis"))?;
        Ok(Self { folder, redis })
    }

    /// Where one server keeps what is its own, with the application's definition and recordings.
    fn stage(&self, name: &str) -> Result<Stage> {
        let stage = Stage::new(&self.path(name))?;
        stage.add(&Fixture::new(APP, Taste::Opinion)?)?;
        Ok(stage)
    }

    /// A server that imports its applications.
    fn first(&self, stage: &Stage, settings: &str) -> Result<House> {
        stage.start_with(&format!("store: {}\n{settings}", self.redis.url()), Some(stage.apps()))
    }

    /// A server on the same Redis, with the same master key. Its applications come from the first.
    fn second(&self, first: &House, settings: &str) -> Result<House> {
        let stage = self.stage("second")?;
        let store = self.path("second/data/store");
        create_dir_all(&store)?;
        for file in ["master-key", "admin-key"] {
            copy(first.store().join(file), store.join(file))?;
        }
        stage.start_beside(first, &format!("store: {}\n{settings}", self.redis.url()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The setting by which both have one repository.
    fn shared(&self) -> String {
        format!("definitions: {{ repository: {} }}\n", self.path("shared.git").display())
    }
}

/// Waits until something holds; how long that took.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let begin = Instant::now();
    while !holds()? {
        ensure!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(5));
    }
    eprintln!("{what} after {} ms", begin.elapsed().as_millis());
    Ok(begin.elapsed())
}

/// Changes a file of the application on one server and waits until the other serves the revision that this made.
fn change_is_served(what: &str, writer: &Api, reader: &Api, text: &str) -> Result<()> {
    let condition = format!("\"{}\"", revision_of(writer)?);
    let made = writer.put(&format!("/v1/apps/{APP}/files/docs/notes.md"), &condition, text.as_bytes())?.success()?;
    let revision = made["revision"].as_str().context("a change has a revision")?;
    until(what, || Ok(revision_of(reader).is_ok_and(|served| served == revision))).map(drop)
}

/// What a server serves of the application.
fn revision_of(api: &Api) -> Result<String> {
    let app = api.get(&format!("/v1/apps/{APP}"))?.success()?;
    Ok(app["revision"].as_str().context("an application has a revision")?.to_owned())
}

#[test]
fn a_definition_written_on_one_server_is_served_by_the_other() -> Result<()> {
    let place = Place::new()?;
    let first = place.first(&place.stage("first")?, &place.shared())?;
    let second = place.second(&first, &place.shared())?;
    change_is_served("the second serves what the first wrote", &first.api, &second.api, "one")?;
    change_is_served("the first serves what the second wrote", &second.api, &first.api, "two")?;
    let off = first.api.post(&format!("/v1/apps/{APP}/deactivate"), b"{\"reason\":\"test\"}")?;
    ensure!(off.status < 300, "HTTP {}: {}", off.status, off.text);
    let call = || Ok(second.api.call(APP, "weigh", &input("weigh", 3))?.status == 409);
    until("the second refuses calls of what the first deactivated", call)?;
    first.stop()?;
    second.stop()
}

/// Servers without a common disk: the follower would look in an hour, but the writer tells it.
#[test]
fn a_server_that_follows_a_remote_is_told_of_a_change() -> Result<()> {
    let place = Place::new()?;
    let hub = place.path("hub.git");
    nexus_tests::git(place.folder.path(), &["init", "-q", "--bare", "-b", "main", &hub.to_string_lossy()])?;
    let remote = |follow: bool| {
        format!("definitions: {{ remote: {{ url: {}, every: 1h, follow: {follow} }} }}\n", hub.display())
    };
    let first = place.first(&place.stage("first")?, &remote(false))?;
    let second = place.second(&first, &remote(true))?;
    change_is_served("the follower serves what the writer wrote", &first.api, &second.api, "one")?;
    change_is_served("the follower serves what the writer wrote", &first.api, &second.api, "two")?;
    first.stop()?;
    second.stop()
}

#[test]
fn code_that_one_server_promotes_or_demotes_is_so_on_the_other() -> Result<()> {
    let place = Place::new()?;
    let settings = |tick: &str| format!("oracle: {{ tick_ms: {tick}, audit_share: 0 }}\n{}", place.shared());
    let first = place.first(&place.stage("first")?, &settings("100"))?;
    let second = place.second(&first, &settings(NEVER))?;
    let answered_by = |house: &House, path: &'static str| {
        let api = house.api.clone();
        move || {
            let reply = api.call(APP, "convert", &input("convert", 200))?;
            ensure!(reply.status == 200, "HTTP {}: {}", reply.status, reply.text);
            Ok(reply.path.as_deref() == Some(path))
        }
    };
    ensure!(first.teach(APP, "convert")? == "active", "the code of `convert` is not active");
    until("code written by the first answers on the second", answered_by(&second, "component"))?;
    for _ in 0..2 {
        first.api.optimize(APP, "convert", "demote")?.success()?;
        until("the model answers on the second", answered_by(&second, "model"))?;
        first.api.optimize(APP, "convert", "promote")?.success()?;
        until("code answers on the second", answered_by(&second, "component"))?;
    }
    second.api.optimize(APP, "convert", "demote")?.success()?;
    until("the model answers on the first", answered_by(&first, "model"))?;
    first.stop()?;
    second.stop()
}

#[test]
fn two_servers_have_code_written_once() -> Result<()> {
    let place = Place::new()?;
    let settings = format!("oracle: {{ tick_ms: 20, audit_share: 0 }}\n{}", place.shared());
    let first = place.first(&place.stage("first")?, &settings)?;
    let second = place.second(&first, &settings)?;
    ensure!(first.teach(APP, "convert")? == "active", "the code of `convert` is not active");
    ensure!(second.decision(APP, "convert")? == "active", "the code is not active on the second");
    for house in [&first, &second] {
        let status = house.api.optimization(APP, "convert")?;
        ensure!(status["code"] == 1, "code was written more than once: {status}");
    }
    first.stop()?;
    second.stop()
}

#[test]
fn two_servers_have_one_budget() -> Result<()> {
    /// Some three estimates; an answer uses 68 tokens.
    const LIMIT: u64 = 4_000;
    let place = Place::new()?;
    let stage = place.stage("first")?;
    let definition = stage.apps().join(APP).join("app.yaml");
    let text = read_to_string(&definition)?;
    write(&definition, text.replace("limits: {", &format!("limits: {{ tokens_per_day: {LIMIT},")))?;
    let settings = format!("oracle: {{ tick_ms: {NEVER}, audit_share: 0 }}\n{}", place.shared());
    let first = place.first(&stage, &settings)?;
    let second = place.second(&first, &settings)?;
    let used = |house: &House| -> Result<u64> {
        let budget = house.api.get(&format!("/v1/apps/{APP}/budget"))?.success()?;
        budget["tokens_today"].as_u64().context("what was used today")
    };
    let (mut answered, mut refused) = ([0_u64; 2], [0_u64; 2]);
    for number in 0..2 * LIMIT / 68 {
        for (which, house) in [&first, &second].into_iter().enumerate() {
            let number = usize::try_from(number)? % 200;
            match house.api.call(APP, "taste", &input("taste", number))?.status {
                200 => answered[which] += 1,
                402 => refused[which] += 1,
                status => anyhow::bail!("HTTP {status}"),
            }
        }
        if refused.iter().all(|count| *count > 1) {
            break;
        }
    }
    let sum = used(&first)?;
    eprintln!("answered {answered:?}, refused {refused:?}, {sum} of {LIMIT} tokens used");
    ensure!(sum == used(&second)?, "both show one sum");
    ensure!(sum == 68 * (answered[0] + answered[1]), "each answer counts once: {sum}, {answered:?}");
    // What is left does not hold another estimate, which is a little more than the bound of an answer.
    ensure!(sum <= LIMIT && LIMIT - sum < 1_500, "{sum} of {LIMIT}");
    ensure!(answered[0].abs_diff(answered[1]) <= 1 && refused.iter().all(|count| *count > 1), "{answered:?}");
    first.stop()?;
    second.stop()
}

#[test]
fn metrics_of_two_servers_are_added_up_and_outlive_a_restart() -> Result<()> {
    let place = Place::new()?;
    let settings = format!("oracle: {{ tick_ms: {NEVER}, audit_share: 0 }}\n{}", place.shared());
    let first = place.first(&place.stage("first")?, &settings)?;
    let second = place.second(&first, &settings)?;
    for number in 0..12 {
        let house = if number % 3 == 0 { &first } else { &second };
        house.api.call(APP, "taste", &input("taste", number))?.success()?;
    }
    let calls = |house: &House| -> Result<u64> {
        let list = house.api.get(&format!("/v1/metrics/query?app={APP}&metric=calls&step=all"))?.success()?;
        Ok(list["series"][0]["points"][0]["value"].as_u64().unwrap_or(0))
    };
    until("the first shows the calls of both", || Ok(calls(&first)? == 12))?;
    until("the second shows the calls of both", || Ok(calls(&second)? == 12))?;
    let (first, second) = (first.restart()?, second.restart()?);
    ensure!((calls(&first)?, calls(&second)?) == (12, 12), "{} and {}", calls(&first)?, calls(&second)?);
    for (house, count) in [(&first, " 4"), (&second, " 8")] {
        let text = house.api.get("/metrics")?.text;
        let mut lines = text.lines().filter(|line| line.starts_with("nexus_operation_calls_total{"));
        let own = lines.any(|line| line.contains("taste") && line.contains("model") && line.ends_with(count));
        ensure!(own, "each server shows Prometheus its own counts:\n{text}");
    }
    first.stop()?;
    second.stop()
}

/// Times of the day at which something is due, one for each trigger.
const MINUTES: [u32; 12] = [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55];

/// An application whose component is called at each of [`MINUTES`].
fn write_clock(apps: &Path) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (pricing, clock) = (root.join("apps/pricing"), apps.join("clock"));
    create_dir_all(clock.join("schemas"))?;
    create_dir_all(clock.join("plugins"))?;
    for schema in ["schemas/order.json", "schemas/total.json"] {
        copy(pricing.join(schema), clock.join(schema))?;
    }
    copy(root.join("plugins/dist/order-total.wasm"), clock.join("plugins/order-total.wasm"))
        .context("build the components with `cargo xtask build`")?;
    write(clock.join("app.yaml"), read_to_string(pricing.join("app.yaml"))?.replace("name: pricing", "name: clock"))?;
    let mut definition = OpenOptions::new().append(true).open(clock.join("app.yaml"))?;
    let order = json!({ "currency": "EUR", "lines": [{ "sku": "a", "quantity": 1, "unit_price": "19.99" }] });
    writeln!(definition, "  triggers:")?;
    for minute in MINUTES {
        writeln!(
            definition,
            "    - {{ name: m{minute}, on: {{ cron: \"{minute} * * * *\", time_zone: UTC, missed: run_once }}, operation: \
             total, input: {{ value: {order} }} }}"
        )?;
    }
    Ok(())
}

/// The marks of the last time that each trigger has dealt with.
fn marks(redis: &RedisServer) -> Result<BTreeMap<String, u64>> {
    let keys = redis.cli(&["--scan", "--pattern", "nexus:{clock}:cron:*"])?;
    let read = |key: &str| Ok((key.to_owned(), redis.cli(&["GET", key])?.parse()?));
    keys.lines().filter(|key| !key.is_empty()).map(read).collect()
}

/// Makes all twelve times of the last hour due that were dealt with, and waits until they are dealt with again.
fn make_due(place: &Place, what: &str) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    for key in marks(&place.redis)?.keys() {
        place.redis.cli(&["SET", key, &(now - 7_200).to_string()])?;
    }
    until(what, || Ok(marks(&place.redis)?.values().all(|mark| *mark > now - 3_700))).map(drop)
}

/// What was called, and for which times.
fn runs(api: &Api) -> Result<Vec<(String, String)>> {
    let list = api.get("/v1/executions?app=clock&limit=200")?.success()?;
    let runs = list["executions"].as_array().context("executions are listed")?.iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(runs.map(|run| (text(&run["cause"]["trigger"]), text(&run["cause"]["event_id"]))).collect())
}

#[test]
fn times_of_the_day_run_once_on_two_servers_and_when_one_is_killed() -> Result<()> {
    let place = Place::new()?;
    let stage = place.stage("first")?;
    write_clock(&stage.apps())?;
    let settings = format!("events: {{ lease_ms: 1000 }}\n{}", place.shared());
    let first = place.first(&stage, &settings)?;
    let second = place.second(&first, &settings)?;
    until("all triggers wait for their time", || Ok(marks(&place.redis)?.len() == MINUTES.len()))?;
    make_due(&place, "twelve times were due")?;
    let all_ran = || {
        let triggers: BTreeSet<String> = runs(&second.api)?.into_iter().map(|(trigger, _)| trigger).collect();
        Ok(triggers.len() == MINUTES.len())
    };
    until("each was called for", all_ran)?;
    // The other server finds the same times due, and their effects had.
    drop(first);
    make_due(&place, "twelve times were due again, with one server gone")?;
    let nothing_waits = || {
        let triggers = second.api.get("/v1/apps/clock/triggers")?.success()?;
        let waiting = triggers["triggers"].as_array().context("triggers are listed")?;
        Ok(waiting.iter().all(|trigger| trigger["waiting"] == 0))
    };
    until("nothing waits", nothing_waits)?;
    let runs = runs(&second.api)?;
    let distinct: BTreeSet<_> = runs.iter().collect();
    ensure!(distinct.len() == runs.len(), "a time ran twice: {runs:?}");
    // The clock may have reached one more of the times meanwhile.
    ensure!(runs.len() <= MINUTES.len() + 1, "{runs:?}");
    second.stop()
}
